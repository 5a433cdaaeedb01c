"""Flags and `buildkitd.toml`. A key that is not understood, or asks for what is not there, is refused by name."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dockc.base import tls
from dockc.base.files import open_regular, store_root
from dockc.base.record import Record, made, replace
from dockc.base.version import VERSION
from dockc.daemon import keys
from dockc.engine.keep import Keep, read_keep
from dockc.engine.request import ENTITLEMENTS
from dockc.errors import UsageError
from dockc.golang.durations import DurationError, parse_duration
from dockc.golang.flags import Flags, parse_bool
from dockc.runtime.refs.policy import Policy, Space, read_policy

if TYPE_CHECKING:
    from dockc.runtime.executor.cni import NetworkOptions

_log = logging.getLogger("dockc.daemon")
#: A configuration is no larger than this, bytes.
_FILE_LIMIT = 1 << 20
_LEVELS = {
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
# Options of BuildKit's daemon that are read without being in the help: with a value, repeated, and without one.
_CONTAINERD = [
    "worker-addr",
    "worker-net",
    "cni-config-path",
    "cni-binary-dir",
    "cni-pool-size",
    "worker-snapshotter",
    "worker-apparmor-profile",
    "max-parallelism",
    "worker-gc-keepstorage",
]
_WITH_VALUES = (
    *[
        "oci-worker",
        "oci-worker-apparmor-profile",
        "oci-worker-snapshotter",
        "oci-worker-net",
        "oci-cni-config-path",
        "oci-cni-binary-dir",
        "oci-cni-pool-size",
        "oci-worker-binary",
        "oci-max-parallelism",
        "oci-worker-proxy-snapshotter-path",
        "containerd-worker",
    ],
    *(f"containerd-{name}" for name in _CONTAINERD),
)
_REPEATED = ("oci-worker-labels", "oci-worker-platform", "cdi-spec-dir", "containerd-worker-labels")
_BARE = [
    "rootless",
    "oci-worker-rootless",
    "oci-worker-selinux",
    "oci-worker-no-process-sandbox",
    "save-cache-debug",
    "proxy-network",
    "containerd-worker-selinux",
    "containerd-worker-rootless",
    "containerd-worker-gc",
]
_REFUSED = ("oci-worker-apparmor-profile", "oci-worker-selinux", "proxy-network", "oci-worker-proxy-snapshotter-path")
_IDLE = [
    "rootless",
    "oci-worker-rootless",
    "oci-worker-no-process-sandbox",
    "oci-cni-pool-size",
    "cdi-spec-dir",
    "save-cache-debug",
]
_PLATFORMS_AGE = 20.0
"""Seconds for which it is believed what the machine can run."""


class TlsFiles(Record):
    """Certificates of the daemon; `ca` demands certificates of clients."""

    cert: str
    key: str
    ca: str = ""

    def context(self) -> ssl.SSLContext:
        """For handshakes. Files that are replaced while it is used hold from the next handshake on.

        Raises:
            UsageError: a file cannot be read, or is no certificate.
        """
        with suppress(OSError):
            if Path(self.key).stat().st_mode & 0o044:
                _log.warning("the key %s can be read by others", self.key)
        known, newest = self._state(), self._context()
        first = newest

        def look(sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            nonlocal known, newest
            now = self._state()
            if now != known:
                try:
                    newest, known = self._context(), now
                    _log.info("the certificates have changed")
                except UsageError as error:  # perhaps they are being written
                    _log.warning("the certificates have changed and the old ones are still used: %s", error.message)
            if newest is not first:
                sock.context = newest

        first.sni_callback = look
        return first

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Which files they are now."""
        return tuple(map(_file_state, (self.cert, self.key, self.ca)))

    def _context(self) -> ssl.SSLContext:
        try:
            made = tls.context(ssl.Purpose.CLIENT_AUTH, ca=self.ca)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(f"cannot load the authorities {self.ca}: {_reason(exc)}") from exc
        try:
            tls.show(made, self.cert, self.key)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(
                f"cannot load the certificate {self.cert} with its key {self.key}: {_reason(exc)}"
            ) from exc
        if self.ca:
            made.verify_mode = ssl.CERT_REQUIRED
        made.set_alpn_protocols(["h2"])
        return made


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in {
        None,
        "PEM_LIB",
        "NO_START_LINE",
        "NO_CERTIFICATE_OR_CRL_FOUND",
    }:
        return "there is none in it, in the form of PEM"
    return error.strerror or str(error)


