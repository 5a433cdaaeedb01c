"""Flags and `buildkitd.toml`. A key that is not understood, or asks for what is not there, is refused by name."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import ssl
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from dockc.base import tls
from dockc.base.files import store_root
from dockc.base.record import Record, made, replace
from dockc.engine.keep import Keep, read_keep
from dockc.errors import UsageError
from dockc.runtime.refs.policy import Policy, Space, read_policy

if TYPE_CHECKING:
    from dockc.runtime.executor.cni import NetworkOptions

_log = logging.getLogger("dockc.daemon")
#: Tables and keys of the file that mean nothing here and do no harm: each is told when the daemon starts.
_HARMLESS = frozenset(("debug", "trace", "log", "otel", "system", "provenanceEnvDir", "cdi"))
_HARMLESS_OF_WORKER = frozenset(("rootless", "noProcessSandbox", "cniPoolSize"))
#: What keeps something from builds or their steps. Somebody relies on it, so it is not passed over.
_GUARDS = ("apparmor-profile", "selinux", "defaultCgroupParent")
_WORKER_KEYS = frozenset(
    (
        "enabled", "platforms", "labels", "snapshotter", "max-parallelism", "networkMode", "gc", "gckeepstorage", "gcpolicy", "binary",
        "rootless", "noProcessSandbox", "cniConfigPath", "cniBinaryPath", "cniPoolSize", "apparmor-profile", "selinux", "defaultCgroupParent",
        "reservedSpace", "maxUsedSpace", "minFreeSpace", "bridgeName", "bridgeSubnet",
    )
)  # fmt: skip


class TlsFiles(Record):
    """Certificates of the daemon; `ca` demands certificates of clients."""

    cert: str
    key: str
    ca: str = ""

    def context(self) -> ssl.SSLContext:
        """For handshakes.

        Raises:
            UsageError: a file cannot be read, or is no certificate.
        """
        try:
            made = tls.context(ssl.Purpose.CLIENT_AUTH, ca=self.ca)
            made.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(f"cannot load the daemon's certificates: {getattr(exc, 'strerror', None) or exc}") from exc
        if self.ca:
            made.verify_mode = ssl.CERT_REQUIRED
        made.set_alpn_protocols(["h2"])
        return made


class Listener(Record):
    """One address to listen on."""

    text: str
    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0


class Config(Record, kw_only=True):
    """How a daemon is run.

    Attributes:
        root: its directory.
        store: the store that it builds in.
        listeners: where it listens.
        group: of its Unix sockets; "" keeps them to its own user.
        owner: whose they are, by number; None is its own user.
        tls: for TCP, or None.
        labels: of its worker.
        platforms: of its worker; empty for this machine's.
        snapshotter, executor, parallelism: as of the engine.
        entitlements: what builds may be allowed.
        network: of steps; None is the host's.
        grace: seconds that running builds get when the daemon ends.
        builds: how many builds may run; 0 is no limit.
        debug: address for /metrics and /debug, or "".
        gc: how its store is collected.
        serves_builds: whether `dockc build` of the store is served, too, by a resident builder beside the daemon.
        resident: be that resident builder and nothing else.
        tied: as a resident, end with whoever holds the other end of standard input.
        idle: as a resident, end after so many seconds without a build; 0 for never.
        history: which builds are remembered; None for the usual.
    """

    root: str
    store: str
    listeners: tuple[Listener, ...]
    group: str = ""
    owner: int | None = None
    tls: TlsFiles | None = None
    labels: Mapping[str, str] = made(dict)
    platforms: tuple[str, ...] = ()
    snapshotter: str = "auto"
    executor: str = "auto"
    parallelism: int = 0
    entitlements: frozenset[str] = frozenset()
    network: NetworkOptions | None = None
    grace: float = 0.0
    builds: int = 0
    debug: str = ""
    gc: Policy = Policy()
    serves_builds: bool = False
    resident: bool = False
    tied: bool = False
    idle: float = 0.0
    history: Keep | None = None


def listener(text: str) -> Listener:
    """Read an address.

    Raises:
        UsageError: it is none.
    """
    scheme, separator, rest = text.partition("://")
    if scheme == "unix" and rest:
        return Listener(text, scheme, path=rest)
    if scheme == "fd" and separator:
        return Listener(text, scheme)
    if scheme == "tcp" and separator:
        try:
            url = urlsplit(text)
            if url.port is not None:
                return Listener(text, scheme, host=url.hostname or "", port=url.port)
        except ValueError:
            pass
    raise UsageError(f"invalid address {text}", hint="unix://PATH, tcp://HOST:PORT or fd://")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", hint=f"See `{self.prog} --help`.")


def default_address() -> str:
    """Where the daemon listens unless it is told."""
    if os.geteuid() == 0:
        return "unix:///run/buildkit/buildkitd.sock"
    return f"unix://{os.environ.get('XDG_RUNTIME_DIR') or '/run/user/' + str(os.getuid())}/buildkit/buildkitd.sock"


def read(arguments: Sequence[str], prog: str = "dockc daemon") -> Config:
    """Read the command line, and the file that it names.

    Raises:
        UsageError: something that cannot be understood, or is not there.
    """
    parser = _Parser(
        prog, description="Build for clients of BuildKit's protocol: dockc, buildctl, buildx.", allow_abbrev=False
    )
    parser.add_argument(
        "--root",
        default="",
        metavar="DIR",
        help=f"directory for everything (default: the user's own store, {store_root()})",
    )
    parser.add_argument("--store", default="", metavar="DIR", help="store to build in (default: `store` in the root)")
    parser.add_argument(
        "--addr",
        action="append",
        default=[],
        metavar="URL",
        help=f"where to listen; may be repeated (default: {default_address()})",
    )
    parser.add_argument("--config", default="", metavar="FILE", help="buildkitd.toml")
    parser.add_argument("--group", default="", metavar="GROUP", help="group of the Unix sockets")
    parser.add_argument("--debug", action="store_true", help="say more")
    parser.add_argument(
        "--debugaddr", default="", metavar="ADDRESS", help="HOST:PORT or unix://PATH for /metrics and /debug"
    )
    parser.add_argument("--trace", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tlscert", default="", metavar="FILE", help="certificate for TCP")
    parser.add_argument("--tlskey", default="", metavar="FILE", help="its key")
    parser.add_argument("--tlscacert", default="", metavar="FILE", help="authority of the clients' certificates")
    parser.add_argument(
        "--allow-insecure-entitlement",
        action="append",
        default=[],
        metavar="NAME",
        help="network.host or security.insecure",
    )
    parser.add_argument("--executor", default="", metavar="NAME", help="auto, embedded, crun or runc")
    parser.add_argument(
        "--max-builds",
        type=int,
        default=0,
        metavar="N",
        help="builds at once; a further one is refused, and goes to another node of its builder (default: no limit)",
    )
    parser.add_argument(
        "--grace", type=float, default=0.0, metavar="SECONDS", help="what running builds get when the daemon ends"
    )
    parser.add_argument(
        "--oci-worker-gc", default="", nargs="?", const="true", metavar="BOOL", help="whether the store is collected"
    )
    parser.add_argument(
        "--oci-worker-gc-keepstorage",
        default="",
        metavar="RESERVED[,FREE[,MAXIMUM]]",
        help="megabytes that collection leaves, frees on the disk, and lets the store use",
    )
    parser.add_argument(
        "--resident",
        action="store_true",
        help="serve `dockc build` of this store alone, without the protocol of BuildKit",
    )
    parser.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="end a resident that nobody has used for so long"
    )
    parser.add_argument("--tied", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="", help=argparse.SUPPRESS)
    for name in (
        "--oci-worker",
        "--containerd-worker",
        "--rootless",
        "--oci-worker-rootless",
        "--oci-worker-selinux",
        "--oci-worker-no-process-sandbox",
        "--save-cache-debug",
    ):
        parser.add_argument(name, default="", nargs="?", const="true", help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-apparmor-profile", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-snapshotter", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-labels", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-platform", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-net", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-cni-config-path", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-cni-binary-dir", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-cni-pool-size", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-worker-binary", default="", help=argparse.SUPPRESS)
    parser.add_argument("--oci-max-parallelism", default="", help=argparse.SUPPRESS)
    parser.add_argument("--otel-socket-path", default="", help=argparse.SUPPRESS)
    parser.add_argument("--cdi-disabled", default="", nargs="?", const="true", help=argparse.SUPPRESS)
    options = parser.parse_args(list(arguments))
    if _true(options.containerd_worker):
        raise UsageError("the containerd worker is not supported", hint="dockc has a worker of its own.")
    if options.oci_worker and not _true(options.oci_worker):
        raise UsageError("--oci-worker=false leaves no worker")
    if options.oci_worker_apparmor_profile or _true(options.oci_worker_selinux):
        name = "apparmor-profile" if options.oci_worker_apparmor_profile else "selinux"
        raise UsageError(f"--oci-worker-{name} is not supported")
    for name in ("rootless", "log_level", "oci_worker_no_process_sandbox", "oci_cni_pool_size", "otel_socket_path"):
        if getattr(options, name):
            _log.info("--%s has no effect", name.replace("_", "-"))
    return _config(options, _file(options.config), prog)


def _true(text: str) -> bool:
    return text.lower() in {"1", "t", "true"}


def _file(name: str) -> Mapping[str, Any]:
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).read_text("utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read {name}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{name}: {exc}") from exc


def _config(options: argparse.Namespace, file: Mapping[str, Any], prog: str) -> Config:
    for key in file:
        if key not in {
            "root",
            "grpc",
            "worker",
            "insecure-entitlements",
            "registry",
            "dns",
            "history",
            "frontend",
            *_HARMLESS,
        }:
            raise UsageError(f"{options.config}: unknown key {key}")
        if key in _HARMLESS:
            _log.info("%s: %s has no effect", options.config, key)
    grpc = _table(file, "grpc")
    _known(options, "grpc", grpc, {"address", "debugAddress", "uid", "gid", "tls", "securityDescriptor"})
    if grpc.get("securityDescriptor"):
        raise UsageError(f"{options.config}: grpc.securityDescriptor is for Windows")
    _known(options, "grpc.tls", _table(grpc, "tls"), {"cert", "key", "ca"})
    _known(options, "worker", _table(file, "worker"), {"oci", "containerd"})
    worker = _table(_table(file, "worker"), "oci")
    _known(options, "worker.oci", worker, _WORKER_KEYS)
    for key in _HARMLESS_OF_WORKER & worker.keys():
        _log.info("%s: worker.oci.%s has no effect", options.config, key)
    for key in _GUARDS:
        if worker.get(key):
            raise UsageError(f"{options.config}: worker.oci.{key} is not supported")
    _frontends(options, _table(file, "frontend"))
    if _table(_table(file, "worker"), "containerd").get("enabled"):
        raise UsageError("the containerd worker is not supported", hint="dockc has a worker of its own.")
    if worker.get("enabled") is False:
        raise UsageError(f"{options.config}: without the OCI worker there is none")
    _registries(_table(file, "registry"))
    labels = {str(key): str(value) for key, value in _table(worker, "labels").items()}
    for text in options.oci_worker_labels:
        for part in text.split(","):
            key, _, value = part.partition("=")
            labels[key] = value
    parallel = options.oci_max_parallelism or str(worker.get("max-parallelism", 0) or 0)
    if parallel == "num-cpu":
        parallel = str(os.cpu_count() or 1)
    if not parallel.isdecimal():
        raise UsageError(f"invalid max-parallelism {parallel}")
    addresses = options.addr or list(grpc.get("address", ())) or [default_address()]
    allowed = {str(one) for one in (*file.get("insecure-entitlements", ()), *options.allow_insecure_entitlement)}
    snapshotter = options.oci_worker_snapshotter or str(worker.get("snapshotter", "auto"))
    root, store = options.root or str(file.get("root", "")), options.store
    if not root:
        store = os.path.abspath(store) if store else store_root()  # noqa: PTH100
        root = os.path.join(store, "daemon")  # noqa: PTH118
    return Config(
        root=root,
        store=store or os.path.join(root, "store"),  # noqa: PTH118
        listeners=tuple(listener(text) for text in addresses),
        group=options.group or str(grpc.get("gid", "")),
        owner=_owner(options, grpc),
        tls=_tls(options, _table(grpc, "tls")),
        labels=labels,
        platforms=tuple(options.oci_worker_platform or worker.get("platforms", ())),
        snapshotter={"overlayfs": "overlay"}.get(snapshotter, snapshotter),
        executor=options.executor or _runtime(options.oci_worker_binary or str(worker.get("binary", ""))),
        parallelism=int(parallel),
        entitlements=frozenset(allowed),
        network=_network(options, worker, _table(file, "dns")),
        grace=options.grace,
        builds=max(0, options.max_builds),
        debug=options.debugaddr or str(grpc.get("debugAddress", "")),
        gc=_collection(options, worker),
        # A store in a root of its own is nobody's for `dockc build`, unless it was named.
        serves_builds=bool(options.store or not (options.root or file.get("root"))) and prog != "buildkitd",
        resident=options.resident,
        tied=options.tied,
        idle=max(0.0, options.idle),
        history=read_keep(_table(file, "history"), options.config, Keep(age=48 * 3600.0)),
    )


def _known(options: argparse.Namespace, name: str, table: Mapping[str, Any], keys: Collection[str]) -> None:
    for key in table:
        if key not in keys:
            raise UsageError(f"{options.config}: unknown key {name}.{key}")


def _frontends(options: argparse.Namespace, table: Mapping[str, Any]) -> None:
    """Frontends can be forbidden in BuildKit; here all are there, and who relies on less is told."""
    _known(options, "frontend", table, {"dockerfile.v0", "gateway.v0"})
    for name in table:
        one = _table(table, name)
        _known(
            options, f'frontend."{name}"', one, {"enabled", *(("allowedRepositories",) if name == "gateway.v0" else ())}
        )
        if one.get("enabled") is False or one.get("allowedRepositories"):
            key = "enabled = false" if one.get("enabled") is False else "allowedRepositories"
            raise UsageError(f'{options.config}: frontend."{name}".{key} is not supported')


def _runtime(binary: str) -> str:
    """The executor for a runtime's binary, which is looked for on PATH."""
    if not binary:
        return "auto"
    name = os.path.basename(binary)  # noqa: PTH119
    if name not in {"runc", "crun"} or (name != binary and shutil.which(name) != binary):
        raise UsageError(f"the runtime {binary} is not supported", hint="runc or crun, as it is found on PATH")
    return name


