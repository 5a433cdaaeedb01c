"""Rules of collection: what files write, what it means on a disk of a size, and what filters are."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from dockc.base.record import replace
from dockc.errors import UsageError
from dockc.golang import filters
from dockc.runtime.refs.policy import Disk, Policy, Rule, Space, Written, parse_duration, parse_space, read_policy

GIB, GB, HOUR = 1 << 30, 10**9, 3600 * 10**9


def policy(text: str) -> Policy:
    return read_policy(tomllib.loads(text), "worker.oci")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("512", Space(512)), ("512MB", Space(512 << 20)), ("1.5GiB", Space(3 << 29)), ("2 g", Space(2 * GIB)), ("10kb", Space(10240)),
        ("1e3", Space(1000)), ("7b", Space(7)), ("1T", Space(1 << 40)), ("0", Space()), ("20%", Space(percent=20)), ("150%", Space(percent=150)),
    ],
)  # fmt: skip
def test_spaces(text: str, meant: Space) -> None:
    assert parse_space(text) == meant


@pytest.mark.parametrize(
    "text", ["", "much", "-1", "10XB", "10 MBB", "10  MB", "1.5.5", "-5%", "5.5%", "%", "1e400", "9e30", "10bb", "10ib"]
)
def test_spaces_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="invalid disk space"):
        parse_space(text)


def test_durations() -> None:
    assert parse_duration("48h") == parse_duration("172800") == 48 * HOUR
    assert parse_duration("1h30m") == 90 * 60 * 10**9
    for text in ("", "soon", "7d", "-1h", "-5", "1.5"):
        with pytest.raises(UsageError, match="invalid duration"):
            parse_duration(text)


@pytest.mark.parametrize(
    ("total", "reserved", "most", "free"),
    [  # what BuildKit's own functions give for these disks
        (8 * GIB, 1 * GB, 7 * GB, 2 * GB),
        (20 * GIB, 3 * GB, 17 * GB, 5 * GB),
        (100 * GIB, 10 * GB, 81 * GB, 21 * GB),
        (123 * GIB, 10 * GB, 99 * GB, 25 * GB),
        (125 * GIB, 10 * GB, 100 * GB, 26 * GB),
        (500 * GIB, 10 * GB, 100 * GB, 101 * GB),
        (4000 * GIB, 10 * GB, 100 * GB, 801 * GB),
        (0, 2 * GB, 2 * GB, 2 * GB),
    ],
)
def test_defaults_by_the_size_of_the_disk(total: int, reserved: int, most: int, free: int) -> None:
    first, *others = Policy().on(Disk(total, 0))
    assert first == Rule(
        filters=("type==source.local", "type==exec.cachemount", "type==source.git.checkout"),
        keep_duration=48 * HOUR, max_used_space=512_000_000,
    )  # fmt: skip
    capped = Rule(reserved_space=reserved, max_used_space=most, min_free_space=free)
    assert others == [replace(capped, keep_duration=60 * 24 * HOUR), capped, replace(capped, all=True)]


def test_limits_of_the_default_rules() -> None:
    rules = policy('reservedSpace = "1GB"\nmaxUsedSpace = 2000000000').on(Disk(100 * GIB, 0))
    assert [(one.reserved_space, one.max_used_space, one.min_free_space) for one in rules[1:]] == [(GIB, 2 * GB, 0)] * 3
    older = policy('gckeepstorage = "10%"').on(Disk(100 * GIB, 0))
    assert [(one.reserved_space, one.max_used_space, one.min_free_space) for one in older[1:]] == [(11 * GB, 0, 0)] * 3
    assert policy('gckeepstorage = 5\nminFreeSpace = "3GB"').reserved_space == Space()
    assert policy("gc = false").on(Disk(GIB, 0)) == ()


def test_rules_of_a_file() -> None:
    found = policy(
        '[[gcpolicy]]\nkeepBytes = "512MB"\nkeepDuration = "48h"\nfilters = ["type==source.local", "type==exec.cachemount"]\n'
        '[[gcpolicy]]\nall = true\nkeepBytes = 7\nreservedSpace = "1%"\nmaxUsedSpace = "50%"\nminFreeSpace = 12\nkeepDuration = 60\n'
    )
    assert found.rules[0] == Written(
        filters=("type==source.local", "type==exec.cachemount"),
        keep_duration=48 * HOUR,
        reserved_space=Space(512 << 20),
    )
    assert found.on(Disk(100 * GIB, 0))[1] == Rule(
        all=True, keep_duration=60 * 10**9, reserved_space=2 * GB, max_used_space=51 * GB, min_free_space=12
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gc = 1", "worker.oci.gc is neither true nor false"),
        ("maxUsedSpace = true", "worker.oci.maxUsedSpace is neither a number nor a text"),
        ('minFreeSpace = "some"', "worker.oci.minFreeSpace: invalid disk space: some"),
        ("gcpolicy = 1", "worker.oci.gcpolicy is not a list of tables"),
        ("[[gcpolicy]]\nkeepByte = 1", r"unknown key worker.oci.gcpolicy\[1\].keepByte"),
        ("[[gcpolicy]]\n[[gcpolicy]]\nfilters = ['typ==x']", r"worker.oci.gcpolicy\[2\]: unknown filter 'typ'"),
        ("[[gcpolicy]]\nfilters = 'x'", "filters is not a list of texts"),
        ("[[gcpolicy]]\nkeepDuration = '7d'", r"gcpolicy\[1\]: invalid duration: 7d"),
        ("[[gcpolicy]]\nall = 'yes'", "all is neither true nor false"),
    ],
)
def test_files_that_cannot_be_understood(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        policy(text)


@pytest.mark.parametrize(
    ("rule", "used", "free", "keeps"),
    [
        (Rule(), 100, 0, None),
        (Rule(keep_duration=5), 100, 0, None),
        (Rule(max_used_space=30), 100, 0, 30),
        (Rule(reserved_space=40), 100, 0, 40),
        (Rule(max_used_space=30, reserved_space=40), 100, 0, 40),
        (Rule(min_free_space=50), 100, 20, 70),
        (Rule(min_free_space=50), 100, 60, 100),
        (Rule(min_free_space=50, max_used_space=80), 100, 20, 70),
        (Rule(min_free_space=50, max_used_space=80), 100, 60, 80),
        (Rule(min_free_space=50, max_used_space=80, reserved_space=75), 100, 20, 75),
        (Rule(min_free_space=500), 100, 20, 0),
    ],
)
def test_how_far_a_rule_goes(rule: Rule, used: int, free: int, keeps: int | None) -> None:
    assert rule.keeps(used, free) == keeps


THING: dict[str, str] = {"id": "abc", "type": "regular", "labels.a/b": "x,y", "there": ""}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True), ("id==abc", True), ("id==ab", False), ("id!=ab", True), ("id~=^a", True), ("id~=^b", False), ("nothing", False),
        ("there", True), ("nothing!=x", True), ("nothing==", None), ("id==abc,type==regular", True), ("id==abc,type==other", False),
        ("id == abc", True), ("id==abc ,type==regular", None), ('labels."a/b"=="x,y"', True), ('labels."a/b"~=/^x,y$/', True),
        ("id~=|a|", True), ("id==/abc/", None), ('id=="a\\x62c"', True), ('id=="\\u0061bc"', True), ('id=="\\141bc"', True), ('id=="a', None),
        ('id=="\\q"', None), ("id=abc", None), ("id===abc", None), ("=abc", None), (",", None), ("id~=(", None), ("id==.x", None),
        ("a" * 5000, None), ("id==a\0b", None),
    ],
)  # fmt: skip
def test_the_grammar_of_filters(text: str, fits: bool | None) -> None:
    def lookup(path: tuple[str, ...]) -> Any:
        return THING.get(".".join(path))

    if fits is None:
        with pytest.raises(filters.FilterError):
            filters.parse(text)
    else:
        assert filters.match((filters.parse(text),), lookup) is fits


def test_several_filters_are_alternatives() -> None:
    both = (filters.parse("id==x"), filters.parse("type==regular"))
    assert filters.match(both, lambda path: THING.get(".".join(path)))
    assert not filters.match(both[:1], lambda path: THING.get(".".join(path)))
    assert filters.match((), lambda path: None)