def _file_state(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Listener(Record):
    """One address to listen on.

    Attributes:
        text: as it was typed.
        scheme: unix, tcp or fd.
        path: of a socket.
        host, port: of TCP; of fd, `host` is the name of the sockets that systemd has opened, "" for all.
    """

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
        lock: as a resident, the descriptor of the lock that it was started with; -1 for none.
        history: which builds are remembered; None for the usual.
        log_level, log_format: of the log: a level of `logging`, and text or json.
        otel: path of a socket that takes spans, and that steps find; "" for none.
        platforms_age: seconds for which it is believed what this machine can run.
        told: what was asked for and has no effect.
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
    lock: int = -1
    history: Keep | None = None
    log_level: int = logging.INFO
    log_format: str = "text"
    otel: str = ""
    platforms_age: float = _PLATFORMS_AGE
    told: tuple[str, ...] = ()


def listener(text: str) -> Listener:
    """Read an address.

    Raises:
        UsageError: it is none.
    """
    scheme, separator, rest = text.partition("://")
    if scheme == "unix" and rest:
        return Listener(text, scheme, path=rest)
    if scheme == "fd" and separator:
        return Listener(text, scheme, host=rest)
    if scheme == "tcp" and separator:
        try:
            url = urlsplit(text)
            if url.port is not None:
                return Listener(text, scheme, host=url.hostname or "", port=url.port)
        except ValueError:
            pass
    raise UsageError(f"invalid address {text}", hint="unix://PATH, tcp://HOST:PORT, fd:// or fd://NAME")


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
    parser = Flags(prog, description="Build for clients of BuildKit's protocol: dockc, buildctl, buildx.")
    parser.add_argument("--version", "-v", action="version", version=f"buildkitd of dockc {VERSION}")
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
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help="buildkitd.toml (default for dockcd and buildkitd, where it is there: "
        "/etc/buildkit/buildkitd.toml of root, ~/.config/buildkit/buildkitd.toml of others)",
    )
    parser.add_argument("--group", default="", metavar="GROUP", help="group of the Unix sockets")
    parser.add_argument("--debug", action="store_true", help="say more")
    parser.add_argument(
        "--debugaddr",
        default=os.environ.get("BUILDKITD_DEBUGADDR", ""),
        metavar="ADDRESS",
        help="HOST:PORT or unix://PATH for /metrics and /debug (also from $BUILDKITD_DEBUGADDR)",
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
        help="network.host or security.insecure; each entitlement that a build may ask for",
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
    parser.add_argument("--lock", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="", metavar="LEVEL", help="error, warn, info or debug (default: info)")
    parser.add_argument("--log-format", default="", metavar="FORM", help="text or json (default: text)")
    for name in _WITH_VALUES:
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    for name in _REPEATED:
        parser.add_argument(f"--{name}", action="append", default=[], help=argparse.SUPPRESS)
    for name in _BARE:
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--otel-socket-path", default="", metavar="PATH", help="socket that takes spans of builds")
    parser.add_argument("--cdi-disabled", default="", nargs="?", const="true", help=argparse.SUPPRESS)
    options = parser.read(arguments)
    if options.containerd_worker not in {"", "auto"} and _true(options.containerd_worker, "--containerd-worker"):
        raise UsageError("the containerd worker is not supported", hint="dockc has a worker of its own.")
    if options.oci_worker not in {"", "auto"} and not _true(options.oci_worker, "--oci-worker"):
        raise UsageError("--oci-worker=false leaves no worker")
    for name in _REFUSED:
        if getattr(options, name.replace("-", "_")):
            raise UsageError(f"--{name} is not supported")
    told = [f"--{name} has no effect" for name in _IDLE if getattr(options, name.replace("-", "_"))]
    told += [
        f"--{name} has no effect: the containerd worker is not supported"
        for name in (*_WITH_VALUES, *_REPEATED, *_BARE)
        if name.startswith("containerd-") and name != "containerd-worker" and getattr(options, name.replace("-", "_"))
    ]
    if options.cdi_disabled == "false":
        told.append("--cdi-disabled=false has no effect: this builder has no CDI devices to give")
    if not options.config and prog in {"dockcd", "buildkitd"}:
        options.config = default_file() if os.path.exists(default_file()) else ""  # noqa: PTH110
    return _config(options, _file(options.config), prog, told)


def default_file() -> str:
    """Where BuildKit's daemon looks for its configuration."""
    if os.geteuid() == 0:
        return "/etc/buildkit/buildkitd.toml"
    home = os.environ.get("XDG_CONFIG_HOME", "").partition(":")[0]
    return os.path.join(home or os.path.expanduser("~/.config"), "buildkit", "buildkitd.toml")  # noqa: PTH111, PTH118


def _true(text: str, name: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _file(name: str) -> Mapping[str, Any]:
    if not name:
        return {}
    try:
        with open_regular(name) as stream:
            data = stream.read(_FILE_LIMIT + 1)
        if len(data) > _FILE_LIMIT:
            raise UsageError(f"{name} is larger than {_FILE_LIMIT} bytes")
        return tomllib.loads(data.decode())
    except OSError as exc:
        raise UsageError(f"cannot read {name}: {exc.strerror}") from exc
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{name}: {exc}") from exc


def _config(options: argparse.Namespace, file: Mapping[str, Any], prog: str, told: Sequence[str]) -> Config:
    told = (*told, *keys.checked(file, options.config))
    grpc = _table(file, "grpc")
    worker = _table(_table(file, "worker"), "oci")
    if worker.get("enabled") is False:
        raise UsageError(f"{options.config}: without the OCI worker there is none")
    _registries(_table(file, "registry"))
    labels = {str(key): str(value) for key, value in _table(worker, "labels").items()}
    for text in options.oci_worker_labels:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                f"--oci-worker-labels: invalid value {text}", hint="NAME=VALUE; the option may be repeated."
            )
        labels[key] = value
    parallel = options.oci_max_parallelism or str(worker.get("max-parallelism", 0) or 0)
    if parallel == "num-cpu":
        parallel = str(os.cpu_count() or 1)
    if not parallel.isdecimal() or len(parallel) > 9:
        raise UsageError(f"invalid max-parallelism {parallel}")
    addresses = options.addr or list(grpc.get("address", ())) or [default_address()]
    allowed = set(options.allow_insecure_entitlement or file.get("insecure-entitlements", ()))
    for one in sorted(allowed.difference(ENTITLEMENTS)):
        raise UsageError(f"unknown entitlement {one}", hint=f"Known: {', '.join(ENTITLEMENTS)}.")
    if options.cdi_disabled != "true" and not _table(file, "cdi").get("disabled"):
        allowed.add("device")  # as BuildKit's daemon does; steps that can do without the device are built
    snapshotter = options.oci_worker_snapshotter or str(worker.get("snapshotter", "auto"))
    system = _table(file, "system")
    if system.get("maxRegistryConcurrency", 1) <= 0:
        raise UsageError(f"{options.config}: system.maxRegistryConcurrency must be greater than zero")
    root, store = options.root or str(file.get("root", "")), options.store
    if not root:
        store = os.path.abspath(store) if store else store_root()  # noqa: PTH100
        root = os.path.join(store, "daemon")  # noqa: PTH118
    return Config(
        root=root,
        store=store or os.path.join(root, "store"),  # noqa: PTH118
        listeners=tuple(listener(text) for text in dict.fromkeys(addresses)),
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
        debug=options.debugaddr or os.environ.get("BUILDKITD_DEBUGADDR", "") or str(grpc.get("debugAddress", "")),
        gc=_collection(options, worker),
        # A store in a root of its own is nobody's for `dockc build`, unless it was named.
        serves_builds=bool(options.store or not (options.root or file.get("root"))) and prog != "buildkitd",
        resident=options.resident,
        tied=options.tied,
        idle=max(0.0, options.idle),
        lock=options.lock,
        history=read_keep(_table(file, "history"), options.config, Keep(age=48 * 3600.0)),
        log_level=_level(options, file),
        log_format=_format(options, file),
        otel=_place(options.otel_socket_path or str(_table(file, "otel").get("socketPath", ""))),
        platforms_age=_age(options, system),
        told=tuple(told),
    )


def _place(path: str) -> str:
    return os.path.abspath(path) if path else ""  # noqa: PTH100


def _level(options: argparse.Namespace, file: Mapping[str, Any]) -> int:
    text = options.log_level or os.environ.get("BUILDKITD_LOG_LEVEL", "") or str(_table(file, "log").get("level", ""))
    if text and text.lower() not in _LEVELS:
        raise UsageError(f"unsupported log level {text}", hint="error, warn, info or debug")
    if not text and (options.debug or options.trace or file.get("debug") or file.get("trace")):
        text = "debug"
    return _LEVELS[text.lower() or "info"]


def _format(options: argparse.Namespace, file: Mapping[str, Any]) -> str:
    text = options.log_format or str(_table(file, "log").get("format", "")) or "text"
    if text not in {"text", "json"}:
        raise UsageError(f"unsupported log type {text}", hint="text or json")
    return text


def _age(options: argparse.Namespace, system: Mapping[str, Any]) -> float:
    """Seconds out of a duration, or a number of them."""
    found = system.get("platformsCacheMaxAge", _PLATFORMS_AGE)
    if isinstance(found, str):
        try:
            found = int(found) if found.isdecimal() else parse_duration(found) / 1e9
        except DurationError as error:
            raise UsageError(f"{options.config}: system.platformsCacheMaxAge: {error}") from None
    return max(0.0, float(found))


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
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 0xFFFFFFFF):
        raise UsageError(f"{options.config}: grpc.uid is no number of a user")
    return found


