"""What the options of `dockc build` mean: what steps get, outputs, and what is not there."""

from __future__ import annotations

import os

from dockc.base.files import docker_folder, open_regular
from dockc.base.pattern import pattern
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dockc.runtime.exporter.options import Output
    from dockc.runtime.remotecache.base import CacheEntry

#: The address that `host-gateway` stands for: steps share the host's network, so the host is where they are.
GATEWAY = "127.0.0.1"

#: Names of calls as people and BuildKit's clients write them.
METHODS = {
    "build": "build",
    "check": "check",
    "lint": "check",
    "outline": "outline",
    "targets": "targets",
    "subrequests.describe": "subrequests.describe",
}

NETWORKS = ("default", "none", "host")

_ANNOTATION = pattern(r"([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?")

_ANNOTATED = ("manifest", "manifest-descriptor", "index", "index-descriptor")

_PROXIES = {
    "HTTP_PROXY": "httpProxy",
    "HTTPS_PROXY": "httpsProxy",
    "FTP_PROXY": "ftpProxy",
    "NO_PROXY": "noProxy",
    "ALL_PROXY": "allProxy",
}

_CONFIG_LIMIT = 4 << 20

_IMAGES = ("image", "registry", "oci", "docker")


# --- what steps get -----------------------------------------------------------------------------------


def step_attrs(
    *,
    pull: bool = False,
    network: str = "",
    hosts: Sequence[str] = (),
    shm_size: str = "",
    ulimits: Sequence[str] = (),
    cgroup_parent: str = "",
) -> dict[str, str]:
    """Options about how base images are looked up and steps are run, as frontend options.

    Raises:
        UsageError: a value that cannot be understood.
    """
    from dockc.base.units import parse_memory

    attrs: dict[str, str] = {}
    if pull:
        attrs["image-resolve-mode"] = "pull"
    if network:
        if network not in NETWORKS:
            raise UsageError(f"invalid network mode {network}", hint=f"Choose one of {', '.join(NETWORKS)}.")
        if network != "default":
            attrs["force-network-mode"] = network
    if hosts:
        attrs["add-hosts"] = ",".join(_host(text) for several in hosts for text in several.split(","))
    if shm_size:
        attrs["shm-size"] = str(parse_memory(shm_size))
    if ulimits:
        attrs["ulimit"] = ",".join(ulimits)
    if cgroup_parent:
        attrs["cgroup-parent"] = cgroup_parent
    return attrs


_LIMITS = frozenset(("memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems"))


def limit_attrs(given: Iterable[tuple[str, str]], resources: Iterable[str]) -> dict[str, str]:
    """Limits of RUN steps as frontend options.

    Args:
        given: names of frontend options with the values of flags, "" for none; these win.
        resources: `NAME=VALUE`, several separated by commas; names as docker's flags have them, too (`cpu-quota`,
            `memory-swap`).

    Raises:
        UsageError: no such limit, or a size that is none.
    """
    attrs: dict[str, str] = {}
    last = ""
    for text in (part for one in resources for part in one.split(",")):
        name, equals, value = text.partition("=")
        if not equals and last.startswith("cpuset"):  # a list of processors has commas, too
            attrs[last] += f",{text}"
            continue
        last = name.replace("-", "").replace("_", "").lower().replace("memoryswap", "memswap")
        if last not in _LIMITS or not value:
            raise UsageError(
                f"invalid resource {text!r}", hint=f"Known are {', '.join(sorted(_LIMITS))}, each with =VALUE."
            )
        attrs[last] = _amount(last, value)
    return attrs | {name: _amount(name, value) for name, value in given if value}


def _amount(name: str, value: str) -> str:
    from dockc.base.units import parse_memory

    if name not in ("memory", "memswap") or value.removeprefix("-").isdigit():
        return value
    return str(parse_memory(value))


def _host(text: str) -> str:
    """`HOST=IP` or `HOST:IP`, the address in brackets or not."""
    import ipaddress

    name, found, address = text.partition("=") if "=" in text else text.partition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address == "host-gateway":
        address = GATEWAY
    try:
        ipaddress.ip_address(address)
    except ValueError:
        found = ""
    if not (name and found):
        raise UsageError(f"invalid host {text}", hint="Write it as HOST=IP; host-gateway stands for this machine.")
    return f"{name}={address}"


