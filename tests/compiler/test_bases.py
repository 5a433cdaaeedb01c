"""Base images that are looked up together: one that is wrong does not silence what is said about another."""

from __future__ import annotations

import pytest

from dockc.compiler.compile import compile, read
from dockc.compiler.lint.compiled import check
from dockc.compiler.lint.options import LintOptions
from dockc.compiler.resolve import Answers, ImageAnswer, ImageRequest, Unanswered
from dockc.errors import CompileError
from dockc.grammar.source import Source


def test_warnings_about_other_bases_stay_with_an_error() -> None:
    front = read(Source.from_text("FROM arm\nRUN x\nFROM a[b\nRUN y\n"))
    result = check(front, LintOptions(images={"arm": "arm64"}))
    assert result.error is not None
    assert result.error.message == 'failed to parse stage name "a[b": invalid reference format'
    assert [w.rule for w in result.warnings] == ["InvalidDefaultArgInFrom", "InvalidBaseImagePlatform"]


def test_a_base_that_cannot_be_had_comes_with_what_can_be_done() -> None:
    front = read(Source.from_text("FROM private/app\nRUN x\n"))
    with pytest.raises(Unanswered) as asked:
        compile(front)
    (request,) = (one for one in asked.value.requests if isinstance(one, ImageRequest))
    refused = ImageAnswer(request.ref, error="pull access denied", hint="log in first")
    files = {("dockerfile", "Dockerfile.dockerignore"): None, ("context", ".dockerignore"): None}
    with pytest.raises(CompileError) as error:
        compile(front, answers=Answers(images={request.key: refused}, files=files))
    assert (error.value.message, error.value.hint) == ("private/app: pull access denied", "log in first")
