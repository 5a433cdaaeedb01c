"""The .dockerignore file against recorded answers of the reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.grammar import ignore
from dockc.grammar.ignore import MAX_LINE, IgnoreFileError
from tests.golden.collect import recorded

RECORDED = recorded("grammar/recorded", "patterns")


@pytest.mark.parametrize("case", RECORDED["ignore"], ids=lambda case: ascii(case[0])[:40])
def test_parse_as_recorded(case: tuple[str, list[str]]) -> None:
    data, expected = case
    patterns = ignore.parse(data.encode("latin1"))
    assert [p.encode("utf-8", "surrogateescape").decode("latin1") for p in patterns] == expected


def test_a_real_file() -> None:
    data = b"""\xef\xbb\xbf# everything but the sources
/*
!src/
!/package.json
src/**/*.test.js
**/.DS_Store
"""
    assert ignore.parse(data) == ["*", "!src", "!package.json", "src/**/*.test.js", "**/.DS_Store"]
    matcher = ignore.matcher(data)
    ignored = {
        path: matcher.matches(path)
        for path in ("README.md", "src", "src/a.js", "src/x/a.test.js", "src/.DS_Store", "package.json", ".git/config")
    }
    assert ignored == {
        "README.md": True,
        "src": False,
        "src/a.js": False,
        "src/x/a.test.js": True,
        "src/.DS_Store": True,
        "package.json": False,
        ".git/config": True,
    }


def test_too_long_a_line() -> None:
    assert ignore.parse(b"a" * (MAX_LINE - 1) + b"\n") == ["a" * (MAX_LINE - 1)]
    with pytest.raises(IgnoreFileError, match=r"^bufio\.Scanner: token too long$"):
        ignore.parse(b"a\n" + b"b" * MAX_LINE)


@given(st.binary(max_size=80))
def test_any_bytes_parse(data: bytes) -> None:
    patterns = ignore.parse(data)
    assert len(patterns) <= data.count(b"\n") + 1
    assert all("\n" not in pattern for pattern in patterns)