def _owner(options: argparse.Namespace, grpc: Mapping[str, Any]) -> int | None:
    found = grpc.get("uid")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise UsageError(f"{options.config}: grpc.uid is no number of a user")
    return found


def _collection(options: argparse.Namespace, worker: Mapping[str, Any]) -> Policy:
    found = read_policy(worker, "worker.oci")
    if options.oci_worker_gc:
        found = replace(found, enabled=_true(options.oci_worker_gc))
    if options.oci_worker_gc_keepstorage:
        parts = options.oci_worker_gc_keepstorage.split(",")
        if len(parts) > 3 or not all(part.isdecimal() for part in parts):
            raise UsageError(f"invalid --oci-worker-gc-keepstorage {options.oci_worker_gc_keepstorage}")
        reserved, free, most = (Space(int(part) * 1_000_000) for part in (*parts, "0", "0")[:3])
        found = replace(found, reserved_space=reserved, min_free_space=free, max_used_space=most)
    return found


def _table(file: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = file.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"{key} is not a table")
    return found


def _network(options: argparse.Namespace, worker: Mapping[str, Any], dns: Mapping[str, Any]) -> NetworkOptions | None:
    """The network of steps: by CNI plugins where there is a configuration, unless something else is asked for."""
    from dockc.runtime.executor.base import Dns
    from dockc.runtime.executor.cni import CONFIG, PLUGINS, NetworkOptions

    for key in dns:
        if key not in {"nameservers", "options", "searchDomains"}:
            raise UsageError(f"{options.config}: unknown key dns.{key}")
    names, more, search = (tuple(map(str, dns.get(key, ()))) for key in ("nameservers", "options", "searchDomains"))
    made = NetworkOptions(
        mode=options.oci_worker_net or str(worker.get("networkMode", "")) or "auto",
        config=Path(options.oci_cni_config_path or str(worker.get("cniConfigPath", "")) or CONFIG),
        plugins=Path(options.oci_cni_binary_dir or str(worker.get("cniBinaryPath", "")) or PLUGINS),
        bridge=str(worker.get("bridgeName", "")) or "buildkit0",
        subnet=str(worker.get("bridgeSubnet", "")) or "10.10.0.0/16",
        dns=Dns(nameservers=names, search=search, options=more) if names or more or search else None,
    )
    if made.resolved() == "host":
        return None if made.dns is None else replace(made, mode="host")
    if os.geteuid() != 0:
        if made.mode == "auto":
            return None if made.dns is None else replace(made, mode="host")
        raise UsageError(f"the network mode {made.mode} needs a daemon of root", hint='Use networkMode = "host".')
    return made


