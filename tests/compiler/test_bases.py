"""Base images that are looked up together: one that is wrong does not silence what is said about another."""

from __future__ import annotations

from dockc.compiler.compile import read
from dockc.compiler.lint.compiled import check
from dockc.compiler.lint.options import LintOptions
from dockc.grammar.source import Source


def test_warnings_about_other_bases_stay_with_an_error() -> None:
    front = read(Source.from_text("FROM arm\nRUN x\nFROM a[b\nRUN y\n"))
    result = check(front, LintOptions(images={"arm": "arm64"}))
    assert result.error is not None
    assert result.error.message == 'failed to parse stage name "a[b": invalid reference format'
    assert [w.rule for w in result.warnings] == ["InvalidDefaultArgInFrom", "InvalidBaseImagePlatform"]
