"""`dockc fmt` on real files: idempotent, and equal in what is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.compiler.equivalence import equivalent
from dockc.compiler.format import format_file
from dockc.grammar.parser import parse
from dockc.grammar.source import Source, decode


def formatted(text: str) -> str:
    return format_file(parse(Source.from_text(text)).file)


@pytest.mark.parametrize("part", range(8))
def test_real_files(shared: Path, part: int) -> None:
    """Reads ../shared/corpus."""
    root = shared / "corpus"
    wrong = []
    for row in json.loads((root / "manifest.json").read_text())[part::8]:
        text = decode((root / row["file"]).read_bytes())
        once = formatted(text)
        if formatted(once) != once:
            wrong.append(f"{row['file']}: not idempotent")
        if not equivalent(text, once):
            wrong.append(f"{row['file']}: not equal")
    assert wrong == []