def _tls(options: argparse.Namespace, table: Mapping[str, Any]) -> TlsFiles | None:
    cert, key, ca = (
        getattr(options, f"tls{name}") or str(table.get(word, ""))
        for name, word in (("cert", "cert"), ("key", "key"), ("cacert", "ca"))
    )
    if not (cert or key or ca):
        return None
    if not (cert and key):
        raise UsageError("TLS needs a certificate and its key")
    return TlsFiles(cert, key, ca)


def _registries(table: Mapping[str, Any]) -> None:
    """Mirrors and plain HTTP of registries go where dockc's own settings are read from."""
    from dockc.engine import settings

    found: dict[str, dict[str, object]] = {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            raise UsageError(f"registry.{name} is not a table")
        for key in entry:
            if key not in {"mirrors", "http", "insecure", "ca", "keypair"}:
                raise UsageError(f"registry.{name}: unknown key {key}")
        if entry.get("keypair"):
            raise UsageError(f"registry.{name}: client certificates for registries are not supported")
        made: dict[str, object] = {}
        if entry.get("mirrors"):
            made["mirrors"] = [_mirror(str(one), table) for one in entry["mirrors"]]
        for key in ("http", "insecure"):
            if entry.get(key):
                made[key] = True
        if entry.get("ca"):
            made["ca"] = list(entry["ca"])
        if made:
            found[name] = made
    if found:
        settings.add_registries(found)


def _mirror(text: str, table: Mapping[str, Any]) -> str:
    """A mirror as a URL: a name of this machine, or one that is said to be so, is spoken to by plain HTTP."""
    if "://" in text:
        return text
    host = text.partition("/")[0]
    plain = host.partition(":")[0] in {"localhost", "127.0.0.1"} or bool((table.get(host) or {}).get("http"))
    return f"{'http' if plain else 'https'}://{text}"
