"""Platforms: `os[(version+feature...)][/architecture[/variant]]`, their normal form, and which fits which.

Source: OCI image specification, "Image Index: platform"; the matching and ordering rules are containerd's.
`Matcher.match` answers "can an image for that platform serve?", `Matcher.less` orders the candidates.
"""

from __future__ import annotations

import posixpath

from dockc.base.machine import machine as this_machine
from dockc.base.memo import remembered
from dockc.base.pattern import pattern
from dockc.base.record import Record, replace
from dockc.errors import DockcError
from dockc.golang.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

_KNOWN_OS = frozenset(
    (
        *(
            "aix",
            "android",
            "darwin",
            "dragonfly",
            "freebsd",
            "hurd",
            "illumos",
            "ios",
            "js",
            "linux",
            "nacl",
        ),
        *("netbsd", "openbsd", "plan9", "solaris", "windows", "zos"),
    )
)
_KNOWN_ARCH = frozenset(
    (
        *("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle"),
        *("mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64"),
        *("s390", "s390x", "sparc", "sparc64", "wasm"),
    )
)
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "loongarch64": "loong64",
    "mipsel": "mipsle",
    "mips64el": "mips64le",
}
_COMPONENT_PATTERN = "^[A-Za-z0-9_.-]+$"
_OS_PATTERN = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$"
_COMPONENT = pattern(_COMPONENT_PATTERN[1:-1])
_OS = pattern(_OS_PATTERN[1:-1])
_ARM64 = pattern(r"v([89])(?:\.([0-9]))?")


class InvalidPlatform(DockcError):
    """A text that names no platform."""


class Platform(Record):
    """What an image runs on, in the words of the OCI specification (Go's GOOS and GOARCH).

    Attributes:
        os: operating system, `linux`.
        architecture: processor, `amd64`.
        variant: processor variant, `v7`, or "".
        os_version: Windows build number, or "".
        os_features: required features of the operating system.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return format_all(self)


# --- text ---------------------------------------------------------------------------------------------


def parse(text: str) -> Platform:
    """Parse a specifier; a missing half is filled in from this machine.

    Raises:
        InvalidPlatform: with containerd's message.
    """
    if "*" in text:
        raise InvalidPlatform(f"{quote(text)}: wildcards not yet supported: invalid argument")
    parts = text.split("/", 3)
    match = _OS.fullmatch(parts[0])
    if match is None:
        raise InvalidPlatform(
            f"{quote(parts[0])} is an invalid OS component of {quote(text)}: OSAndVersion specifier "
            f"component must match {quote(_OS_PATTERN)}: invalid argument"
        )
    system = _normalize_os(match.group(1))
    raw_version = match.group(2) or ""
    try:
        version = _decode(raw_version)
    except ValueError as error:
        raise InvalidPlatform(f"{quote(text)} has an invalid OS version {quote(raw_version)}: {error}") from None
    features = _parse_features(text, match.group(3) or "")
    for part in parts[1:]:
        if _COMPONENT.fullmatch(part) is None:
            raise InvalidPlatform(
                f"{quote(part)} is an invalid component of {quote(text)}: platform specifier component "
                f"must match {quote(_COMPONENT_PATTERN)}: invalid argument"
            )
    if len(parts) == 1:
        return _parse_single(text, Platform(system, "", "", version, features))
    if len(parts) == 2:
        architecture, variant = _normalize_arch(parts[1], "")
        if architecture == "arm" and variant == "v7":
            variant = ""
        return Platform(system, architecture, variant, version, features)
    if len(parts) == 3:
        architecture, variant = _normalize_arch(parts[1], parts[2])
        if architecture == "arm64" and not variant:
            variant = "v8"
        return Platform(system, architecture, variant, version, features)
    raise InvalidPlatform(f"{quote(text)}: cannot parse platform specifier: invalid argument")


def _parse_single(text: str, partial: Platform) -> Platform:
    """One word: an operating system of this machine's architecture, or the other way round."""
    if partial.os in _KNOWN_OS:
        local = default()
        variant = local.variant if local.architecture == "arm" and local.variant != "v7" else ""
        return replace(partial, architecture=local.architecture, variant=variant)
    architecture, variant = _normalize_arch(text, "")
    if architecture == "arm" and variant == "v7":
        variant = ""
    if architecture in _KNOWN_ARCH:
        return replace(partial, os="linux", architecture=architecture, variant=variant)
    raise InvalidPlatform(f"{quote(text)}: unknown operating system or architecture: invalid argument")


