"""Parser directives and their quirks."""

from __future__ import annotations

import pytest

from dockc.grammar.directives import Found, check_comment, detect_syntax, parse_directive
from dockc.grammar.parser import parse
from dockc.grammar.source import Source


def source(text: str) -> Source:
    return Source.from_text(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# syntax=docker/dockerfile:1\n", Found("syntax", "docker/dockerfile:1", 1)),
        ("#SYNTAX =  a b \nFROM x", Found("syntax", "a b", 1)),
        ("\ufeff# syntax=a\n", Found("syntax", "a", 1)),
        ("#!/usr/bin/env x\n# check=y\n# syntax=a\n", Found("syntax", "a", 3)),
        ("// syntax=a\n", Found("syntax", "a", 1)),
        ('{"syntax": "a b"}', Found("syntax", "a b", 0, True)),
        ("#!only", None),
        ('{"syntax": 1}', None),
        ("# check=x\n# syntax=a", Found("syntax", "a", 2)),
        ("# other=x\n# syntax=a", None),
        ("\n# syntax=a", None),
        ("# a comment\n# syntax=a", None),
        ("# syntax=\n", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_syntax(text: str, found: Found | None) -> None:
    assert detect_syntax(source(text)) == found


def test_word() -> None:
    assert [f.word for f in (Found("check", "a b", 1), Found("syntax", "a b", 0, True))] == ["a", "a b"]


def test_only_hashes_count_for_other_directives() -> None:
    assert parse_directive("check", source("// check=skip=all")) is None
    assert parse_directive("check", source("# check=skip=all")) == Found("check", "skip=all", 1)


@pytest.mark.parametrize(
    ("comment", "value"), [("check=skip=all", "skip=all"), ("check = a", "a"), ("see check=a", None), ("syntax=x", None)]
)
def test_check_in_a_comment(comment: str, value: str | None) -> None:
    assert check_comment(comment) == value


@pytest.mark.parametrize(
    ("text", "escape", "message"),
    [
        ("# escape=`\nFROM a", "`", None),
        ("# Escape = ` \nFROM a", "`", None),
        ("# escape=\\\nFROM a", "\\", None),
        ("\n# escape=`\nFROM a", "\\", None),
        ("# c\n# escape=`\nFROM a", "\\", None),
        ("# escape= \nFROM a", "\\", "invalid escape token ' ' does not match ` or \\"),
        ("# escape=xy\nFROM a", "\\", "invalid escape token 'xy' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a", "`", "only one escape parser directive can be used"),
    ],
)
def test_escape(text: str, escape: str, message: str | None) -> None:
    parsed = parse(source(text))
    assert parsed.file.escape == escape
    assert (parsed.diagnostics[0].message if parsed.diagnostics else None) == message


def test_directives_are_no_comments() -> None:
    parsed = parse(source("# syntax=x\n# one\n  # two\n#\n# three\nFROM a"))
    (node,) = parsed.file.instructions
    assert node.comments == ("three",)
    (node,) = parse(source("# one\n  # two\n\nFROM a")).file.instructions
    assert node.comments == ("one", "# two")
