"""Fixes and `fmt` over all files of the corpus: nothing is refused, nothing changes twice, no comment is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dockc.commands.fmt import format_text
from dockc.errors import DockcError
from dockc.grammar.source import Source
from dockc.linter.fixes import fix_source
from dockc.linter.options import LintOptions


def dockerfiles(corpus: Path) -> list[Path]:
    return sorted(p for d in corpus.iterdir() if d.is_dir() and not d.name.startswith("expected") for p in d.iterdir() if p.is_file())


def comments(text: str) -> Counter[str]:
    """Comment lines without the space that `fmt` puts behind the sign."""
    lines = (line.strip().lstrip("\ufeff") for line in text.splitlines())
    return Counter(line[1:].strip() for line in lines if line.startswith("#"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_safe_fixes_keep_what_is_built_and_every_comment(shared: Path) -> None:
    options = LintOptions(shellcheck=False)
    fixed = 0
    for path in dockerfiles(shared / "corpus"):
        source = Source(path.name, path.read_bytes())
        result = fix_source(source, options)
        assert not result.refused, path
        fixed += bool(result.applied)
        lost = comments(source.text) - comments(result.text)
        about = {f.code for f in result.applied} & {"DK0001", "DK0002"}  # rules about comments themselves
        assert not lost or about, (path, lost)
        assert all("ignore" in comment for comment in lost), (path, lost)
        assert fix_source(Source.from_text(result.text), options).text == result.text, path
    assert fixed > 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fmt_keeps_what_is_built_and_every_comment(shared: Path) -> None:
    formatted = 0
    for path in dockerfiles(shared / "corpus"):
        text = Source(path.name, path.read_bytes()).text
        try:
            after = format_text(text, path.name)  # which proves that the same comes of it
        except DockcError:
            continue  # it does not parse
        formatted += after != text
        assert comments(text) == comments(after), path
        assert format_text(after, path.name) == after, path
        assert after.count("\r\n") in {0, after.count("\n")} or "<<" in text, path
    assert formatted > 100