def proxy_attrs(environ: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The proxies of Docker's configuration file as build arguments, as Docker's client passes them on; those that are
    given stay.

    What is wrong with the file is said by those who need its credentials.
    """
    path = os.path.join(docker_folder(environ), "config.json")  # noqa: PTH118
    try:
        with open_regular(path) as file:
            data = file.read(_CONFIG_LIMIT)
    except OSError:
        return {}
    if b'"proxies"' not in data:
        return {}
    import json

    try:
        proxies = json.loads(data)["proxies"]["default"]
        found = {name: proxies.get(key, "") for name, key in _PROXIES.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    attrs = {
        f"build-arg:{one}": value
        for name, value in found.items()
        if value and isinstance(value, str)
        for one in (name, name.lower())
    }
    return {key: value for key, value in attrs.items() if key not in given}


# --- what is asked ------------------------------------------------------------------------------------


def method(text: str, attrs: dict[str, str]) -> tuple[str, str]:
    """What `--call` asks for and in which form; the frontend option `requestid` says it too, and is taken out.

    Raises:
        UsageError: there is no such call, or no such form.
    """
    name, *rest = text.split(",")
    form = "text"
    if asked := attrs.pop("requestid", ""):
        name = asked.removeprefix("frontend.")
    if name not in METHODS:
        raise UsageError(
            f"unsupported request {asked or name}", hint=f"Choose one of {', '.join(dict.fromkeys(METHODS.values()))}."
        )
    for field in rest:
        key, _, form = field.partition("=")
        if key != "format" or form not in ("text", "json"):
            raise UsageError(f"invalid option {field} of --call", hint="There is format=json.")
    return METHODS[name], form


# --- outputs ------------------------------------------------------------------------------------------


def outputs(
    texts: Sequence[str], *, push: bool = False, load: bool = False, annotations: Sequence[str] = ()
) -> tuple[Output, ...]:
    """All outputs: those of `--output`, what `--push` and `--load` make of them, and annotations on those that are
    images.

    Raises:
        UsageError: a value that cannot be understood, or annotations where nothing can carry them.
    """
    from dockc.runtime.exporter.options import make_output, split_output

    found = [split_output(text) for text in texts]
    if push:
        images = [attributes for kind, _, attributes in found if kind in ("image", "registry")]
        for attributes in images:
            attributes["push"] = "true"
        if not images:
            found.append(("registry", "", {}))
    if load and ("docker", "") not in [(kind, dest) for kind, dest, _ in found]:
        found.append(("docker", "", {}))
    if annotations:
        found = found or [("image", "", {})]
        images = [attributes for kind, _, attributes in found if kind in _IMAGES]
        if not images:
            raise UsageError(
                "annotations need an image to be on", hint=f"Outputs of type {', '.join(_IMAGES)} are images."
            )
        for key, value in (pair for text in annotations for pair in _annotation(text)):
            for attributes in images:
                attributes[key] = value
    return tuple(make_output(kind, dest, attributes) for kind, dest, attributes in found)


_LOCAL_DELETE = "buildx.local.delete"


def allowed(texts: Iterable[str], outputs: Iterable[Output]) -> frozenset[str]:
    """The entitlements of `--allow`, but for the one that is of the client alone and stays here: an output that
    deletes what it does not write may do so below the current directory, elsewhere only when that is allowed.

    Raises:
        UsageError: it is not.
    """
    found = set(filter(None, texts))
    for text in found:
        if text.startswith(f"{_LOCAL_DELETE}="):
            raise UsageError(f"{_LOCAL_DELETE} does not accept a value")
    if _LOCAL_DELETE not in found:
        for output in outputs:
            if output.deletes and not _is_below_here(output.dest):
                raise UsageError(
                    f'local output mode=delete for destination "{output.dest}" requires --allow={_LOCAL_DELETE}',
                    hint="All that is there and not in the result would be deleted.",
                )
    return frozenset(found - {_LOCAL_DELETE})


def _is_below_here(dest: str) -> bool:
    try:
        return os.path.realpath(dest).startswith(os.path.realpath(os.curdir).rstrip("/") + "/")
    except FileNotFoundError:  # the current directory is gone: nothing is below it
        return False


def _annotation(text: str) -> list[tuple[str, str]]:
    """`[TYPE[,TYPE]:]KEY=VALUE` as keys of an output; a type may name a platform: `manifest[linux/amd64]`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"invalid annotation {text!r}, expected key=value")
    kinds, colon, key = name.partition(":")
    if not colon:
        return [(f"annotation.{name}", value)]
    found = []
    for kind in kinds.split(","):
        match = _ANNOTATION.fullmatch(kind)
        if match is None or match[1] not in _ANNOTATED:
            raise UsageError(f"unknown annotation type {kind!r}", hint=f"Known: {', '.join(_ANNOTATED)}.")
        found.append((f"annotation-{match[1]}{f'[{match[2]}]' if match[2] else ''}.{key}", value))
    return found


