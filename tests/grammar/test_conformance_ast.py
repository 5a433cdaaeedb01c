"""Parse trees of the shared conformance cases (reads ../shared; skipped where it is absent)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.grammar import cst
from dockc.grammar.dump import sexpr, tree
from dockc.grammar.parser import parse
from dockc.grammar.source import Source

SHARED = Path(__file__).parents[2].parent / "shared"
CASES = sorted((SHARED / "conformance" / "llb").glob("*/*/Dockerfile"))
GROUPS = sorted({case.parent.parent.name for case in CASES})

if not CASES:
    pytest.skip("no ../shared beside this checkout: conformance cases", allow_module_level=True)


def cases(group: str) -> list[Path]:
    return [case for case in CASES if case.parent.parent.name == group]


@pytest.mark.parametrize("group", GROUPS)
def test_tree_dump(group: str) -> None:
    for case in cases(group):
        expected = case.with_name("expected.ast.txt")
        if expected.exists():
            parsed = parse(Source("Dockerfile", case.read_bytes()))
            assert sexpr(parsed) == expected.read_text().rstrip("\n"), case


@pytest.mark.parametrize("group", GROUPS)
def test_tree_json(group: str) -> None:
    for case in cases(group):
        expected = case.with_name("expected.ast.json")
        if expected.exists():
            parsed = parse(Source("Dockerfile", case.read_bytes()))
            assert tree(parsed) == json.loads(expected.read_text()), case


@pytest.mark.parametrize("group", GROUPS)
def test_lossless(group: str) -> None:
    for case in cases(group):
        data = case.read_bytes()
        assert cst.text(parse(Source("Dockerfile", data)).file).encode("utf-8", "surrogateescape") == data


def test_corpus_is_lossless() -> None:
    files = [path for path in (SHARED / "corpus").rglob("*") if path.is_file()]
    if not files:
        pytest.skip("no ../shared beside this checkout: corpus")
    for path in files:
        data = path.read_bytes()
        parsed = parse(Source(path.name, data))
        assert cst.text(parsed.file).encode("utf-8", "surrogateescape") == data, path