def _collection(options: argparse.Namespace, worker: Mapping[str, Any]) -> Policy:
    found = read_policy(worker, "worker.oci")
    if options.oci_worker_gc:
        found = replace(found, enabled=options.oci_worker_gc == "true")
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
    from dockc.runtime.registry.hosts import HostsConfig

    found: dict[str, dict[str, object]] = {}
    for name, entry in table.items():
        made: dict[str, object] = {}
        if entry.get("mirrors"):
            made["mirrors"] = [_mirror(str(one), table) for one in entry["mirrors"]]
        for key in ("http", "insecure"):
            if entry.get(key):
                made[key] = True
        files, pairs = list(entry.get("ca", ())), list(entry.get("keypair", ()))
        for folder in entry.get("tlsconfigdir", ()):
            more, own = _certificates(folder)
            files, pairs = files + more, pairs + own
        made |= ({"ca": files} if files else {}) | ({"keypair": pairs} if pairs else {})
        if made:
            found[name] = made
    if found:
        HostsConfig.from_mapping(found)  # what is wrong with it is said now
        settings.add_registries(found)


def _certificates(folder: str) -> tuple[list[str], list[dict[str, str]]]:
    """Authorities (`*.crt`) and pairs (`*.cert` with `*.key`) of a directory, as Docker and containerd have them.

    Raises:
        UsageError: it cannot be read, or one of a pair is missing.
    """
    try:
        paths = sorted(Path(folder).iterdir())
    except (OSError, ValueError) as exc:  # ValueError: a name with a zero byte
        raise UsageError(f"cannot read {folder}: {getattr(exc, 'strerror', exc)}") from exc
    pairs = []
    for path in paths:
        if path.suffix in {".cert", ".key"}:
            cert, key = path.with_suffix(".cert"), path.with_suffix(".key")
            if not (cert in paths and key in paths):
                raise UsageError(f"{path} is alone: a certificate needs its key, and a key its certificate")
            if path == cert:
                pairs.append({"cert": str(cert), "key": str(key)})
    return [str(path) for path in paths if path.suffix == ".crt"], pairs


def _mirror(text: str, table: Mapping[str, Any]) -> str:
    """A mirror as a URL: a name of this machine, or one that is said to be so, is spoken to by plain HTTP."""
    if "://" in text:
        return text
    host = text.partition("/")[0]
    plain = host.partition(":")[0] in {"localhost", "127.0.0.1"} or bool((table.get(host) or {}).get("http"))
    return f"{'http' if plain else 'https'}://{text}"
