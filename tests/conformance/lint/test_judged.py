"""The judged sample of `tools/judged` holds: what was right is still found, what was wrong is not back, and the rates keep to what is promised."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dockc.commands.lint.shellcheck import find

FILE = Path(__file__).resolve().parents[3] / "tools" / "judged" / "sample.py"


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dockc_judged_sample", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_rates_keep_to_what_is_promised(sample: ModuleType) -> None:
    _, pedantic, wrong = sample.weighted()
    assert wrong <= 0.03
    assert pedantic <= 0.10
    for rule, rate in sample.rates().items():
        assert rate.judged >= min(rate.found, sample.MOST), rule
    assert all(one.reason.startswith("gone: ") for one in sample.verdicts() if one.verdict == "false")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_was_judged_has_not_changed(sample: ModuleType, shared: Path) -> None:
    if find() is None:
        pytest.skip("no shellcheck")
    found = sample.findings(shared / "corpus")
    assert sample.faults(found) == []
    judged = {(one.file, one.line, one.rule) for one in sample.verdicts()}
    errors = [f for f in found if f.level == "error"]
    assert all((f.file, f.line, f.rule) in judged for f in errors), "every error is judged"
    counted = sample.counts()
    fired = {rule: sum(f.rule == rule for f in found) for rule in {f.rule for f in found}}
    assert counted == fired, "`python tools/judged/sample.py draw` counts anew"
