"""Laws that hold for any text: nothing is lost, nothing crashes, everything has its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockc.compiler.syntax.ast import Instruction, Word
from dockc.compiler.syntax.build_ast import AstResult, build_ast
from dockc.grammar import cst
from dockc.grammar.dump import sexpr, tree
from dockc.grammar.parser import KEYWORDS, parse
from dockc.grammar.render import render_all
from dockc.grammar.source import Source, decode, encode
from tests.golden.collect import Case, cases

FRAGMENTS = [
    " ", "\t", "\n", "\r\n", "\\\n", "\\ \n", "`\n", "# c\n", "#\n", "# escape=`\n", "# syntax=x\n", "<<EOF", "<<-'E F'",
    "\nEOF\n", '"', "'", "[", "]", '["a", "b"]', "[1]", '{"a":[null]}', ",", "=", "a=b", "\\", "--from=x", "--", '--""',
    "--mount=type=cache,target=/x", "CMD", "NONE", "as", "stage", "alpine", "$x", "${x:-y}", "é", "\xa0", "\u3000",
    "\x85", "\udc85", "\udce9", "\x00", "\ufeff", "\v", "\f", "<", "<<", "80/tcp", "5s", "ONBUILD ", "\x1c", "x",
]  # fmt: skip
lines = st.tuples(st.sampled_from([*sorted(KEYWORDS), "form", ""]), st.lists(st.sampled_from(FRAGMENTS), max_size=8))
files = st.lists(lines, max_size=6).map(lambda rows: "".join(f"{k} {''.join(parts)}\n" for k, parts in rows))


def read(data: bytes) -> tuple[cst.File, AstResult]:
    parsed = parse(Source("Dockerfile", data))
    return parsed.file, build_ast(parsed)


def check(data: bytes) -> None:
    file, result = read(data)
    assert encode(cst.text(file)) == data
    check_places(file, result)
    rendered = render_all(result.diagnostics, file.source)
    assert all(char.isprintable() or char == "\n" for char in rendered)
    sexpr(parse(file.source))
    tree(parse(file.source))


def check_places(file: cst.File, result: AstResult) -> None:
    """Items and pieces follow each other without gaps; spans lie in the file; words of simple lines are under them."""
    at = 0
    for piece in cst.pieces(file):
        assert piece.span.start == at
        assert piece.span.end > at
        at = piece.span.end
    assert at == len(file.source.text)
    for before, after in zip(file.items, file.items[1:], strict=False):
        assert before.span.end == after.span.start
    for diagnostic in result.diagnostics:
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= at
    if result.dockerfile is not None:
        for stage in result.dockerfile.stages:
            for instruction in stage.instructions:
                check_instruction(instruction, file.source)


def check_instruction(instruction: Instruction, source: Source) -> None:
    start, end = instruction.span
    assert 0 <= start <= end <= len(source.text)
    name = source.slice(instruction.name_span)
    assert name == instruction.name or re.search(r"[\\`][ \t]*\r?\n", name)
    for word in instruction.args:
        assert isinstance(word, Word)
        assert start <= word.span.start <= word.span.end <= end
    # The reference counts lines with a lone continuation before the keyword, and what it skips after one, as the instruction's.
    first = source.lines_of(instruction.span)[0]
    before = source.text.split("\n")[instruction.lines[0] - 1 : first - 1]
    assert instruction.lines[0] <= first
    assert all(line.strip() in {"", "\\", "`"} or line.lstrip().startswith("#") for line in before), before


@settings(max_examples=300, deadline=None)
@given(files)
def test_nothing_is_lost_of_likely_files(text: str) -> None:
    check(encode(text))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b'FROM a\nRUN --m\xe4\xbd\xa0" b\n')
@example(b"FROM a\nRUN --m\xe4\xbd\xa0\xa0x --\xe4\xbd\xa0=\xff \xe4\xbd b\n")
@example(b"FROM a\nW\\ \nORKDIR /\n")
@example(b"FROM a\n\\\n\n# c\nENV A=1\n")
@example(b"FROM a\nENTRYPOI\xc2\\\n\x85NT x")
@example(b"FROM a\nHEALTHCHECK \xef\xbb\xbf \xef\xbb\xbf\\ \n\x0c[]\x00EOF\n")
def test_nothing_is_lost_of_any_bytes(data: bytes) -> None:
    check(data)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_nothing_is_lost_of_any_text(text: str) -> None:
    check(text.encode("utf-8", "replace"))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(cases("grammar/files")), st.data())
def test_nothing_is_lost_of_broken_files(case: Case, data: st.DataObject) -> None:
    good = case.read("Dockerfile")
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 20)))
    check(good[:start] + encode(data.draw(st.sampled_from(["", *FRAGMENTS]))) + good[end:])


@settings(max_examples=100, deadline=None)
@given(files)
def test_reading_again_is_the_same(text: str) -> None:
    _, first = read(encode(text))
    _, second = read(encode(text))
    assert (first.dockerfile, first.warnings) == (second.dockerfile, second.warnings)
    assert first.diagnostics == second.diagnostics
    assert hash(first.diagnostics) == hash(second.diagnostics)


@given(st.binary())
def test_decoding_is_lossless(data: bytes) -> None:
    assert encode(decode(data)) == data


@pytest.mark.parametrize(("text", "starts"), [("", (0,)), ("a", (0,)), ("a\n", (0,)), ("a\n\nb", (0, 2, 3))])
def test_line_index(text: str, starts: tuple[int, ...]) -> None:
    source = Source.from_text(text)
    assert source.line_starts == starts
    assert source.position(len(text)).line == len(starts)
