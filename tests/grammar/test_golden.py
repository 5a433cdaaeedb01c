"""Golden files of the parser: what each place of a file is, and what is said about its errors."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from dockc.compiler.syntax.build_ast import build_ast
from dockc.grammar import cst
from dockc.grammar.dump import sexpr
from dockc.grammar.parser import parse
from dockc.grammar.render import render_all
from dockc.grammar.source import Source
from tests.grammar.goldens import CASES, FOLDER, CstFile, DiagnosticsFile, TreeFile


def source(case: str) -> Source:
    return Source("Dockerfile", (FOLDER / case / "Dockerfile").read_bytes())


@pytest.mark.parametrize("case", CASES)
def test_pieces(case: str, snapshot: SnapshotAssertion) -> None:
    parsed = parse(source(case))
    lines = [f"{piece.span.start:>4} {piece.kind:<14} {piece.text!a}" for piece in cst.pieces(parsed.file)]
    assert "\n".join(lines) + "\n" == snapshot(extension_class=CstFile)


@pytest.mark.parametrize("case", CASES)
def test_tree(case: str, snapshot: SnapshotAssertion) -> None:
    lines = [ascii(line)[1:-1] for line in sexpr(parse(source(case))).splitlines()]
    assert "\n".join(lines) + "\n" == snapshot(extension_class=TreeFile)


@pytest.mark.parametrize("case", CASES)
def test_diagnostics(case: str, snapshot: SnapshotAssertion) -> None:
    text = source(case)
    result = build_ast(parse(text))
    rendered = render_all(result.diagnostics, text) or "none\n"
    assert rendered == snapshot(extension_class=DiagnosticsFile)
    assert (result.error is None) == (not result.diagnostics)