def caches(texts: Sequence[str], *, lenient: bool = False) -> tuple[CacheEntry, ...]:
    """`--cache-from` and `--cache-to` as entries.

    Args:
        texts: as the command line has them.
        lenient: one that cannot be written does not fail the build, unless it says `ignore-error=false`.

    Raises:
        UsageError: one that cannot be understood.
    """
    if not texts:
        return ()
    from dockc.runtime.remotecache import base

    entries = map(base.parse_entry, texts)
    return tuple(map(base.lenient, entries) if lenient else entries)


_ASKED_BY = {
    "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "source policies are",
    "BUILDX_DEFAULT_POLICY": "policies are",
    "BUILDX_METADATA_WARNINGS": "warnings in the metadata file are",
    "BUILDX_CPU_PROFILE": "profiles of dockc itself are",
    "BUILDX_MEM_PROFILE": "profiles of dockc itself are",
    "DOCKER_CONTENT_TRUST": "content trust is",
    "JAEGER_TRACE": "traces by Jaeger's own protocol are",
    "OTEL_METRICS_EXPORTER": "metrics are",
    "OTEL_LOGS_EXPORTER": "logs by OpenTelemetry are",
}
_ASKED_BY_PREFIX = {"OTEL_EXPORTER_": "this exporter is"}
_OTLP = "OTEL_EXPORTER_OTLP_"
#: What an exporter of traces can be told, for all signals (`OTEL_EXPORTER_OTLP_X`) or for traces (`..._TRACES_X`).
_OF_TRACES = frozenset(
    (
        "CERTIFICATE",
        "CLIENT_CERTIFICATE",
        "CLIENT_KEY",
        "COMPRESSION",
        "ENDPOINT",
        "HEADERS",
        "INSECURE",
        "PROTOCOL",
        "TIMEOUT",
    )
)

# --- what is not there --------------------------------------------------------------------------------


def refuse(
    *,
    attest: Sequence[str] = (),
    provenance: str = "",
    sbom: str = "",
    frontend: str = "",
) -> None:
    """Refuse options that ask for what dockc does not do.

    Raises:
        DockcError: with the option and what to do instead.
    """
    for option, text in (("--provenance", provenance), ("--sbom", sbom), *(("--attest", text) for text in attest)):
        if text and not _is_off(text):
            raise DockcError(
                f"attestations are not supported yet ({option}={text})", hint="Leave the option out, or say false."
            )
    if frontend:
        raise DockcError("--frontend needs a builder elsewhere", hint="Name one with --addr or --builder.")


def refuse_dockers(isolation: str, security: Sequence[str], policies: Sequence[str], *, untrusted: bool) -> None:
    """Refuse options of docker's and buildx's that ask for what dockc does not do.

    Raises:
        DockcError: with the option and what to do instead.
    """
    if isolation not in ("", "default"):
        raise DockcError(f"--isolation={isolation} is not supported", hint="Steps run in dockc's own sandbox: default.")
    for text in security:
        raise DockcError(
            f"--security-opt={text} is not supported",
            hint="A step that needs more says `RUN --security=insecure`, and the build --allow security.insecure.",
        )
    if not untrusted:
        raise DockcError(
            "--disable-content-trust=false is not supported",
            hint="Pin images by digest: `dockc lock` writes them down.",
        )
    for text in policies:
        raise DockcError(f"policies are not supported yet (--policy={text})", hint="Leave the option out.")


def refuse_environment(environ: Mapping[str, str]) -> None:
    """Refuse variables of BuildKit and buildx that ask for what dockc does not do; set in vain, they would promise
    something.

    Raises:
        DockcError: with the variable.
    """
    for name, value in environ.items():
        if name.startswith(_OTLP) and name.removeprefix(_OTLP).removeprefix("TRACES_") in _OF_TRACES:
            continue
        what = _ASKED_BY.get(name) or next(
            (what for prefix, what in _ASKED_BY_PREFIX.items() if name.startswith(prefix)), ""
        )
        if what and value not in {"", "0", "false"} and not (name.endswith("_EXPORTER") and value == "none"):
            raise DockcError(f"{what} not supported yet ({name} is set)", hint=f"Unset {name}.")


def _is_off(text: str) -> bool:
    fields = [field.strip().lower() for field in text.split(",")]
    return fields[0] in {"false", "0", "f"} or bool({"disabled=true", "disabled=1"} & set(fields))
