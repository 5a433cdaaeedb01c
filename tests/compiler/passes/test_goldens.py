"""Every pass on every `tests/golden/compiler/passes/<pass>/<case>/in.ir`; the result is `out.ir` beside it."""

from __future__ import annotations

import pytest

from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.passes import PASSES, pipeline
from dockc.compiler.passes.pipeline import PassContext, PassPipeline
from tests.golden.collect import Case, Golden, cases

CASES = cases("compiler/passes")


def read(case: Case) -> tuple[str, PassPipeline, PassContext]:
    """The module's text, the passes that its first comment names, and its pins."""
    text = case.read("in.ir").decode()
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    passes = next(c.removeprefix("passes: ") for c in comments if c.startswith("passes: "))
    pins = dict(c.removeprefix("pin: ").split() for c in comments if c.startswith("pin: "))
    return text, pipeline(passes=passes), PassContext(pins=pins)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pass(case: Case, golden: Golden) -> None:
    text, passes, context = read(case)
    module = parse_module(text)
    verify(module)
    result = passes.run(module, context)
    verify(result)
    printed = print_module(result)
    assert printed == golden(case, "out.ir")
    assert print_module(passes.run(result, context)) == printed, "the pass is not idempotent"
    assert print_module(module) == print_module(parse_module(text)), "the pass changed its input"
    assert bool(context.trace) == (printed != print_module(module)) or case.name.startswith("prune/")


def test_every_pass_has_a_case() -> None:
    assert {case.name.partition("/")[0] for case in CASES} == set(PASSES)
