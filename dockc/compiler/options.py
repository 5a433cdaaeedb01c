"""What a Dockerfile is compiled with: the frontend options, read once into one frozen value.

`CompileOptions.from_attrs` takes the option map that BuildKit's frontend takes (`target`, `build-arg:NAME`,
`platform`, `context:NAME`, ...), and refuses bad values with the same messages. Source: BuildKit,
docs/reference/buildctl.md and the frontend's own option list.
"""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import Record, fields_of
from dockc.compiler.checks import LintConfig, parse_check_options
from dockc.compiler.ir.module import Resources
from dockc.compiler.suggest import nearest
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_bool, parse_int, parse_uint
from dockc.golang.strings import fold, lower
from dockc.golang.text import quote
from dockc.llb import caps as C  # noqa: N812
from dockc.llb.modes import Network
from dockc.oci import platform as platforms
from dockc.oci.platform import InvalidPlatform, Platform
from dockc.oci.reference import InvalidReference, parse_normalized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dockc.llb.definition import Definition

_NETWORK_MODES = {"": Network.SANDBOX, "sandbox": Network.SANDBOX, "none": Network.NONE, "host": Network.HOST}
_RESOLVE_MODES = ("default", "pull", "local")
_ULIMITS = frozenset(
    (
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
        *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
    )
)
_ATTESTATIONS = frozenset(("sbom", "provenance"))
_MAX_CPU = 8192
_EMPTY: Mapping[str, str] = MappingProxyType({})