def _parse_features(text: str, raw: str) -> tuple[str, ...]:
    if not raw:
        return ()
    features = []
    for item in raw[1:].split("+"):
        try:
            feature = _decode(item)
        except ValueError as error:
            raise InvalidPlatform(
                f"{quote(text)} has invalid OS features: invalid os feature {quote(item)}: {error}"
            ) from None
        if feature:
            features.append(feature)
    return tuple(features)


def _decode(value: str) -> str:
    """Undo percent encoding; `ValueError` with Go's wording when an escape is broken."""
    if "%" not in value:
        return value
    import re

    for escape in re.finditer(r"%(.{0,2})", value):
        if not re.fullmatch(r"[0-9A-Fa-f]{2}", escape.group(1)):
            raise ValueError(f"invalid URL escape {quote(escape.group(0))}")
    raw = re.sub(rb"%(..)", lambda m: bytes.fromhex(m.group(1).decode()), value.encode())
    return raw.decode("utf-8", "surrogateescape")


def _encode(value: str) -> str:
    return "".join(f"%{ord(char):02X}" if char in "%+()/" else char for char in value)


def format_short(platform: Platform) -> str:
    """`os/architecture/variant` without version and features; "unknown" without an operating system."""
    if not platform.os:
        return "unknown"
    return _join(platform.os, platform)


@remembered(256)
def format_all(platform: Platform) -> str:
    """The whole specifier, version and features included; "unknown" without an operating system."""
    if not platform.os:
        return "unknown"
    features = "".join(f"+{_encode(feature)}" for feature in sorted({f for f in platform.os_features if f}))
    details = _encode(platform.os_version) + features
    return _join(f"{platform.os}({details})" if details else platform.os, platform)


def _join(head: str, platform: Platform) -> str:
    parts = (head, platform.architecture, platform.variant)
    return posixpath.normpath("/".join(part for part in parts if part))


# --- normal form --------------------------------------------------------------------------------------


def normalize(platform: Platform) -> Platform:
    """The canonical value: `aarch64` is `arm64`, `x86_64` is `amd64`, features sorted and unique."""
    architecture, variant = _normalize_arch(platform.architecture, platform.variant)
    return Platform(
        _normalize_os(platform.os),
        architecture,
        variant,
        platform.os_version,
        tuple(sorted(set(platform.os_features))),
    )


def _normalize_os(system: str) -> str:
    system = system.lower()
    if system == "macos":
        return "darwin"
    return system or "linux"


