from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.oci import platform
from dockc.oci.platform import InvalidPlatform, Platform

OS_RE = r"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$"

OS_RULE = f'OSAndVersion specifier component must match "{OS_RE}": invalid argument'
COMPONENT_RULE = 'platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/amd64/v1", Platform("linux", "amd64")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("Linux/AARCH64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("linux/arm64/9", Platform("linux", "arm64", "v9")),
        ("linux/arm", Platform("linux", "arm")),
        ("linux/arm/7", Platform("linux", "arm", "v7")),
        ("linux/armhf", Platform("linux", "arm")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("arm64", Platform("linux", "arm64")),
        ("i386", Platform("linux", "386")),
        ("armhf", Platform("linux", "arm")),
        ("macos/arm64", Platform("darwin", "arm64")),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", "", "10.0.17763")),
        ("windows(10.0.17763+win32k)/amd64", Platform("windows", "amd64", "", "10.0.17763", ("win32k",))),
        ("linux(+erofs+gpu%2Bx)/amd64", Platform("linux", "amd64", "", "", ("erofs", "gpu+x"))),
        ("foo/bar/baz", Platform("foo", "bar", "baz")),
    ],
)
def test_parse(text: str, expected: Platform) -> None:
    assert platform.parse(text) == expected


def test_one_word_takes_the_rest_from_this_machine() -> None:
    assert platform.parse("windows").architecture == platform.default().architecture
    assert platform.parse("amd64").os == "linux"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unknown", '"unknown": unknown operating system or architecture: invalid argument'),
        ("linux/*", '"linux/*": wildcards not yet supported: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        (
            "",
            f'"" is an invalid OS component of "": {OS_RULE}',
        ),
        (
            "linux/amd 64",
            f'"amd 64" is an invalid component of "linux/amd 64": {COMPONENT_RULE}',
        ),
        (
            "windows(%zz)/amd64",
            '"windows(%zz)/amd64" has an invalid OS version "%zz": invalid URL escape "%zz"',
        ),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        platform.parse(text)
    assert caught.value.message == message


def test_format() -> None:
    value = Platform("windows", "amd64", "", "10.0+1", ("win32k", "a/b"))
    assert platform.format_short(value) == "windows/amd64"
    assert platform.format_all(value) == "windows(10.0%2B1+a%2Fb+win32k)/amd64"
    assert platform.format_all(Platform("", "amd64")) == "unknown"
    assert str(Platform("linux", "arm", "v7")) == "linux/arm/v7"


@given(
    st.sampled_from(["linux", "windows", "freebsd"]),
    st.sampled_from(["amd64", "arm64", "arm", "riscv64"]),
    st.sampled_from(["", "v6", "v7", "v8", "v2"]),
    st.text(alphabet="0123456789.+()%/x", max_size=8),
    st.lists(st.text(alphabet="ab+()%/", min_size=1, max_size=4), max_size=3),
)
def test_specifier_round_trip(os: str, arch: str, variant: str, version: str, features: list[str]) -> None:
    value = Platform(os, arch, variant, version, tuple(sorted(set(features))))
    assert platform.normalize(platform.parse(str(value))) == platform.normalize(value)


def best(wanted: str, *offered: str) -> list[str]:
    matcher = platform.only(platform.parse(wanted))
    values = [platform.parse(text) for text in offered]
    return [str(p) for p in matcher.sort((v for v in values if matcher.match(v)), lambda p: p)]


def test_compatible_platforms_in_order() -> None:
    assert best("linux/arm/v7", "linux/arm/v5", "linux/arm/v8", "linux/arm/v6", "linux/arm/v7") == [
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/arm/v5",
    ]
    assert best("linux/amd64", "linux/386", "linux/amd64/v2", "linux/amd64") == ["linux/amd64", "linux/386"]
    assert best("linux/amd64/v3", "linux/amd64", "linux/amd64/v2", "linux/amd64/v4") == [
        "linux/amd64/v2",
        "linux/amd64",
    ]
    assert best("linux/arm64", "linux/arm/v7", "linux/arm64/v8", "linux/arm64/v8.1") == [
        "linux/arm64/v8",
        "linux/arm/v7",
    ]
    assert best("linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8.6", "linux/arm64/v9") == [
        "linux/arm64/v9",
        "linux/arm64/v8.5",
    ]


def test_strict_and_features() -> None:
    strict = platform.only_strict(platform.parse("linux/arm64"))
    assert strict.match(Platform("linux", "arm64", "v8"))
    assert not strict.match(Platform("linux", "arm", "v7"))
    rich = platform.only_strict(Platform("linux", "amd64", os_features=("a", "b")))
    plain, one = Platform("linux", "amd64"), Platform("linux", "amd64", os_features=("a",))
    assert rich.match(plain) and rich.match(one)
    assert rich.less(one, plain)
    assert not rich.match(Platform("linux", "amd64", os_features=("c",)))


def test_windows_versions() -> None:
    def runs(host: str, image: str) -> bool:
        return platform.only(Platform("windows", "amd64", "", host)).match(
            Platform("windows", "amd64", "", image, ("win32k",))
        )

    assert runs("10.0.17763", "10.0.17763.1") and not runs("10.0.17763", "10.0.17764")
    assert runs("10.0.20348", "10.0.20348.5") and not runs("10.0.20348", "10.0.17763")
    assert runs("10.0.26100", "10.0.20348") and runs("10.0.26101", "10.0.26100")
    assert not runs("10.0.26101", "10.0.20348")
    assert runs("", "10.0.1")


@given(st.text(max_size=40))
def test_parsing_never_crashes(text: str) -> None:
    try:
        platform.parse(text)
    except InvalidPlatform:
        pass


def test_huge_variants_stay_small() -> None:
    assert len(platform.only(Platform("linux", "arm", "v999999999")).platforms) == 1