class CompileOptions(Record):
    """All options of one compilation; every field has the default of a plain `dockc compile`.

    Attributes:
        target: stage to build, "" for the last one.
        build_args, labels: `build-arg:` and `label:` options.
        target_platform: platform to build for, or None: the first build platform, and the image decides.
        target_platforms: all platforms that `platform` named, in order.
        build_platforms: platforms the builder runs; the first is `BUILDPLATFORM`. () is the host's alone.
        host_platform: what a named context is looked up for where nothing asks for a platform; None is this machine.
        multi_platform: vertex names begin with the platform.
        resolve_mode: `default`, `pull` or `local`.
        hosts: pairs of host name and address for every RUN.
        shm_size: bytes of `/dev/shm`, 0 for the engine's default.
        ulimits: name, soft and hard limit for every RUN.
        resources: memory and CPU limits for every RUN, or None.
        network: default network of RUN, one of `ir.ops.NET_*`.
        hostname, cgroup_parent: for every RUN, "" for the engine's default.
        devices: CDI devices for every RUN: name, and whether it is optional.
        no_cache: None uses the cache, () ignores it for all stages, else for the stages named.
        cache_namespace: prefix of cache mount ids.
        lint: check options given here, which win over a `# check=` directive, or None.
        filename: the Dockerfile's name in messages and source maps.
        context: the main context when it is remote (git or HTTP), else "".
        context_subdir: directory of a remote context that is its root, or None.
        context_name, dockerfile_name: names of the local sources.
        force_local_dockerfile: the Dockerfile comes from a local source even if the context is remote.
        keep_git_dir: keep `.git` of a git context.
        contexts: named contexts: name (or `name::platform`) to `docker-image://...` and the like.
        inputs: graphs that the client gave, by the names that `input:NAME` contexts have for them; `context` and
            `dockerfile` are the
            main context and what the Dockerfile is read from.
        input_metadata: what is known of them, as JSON: an image config, above all.
        shared_keys: extra cache keys of named local contexts.
        session: id of the client session that local sources are read from.
        local_sessions: other sessions for single local sources.
        caps: capabilities of the engine.
        all_stages: compile stages that the target does not need, too (used by lint).
    """

    target: str = ""
    build_args: Mapping[str, str] = _EMPTY
    labels: Mapping[str, str] = _EMPTY
    target_platform: Platform | None = None
    target_platforms: tuple[Platform, ...] = ()
    build_platforms: tuple[Platform, ...] = ()
    host_platform: Platform | None = None
    multi_platform: bool = False
    resolve_mode: str = "default"
    hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    resources: Resources | None = None
    network: int = Network.SANDBOX
    hostname: str = ""
    cgroup_parent: str = ""
    devices: tuple[tuple[str, bool], ...] = ()
    no_cache: tuple[str, ...] | None = None
    cache_namespace: str = ""
    lint: LintConfig | None = None
    filename: str = "Dockerfile"
    context: str = ""
    context_subdir: str | None = None
    context_name: str = "context"
    dockerfile_name: str = "dockerfile"
    force_local_dockerfile: bool = False
    keep_git_dir: bool = False
    contexts: Mapping[str, str] = _EMPTY
    inputs: Mapping[str, Definition] = MappingProxyType({})
    input_metadata: Mapping[str, str] = _EMPTY
    shared_keys: Mapping[str, str] = _EMPTY
    session: str = ""
    local_sessions: Mapping[str, str] = _EMPTY
    caps: frozenset[str] = C.ALL
    all_stages: bool = False

    def ignores_cache(self, stage: str) -> bool:
        """Whether the stage of that name runs without the cache."""
        if self.no_cache is None:
            return False
        return not self.no_cache or fold(stage) in map(fold, self.no_cache)

    def for_platform(self, platform: Platform | None) -> CompileOptions:
        """The same options for one of several target platforms."""
        return self._with(target_platform=platform)

    def with_all_stages(self) -> CompileOptions:
        """The same options for a check of the whole file, where no target was asked for."""
        return self if self.target else self._with(all_stages=True)

    @property
    def host(self) -> Platform:
        """The platform of the machine."""
        return self.host_platform or platforms.normalize(platforms.default())

    @property
    def builders(self) -> tuple[Platform, ...]:
        """The platforms that the builder runs, at least one."""
        return self.build_platforms or (self.host,)

    def _with(self, **changes: Any) -> CompileOptions:
        values = {name: getattr(self, name) for name in fields_of(self)}
        return CompileOptions(**{**values, **changes})

    @classmethod
    def from_attrs(
        cls,
        attrs: Mapping[str, str],
        *,
        build_platforms: tuple[Platform, ...] = (),
        host_platform: Platform | None = None,
        session: str = "",
        devices: tuple[tuple[str, bool], ...] = (),
        caps: frozenset[str] = C.ALL,
        inputs: Mapping[str, Definition] | None = None,
    ) -> CompileOptions:
        """Read the frontend's option map.

        Args:
            attrs: option names and values; names that mean nothing here are ignored.
            build_platforms: platforms of the builder; this machine's by default.
            host_platform: platform of the machine, where it is not this one's.
            session: id of the client session.
            devices: CDI devices for every RUN.
            caps: capabilities of the engine.
            inputs: graphs that the client gave, by name.

        Raises:
            CompileError: a value that cannot be understood, in the reference's words.
        """
        if C.FILE_BASE not in caps:
            raise CompileError(
                f"needs BuildKit 0.5 or later: requested prerelease feature {C.FILE_BASE}  is not supported by build "
                "server, "
                "please update ",
                fault=Fault("bad-option"),
            )
        _refuse_removed(attrs)
        build_args = _with_prefix(attrs, "build-arg:")
        target_platforms = _platforms(attrs.get("platform", ""))
        resolve_mode = attrs.get("image-resolve-mode") or "default"
        if resolve_mode not in _RESOLVE_MODES:
            raise CompileError(f"invalid image-resolve-mode: {resolve_mode}", fault=Fault("bad-option"))
        hosts = _hosts(attrs.get("add-hosts", ""))
        shm_size = _shm_size(attrs.get("shm-size", ""))
        ulimits = _ulimits(attrs.get("ulimit", ""))
        resources = _resources(attrs)
        network = _NETWORK_MODES.get(attrs.get("force-network-mode", ""))
        if network is None:
            raise CompileError(f"invalid netmode {attrs['force-network-mode']}", fault=Fault("bad-option"))
        multi_platform = _multi_platform(attrs, build_args, len(target_platforms))
        if attrs.get("cache-imports"):
            from dockc.compiler.image.reader import check_cache_imports

            check_cache_imports(attrs["cache-imports"])
        _check_attestations(attrs)
        lint = _lint(build_args.get("BUILDKIT_DOCKERFILE_CHECK"))
        context = attrs.get(attrs.get("contextkey", "context"), "")
        # A git context with wrong parameters is refused before anything is read.
        if ":" in context or "/" in context:
            from dockc.compiler.urls import parse_git_ref

            parse_git_ref(context)
        return cls(
            target=attrs.get("target", ""),
            build_args=build_args,
            labels=_with_prefix(attrs, "label:"),
            target_platform=target_platforms[0] if len(target_platforms) == 1 else None,
            target_platforms=target_platforms,
            build_platforms=build_platforms,
            host_platform=host_platform,
            multi_platform=multi_platform,
            resolve_mode=resolve_mode,
            hosts=hosts,
            shm_size=shm_size,
            ulimits=ulimits,
            resources=resources,
            network=network,
            hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or attrs.get("hostname", ""),
            cgroup_parent=attrs.get("cgroup-parent", ""),
            devices=devices,
            no_cache=_no_cache(attrs.get("no-cache")),
            cache_namespace=build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
            lint=lint,
            filename=attrs.get("filename", "Dockerfile"),
            context=context,
            context_subdir=attrs.get("contextsubdir"),
            dockerfile_name=attrs.get("dockerfilekey", "dockerfile"),
            force_local_dockerfile="dockerfilekey" in attrs,
            keep_git_dir=_is_true(build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")),
            contexts=_with_prefix(attrs, "context:"),
            inputs=MappingProxyType(dict(inputs)) if inputs else MappingProxyType({}),
            input_metadata=_with_prefix(attrs, "input-metadata:"),
            shared_keys=_with_prefix(attrs, "sharedkey:localdir:"),
            session=session,
            local_sessions=_with_prefix(attrs, "local-sessionid:"),
            caps=caps,
        )


_NAMES = (
    "target", "platform", "image-resolve-mode", "add-hosts", "shm-size", "ulimit", "force-network-mode", "multi-platform", "no-cache",
    "hostname", "cgroup-parent", "filename", "context", "contextkey", "contextsubdir", "dockerfilekey", "memory", "memswap", "cpushares",
    "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems", "source", "cmdline", "cache-from", "cache-imports", "cache-to", "requestid",
    "override-copy-image", "frontend.caps",
)  # fmt: skip
_PREFIXES = ("build-arg", "label", "context", "attest", "sharedkey", "local-sessionid", "vcs", "input-metadata")


def misspelled(attrs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Options that the frontend does not know, with the known one that is near. (Unknown ones alone are no error:
    frontends differ.)
    """
    found = []
    for key in attrs:
        prefix, colon, rest = key.partition(":")
        if colon:
            near = "" if prefix in _PREFIXES else nearest(prefix, _PREFIXES)
            if near:
                found.append((key, f"{near}:{rest}"))
        elif key not in _NAMES and (near := nearest(key, _NAMES)):
            found.append((key, near))
    return found


def _with_prefix(attrs: Mapping[str, str], prefix: str) -> Mapping[str, str]:
    found = {key[len(prefix) :]: value for key, value in attrs.items() if key.startswith(prefix)}
    return MappingProxyType(found) if found else _EMPTY


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except NumberError:
        return False


def _refuse_removed(attrs: Mapping[str, str]) -> None:
    if attrs.get("override-copy-image"):
        raise CompileError('support for "override-copy-image" was removed in BuildKit 0.11', fault=Fault("bad-option"))
    if _is_true(attrs.get("build-arg:BUILDKIT_DISABLE_FILEOP", "")):
        raise CompileError(
            'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11', fault=Fault("bad-option")
        )


def _platforms(text: str) -> tuple[Platform, ...]:
    if not text:
        return ()
    found = []
    for item in text.split(","):
        try:
            found.append(platforms.normalize(platforms.parse(item)))
        except InvalidPlatform as error:
            raise CompileError(
                f"failed to parse target platform {item}: {error.message}", fault=Fault("bad-option")
            ) from None
    return tuple(found)


def _hosts(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    from dockc.golang.csvline import CsvError, fields

    try:
        items = fields(text)
    except CsvError as error:
        raise CompileError(f"failed to parse additional hosts: {error}", fault=Fault("bad-option")) from None
    found = []
    for item in items:
        host, equals, address = lower(item).partition("=")
        if not equals:
            raise CompileError(
                f"failed to parse additional hosts: invalid key-value pair {item}", fault=Fault("bad-option")
            )
        ip = parse_ip(address)
        if ip is None:
            raise CompileError(
                f"failed to parse additional hosts: failed to parse IP {address}", fault=Fault("bad-option")
            )
        found.append((host, ip))
    return tuple(found)


def parse_ip(text: str) -> str | None:
    """An IP address in its usual form, or None for anything else."""
    if "%" in text or not text.isascii():
        return None
    import ipaddress

    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip)


def _shm_size(text: str) -> int:
    if not text:
        return 0
    try:
        return parse_int(text)
    except NumberError as error:
        raise CompileError(f"failed to parse shm size: {error}", fault=Fault("bad-option")) from None


def _ulimits(text: str) -> tuple[tuple[str, int, int], ...]:
    if not text:
        return ()
    from dockc.golang.csvline import fields

    try:
        return tuple(_ulimit(item) for item in fields(text))
    except ValueError as error:
        raise CompileError(f"failed to parse ulimit: {error}", fault=Fault("bad-option")) from None


def _ulimit(text: str) -> tuple[str, int, int]:
    """`name=soft[:hard]`; -1 is no limit."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    values = limits.split(":")
    if len(values) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    hard = parse_int(values[-1])
    soft = parse_int(values[0])
    if hard != -1:
        if soft == -1:
            raise ValueError(
                f"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )
        if soft > hard:
            raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return name, soft, hard


def _resources(attrs: Mapping[str, str]) -> Resources | None:
    def number(key: str, *, unsigned: bool = False, unlimited: bool = False) -> int:
        text = attrs.get(key, "")
        if not text:
            return 0
        what = f"failed to parse resource limits: invalid {key} value: {text}"
        try:
            value = parse_uint(text) if unsigned else parse_int(text)
        except NumberError as error:
            raise CompileError(f"{what}: {error}", fault=Fault("bad-option")) from None
        if unlimited and (value < -1 or value == 0):
            raise CompileError(f"{what}: must be -1 (unlimited) or > 0", fault=Fault("bad-option"))
        if not unlimited and value <= 0:
            raise CompileError(f"{what}: must be > 0", fault=Fault("bad-option"))
        return value

    resources = Resources(
        memory=number("memory"),
        memory_swap=number("memswap", unlimited=True),
        cpu_shares=number("cpushares", unsigned=True),
        cpu_period=number("cpuperiod", unsigned=True),
        cpu_quota=number("cpuquota"),
        cpuset_cpus=_cpuset(attrs, "cpusetcpus"),
        cpuset_mems=_cpuset(attrs, "cpusetmems"),
    )
    given = any(getattr(resources, name) for name in fields_of(Resources))
    return resources if given else None


def _cpuset(attrs: Mapping[str, str], key: str) -> str:
    """A list of numbers and ranges (`0-3,5`), as written once it is known to be one."""
    text = attrs.get(key, "")
    for part in text.split(","):
        part = part.strip()
        problem = _cpuset_problem(part) if part else ""
        if problem:
            raise CompileError(
                f"failed to parse resource limits: invalid {key} value: {text}: {problem}", fault=Fault("bad-option")
            )
    return text


def _cpuset_problem(part: str) -> str:
    low, dash, high = part.partition("-")
    try:
        first = parse_int(low.strip() if dash else part)
        last = parse_int(high.strip()) if dash else first
    except NumberError:
        first, last = -1, -1
    if first < 0 or last < first:
        return f"invalid cpuset {'range' if dash else 'element'} {quote(part)}"
    if last > _MAX_CPU:
        return f"cpuset {'range' if dash else 'element'} {quote(part)} exceeds maximum {_MAX_CPU}"
    return ""


def _multi_platform(attrs: Mapping[str, str], build_args: Mapping[str, str], count: int) -> bool:
    text = build_args.get("BUILDKIT_MULTI_PLATFORM") or attrs.get("multi-platform", "")
    if not text:
        return count > 1
    try:
        wanted = parse_bool(text)
    except NumberError:
        raise CompileError(f"invalid boolean value for multi-platform: {text}", fault=Fault("bad-option")) from None
    if not wanted and count > 1:
        raise CompileError(
            "conflicting config: returning multiple target platforms is not allowed", fault=Fault("bad-option")
        )
    return wanted


def _no_cache(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(text.split(",")) if text else ()


def _check_attestations(attrs: Mapping[str, str]) -> None:
    """Refuse attestation requests that the reference refuses; making them is the exporter's work."""
    wanted: dict[str, str] = {}
    scanner = None
    for key, value in attrs.items():
        for prefix in ("attest:", "build-arg:BUILDKIT_ATTEST_"):
            if key.startswith(prefix):
                wanted[lower(key[len(prefix) :])] = value
    for kind in sorted(wanted):
        if wanted[kind]:
            from dockc.golang.csvline import CsvError, fields

            try:
                given = dict(field.partition("=")[::2] for field in fields(wanted[kind]))
            except CsvError as error:
                raise CompileError(f"failed to parse {kind}: {error}", fault=Fault("bad-option")) from None
            scanner = given.get("generator", scanner) if kind == "sbom" else scanner
    for kind in sorted(wanted):
        if kind not in _ATTESTATIONS:
            raise CompileError(f"unknown attestation type {quote(kind)}", fault=Fault("bad-option"))
    if scanner is not None:
        try:
            parse_normalized(scanner)
        except InvalidReference as error:
            raise CompileError(
                f"failed to parse sbom scanner {scanner}: {error.message}", fault=Fault("bad-option")
            ) from None


def _lint(text: str | None) -> LintConfig | None:
    if text is None:
        return None
    try:
        return parse_check_options(text)
    except CompileError as error:
        raise CompileError(
            f"failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: {error.message}", fault=Fault("bad-option")
        ) from None
