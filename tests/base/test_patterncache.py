"""Patterns kept from run to run are the patterns that `re` makes, and nothing depends on their being kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dockc.base import pattern as patterns
from dockc.base import patterncache
from dockc.base.patterncache import Patterns, code_of, restored

TEXTS = [
    ("a", 0),
    (r"(?P<one>[a-z]+)|(?P<two>\d{2,3}?)(?:x)*+", re.ASCII),
    (r"(?i)straße|[\u0100-\uffff]+\b", 0),
    ("[\ud800-\udfff\U0001f600]", 0),
    (r"(a)(?s:.*)(?<!a)(?=b)\1?\Z", re.MULTILINE),
    ("", re.IGNORECASE),
]


@pytest.mark.parametrize(("text", "flags"), TEXTS)
def test_a_pattern_comes_back_as_it_was(text: str, flags: int, tmp_path: Path) -> None:
    code = code_of(text, int(flags))
    assert code is not None
    found, wanted = restored(text, code), re.compile(text, flags)
    assert found == wanted
    assert (found.pattern, found.flags, found.groups, found.groupindex) == (
        wanted.pattern,
        wanted.flags,
        wanted.groups,
        wanted.groupindex,
    )
    first = Patterns(str(tmp_path / "cache"))
    assert first.compile(text, flags) == wanted
    first.save()
    second = Patterns(str(tmp_path / "cache"))
    assert second.compile(text, flags) == wanted
    assert not second._more


@pytest.mark.parametrize("damage", [b"", b"x" * 99, None])
def test_a_damaged_file_is_no_file(tmp_path: Path, damage: bytes | None) -> None:
    first = Patterns(str(tmp_path / "cache"))
    first.compile("(a)")
    first.save()
    (path,) = (tmp_path / "cache").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    second = Patterns(str(tmp_path / "cache"))
    assert second.compile("(a)") == re.compile("(a)")
    assert second._more


def test_code_that_the_engine_refuses_is_made_anew(tmp_path: Path) -> None:
    patterns = Patterns(str(tmp_path))
    patterns._known = {("(a)", 0): (0, b"\xff\xff\xff\xff", 1, {}), ("b", 0): (0, b"xyz", 0, {})}
    assert patterns.compile("(a)") == re.compile("(a)")
    assert patterns.compile("b") == re.compile("b")


def test_a_wrong_pattern_is_the_error_of_re(tmp_path: Path) -> None:
    with pytest.raises(re.error):
        Patterns(str(tmp_path)).compile("(")


def test_no_place_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "compiler", patterns.compiler)
    assert patterncache.install({}) is None
    (tmp_path / "file").touch()
    found = patterncache.install({"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert found is not None
    assert patterns.pattern("a+").fullmatch("aa")
    found.save()
    assert (tmp_path / "file").read_bytes() == b""
