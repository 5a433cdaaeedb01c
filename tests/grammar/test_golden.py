"""Golden files of the parser: what each place of a file is, and what is said about its errors."""

from __future__ import annotations

import pytest

from dockc.compiler.syntax.build_ast import build_ast
from dockc.grammar import cst
from dockc.grammar.dump import sexpr
from dockc.grammar.parser import parse
from dockc.grammar.render import render_all
from dockc.grammar.source import Source
from tests.golden.collect import Case, Golden, cases

CASES = cases("grammar/files")


def source(case: Case) -> Source:
    return Source("Dockerfile", case.read("Dockerfile"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pieces(case: Case, golden: Golden) -> None:
    parsed = parse(source(case))
    lines = [f"{piece.span.start:>4} {piece.kind:<14} {piece.text!a}" for piece in cst.pieces(parsed.file)]
    assert "\n".join(lines) + "\n" == golden(case, "cst.txt")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tree(case: Case, golden: Golden) -> None:
    lines = [ascii(line)[1:-1] for line in sexpr(parse(source(case))).splitlines()]
    assert "\n".join(lines) + "\n" == golden(case, "tree.txt")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_diagnostics(case: Case, golden: Golden) -> None:
    text = source(case)
    result = build_ast(parse(text))
    rendered = render_all(result.diagnostics, text) or "none\n"
    assert rendered == golden(case, "diagnostics.txt")
    assert (result.error is None) == (not result.diagnostics)