def _normalize_arch(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    match architecture:
        case "i386":
            return "386", ""
        case "x86_64" | "x86-64" | "amd64":
            return "amd64", "" if variant == "v1" else variant
        case "aarch64" | "arm64":
            if variant in ("8", "v8", "v8.0"):
                variant = ""
            elif variant in ("9", "9.0", "v9.0"):
                variant = "v9"
            return "arm64", variant
        case "armhf":
            return "arm", "v7"
        case "armel":
            return "arm", "v6"
        case "arm":
            if variant in ("", "7"):
                variant = "v7"
            elif variant in ("5", "6", "8"):
                variant = f"v{variant}"
    return architecture, variant


def default() -> Platform:
    """The platform of this machine, as containerd would report it.

    A machine that no image is made for (WebAssembly in a browser) builds for linux/amd64, as one without a name does.
    """
    machine = this_machine()
    if machine in {"", "wasm32", "wasm64"}:
        return Platform("linux", "amd64")
    if machine.startswith("armv"):
        number = machine[4:5]
        return Platform("linux", "arm", f"v{number}" if number in "5678" else "")
    architecture = _MACHINES.get(machine, machine)
    return Platform("linux", architecture, "v8" if architecture == "arm64" else "")


# --- matching -----------------------------------------------------------------------------------------


class Matcher:
    """Matches any of several platforms, in order of preference."""

    __slots__ = ("_accepts", "platforms")

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self.platforms = tuple(platforms)
        self._accepts = tuple(_acceptor(platform) for platform in self.platforms)

    def match(self, platform: Platform) -> bool:
        """Whether an image for `platform` can serve."""
        return any(accept(platform) for accept in self._accepts)

    def less(self, first: Platform, second: Platform) -> bool:
        """Whether `first` is to be preferred over `second`."""
        for accept in self._accepts:
            one, two = accept(first), accept(second)
            if one and not two:
                return True
            if one and len(first.os_features) != len(second.os_features):
                return len(first.os_features) > len(second.os_features)
            if one or two:
                return False
        if first.os_features or second.os_features:
            return self.less(replace(first, os_features=()), replace(second, os_features=()))
        return False

    def sort(self, items: Iterable[T], platform_of: Callable[[T], Platform]) -> list[T]:
        """The items in order of preference; equals keep their order."""
        from functools import cmp_to_key

        def compare(one: T, two: T) -> int:
            first, second = platform_of(one), platform_of(two)
            if self.less(first, second):
                return -1
            return 1 if self.less(second, first) else 0

        return sorted(items, key=cmp_to_key(compare))


def only(platform: Platform) -> Matcher:
    """The platform and everything its processor runs too (`arm/v7` runs `arm/v6`, `amd64` runs `386`)."""
    return Matcher(_vector(normalize(platform)))


def only_strict(platform: Platform) -> Matcher:
    """This platform and no other."""
    return Matcher((normalize(platform),))


def ordered(*platforms: Platform) -> Matcher:
    """Any of the platforms, the first one liked best."""
    return Matcher(platforms)


def _vector(platform: Platform) -> list[Platform]:
    """The platform, then what else runs on it, best first."""
    match platform.architecture:
        case "amd64":
            lower = _lower_versions(platform, 1)
            return [platform, *lower, replace(platform, architecture="386", variant="")]
        case "arm":
            return [platform, *_lower_versions(platform, 5)]
        case "arm64":
            return _vector_arm64(platform)
    return [platform]


def _lower_versions(platform: Platform, lowest: int) -> list[Platform]:
    number = platform.variant.removeprefix("v")
    # A variant is a user's text: a huge number must not become a huge list.
    if not (number.isascii() and number.isdigit()) or len(number) > 2:
        return []
    return [replace(platform, variant=f"v{n}") for n in range(int(number) - 1, lowest - 1, -1)]


def _vector_arm64(platform: Platform) -> list[Platform]:
    """ARMv9.x includes ARMv8.(x+5); all of ARMv8 and v9 run 32-bit ARMv8 and below."""
    variant = platform.variant or "v8"
    match = _ARM64.fullmatch(variant)
    if match is None or (match.group(1) == "9" and int(match.group(2) or 0) > 7):
        return []
    major, minor = int(match.group(1)), int(match.group(2) or 0)
    steps = [(major, n) for n in range(minor, -1, -1)]
    if major == 9:
        steps += [(8, n) for n in range(min(minor + 5, 9), -1, -1)]
    same = [replace(platform, variant=f"v{m}.{n}" if n else f"v{m}") for m, n in steps]
    return same + _vector(replace(platform, architecture="arm", variant="v8"))


def _acceptor(wanted: Platform) -> Callable[[Platform], bool]:
    """A predicate for one platform: equal names, and no feature that was not asked for."""
    windows = wanted.os == "windows"
    version = _windows_version(wanted.os_version) if windows else None
    goal = normalize(wanted)
    allowed = frozenset(goal.os_features)

    def accept(candidate: Platform) -> bool:
        normal = normalize(candidate)
        features = set(normal.os_features)
        if windows:
            features.discard("win32k")
        return (
            goal.os == normal.os
            and goal.architecture == normal.architecture
            and goal.variant == normal.variant
            and (version is None or not candidate.os_version or _windows_runs(version, candidate.os_version))
            and features <= allowed
        )

    return accept


_WINDOWS_LTSC = (20348, 26100)


def _windows_version(text: str) -> tuple[int, int, int] | None:
    """Major, minor and build of a Windows version, or None when it is not fully given."""
    parts = text.split(".")
    limits = (255, 255, 65535)
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts[:3]):
        return None
    major, minor, build = (int(part) for part in parts[:3])
    if any(n > limit for n, limit in zip((major, minor, build), limits, strict=True)):
        return None
    return (major, minor, build) if major or minor else None


def _windows_runs(host: tuple[int, int, int], container: str) -> bool:
    """Whether a Windows host runs a container of that version (stable ABI since build 20348)."""
    other = _windows_version(container) or (0, 0, 0)
    if host[:2] != other[:2]:
        return False
    if host[2] < _WINDOWS_LTSC[0]:
        return host[2] == other[2]
    earlier = [build for build in _WINDOWS_LTSC if host[2] > build]
    oldest = earlier[-1] if earlier else _WINDOWS_LTSC[0]
    return oldest <= other[2] <= host[2]
