"""Every rule on its own page's examples: it fires on the bad one, not on the good one, and its fix makes the fixed one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.base.record import replace
from dockc.compiler.compile import read
from dockc.grammar.diagnostic import Severity
from dockc.grammar.source import Source
from dockc.linter import runner, table
from dockc.linter.context import Context, Settings
from dockc.linter.docs import page
from dockc.linter.fixes import CHANGES, fix_source, proven
from dockc.linter.formats.text import render
from dockc.linter.options import LintOptions
from dockc.linter.registry import all_rules, codes, get_rule
from dockc.linter.rule import Rule
from dockc.linter.runner import lint_source
from tests.golden.collect import Case, Golden, cases

RULES = "linter/rules"
SETTINGS = {
    "DL3026": Settings(trusted_registries=("quay.io",)),
    "DL3049": Settings(label_schema={"l": "text"}),
    "DL3050": Settings(label_schema={"l": "text"}, strict_labels=True),
    "DL3051": Settings(label_schema={"l": "text"}),
    "DL3052": Settings(label_schema={"l": "url"}),
    "DL3053": Settings(label_schema={"l": "rfc3339"}),
    "DL3054": Settings(label_schema={"l": "spdx"}),
    "DL3055": Settings(label_schema={"l": "hash"}),
    "DL3056": Settings(label_schema={"l": "semver"}),
    "DL3058": Settings(label_schema={"l": "email"}),
}


def options(code: str) -> LintOptions:
    """Only this rule, switched on, knowing what its example is about."""
    return LintOptions(
        select=() if code == "DK0001" else (code,),
        severities={code: get_rule(code).severity or Severity.WARNING},
        settings=SETTINGS.get(code, Settings()),
        ignore_file=b"secret.txt\n" if code == "CopyIgnoredFile" else None,
        images={"arm64v8/alpine": "arm64"} if code == "InvalidBaseImagePlatform" else {},
        shellcheck=False,
    )


def fires(code: str, text: str) -> bool:
    rule = get_rule(code)
    if rule.check is Rule.check:
        return any(f.code == code for f in lint_source(Source.from_text(text), options(code)).findings)
    return any(True for _ in rule().check(Context(read(Source.from_text(text)), SETTINGS.get(code))))


@pytest.mark.parametrize("code", codes())
def test_fires_on_its_bad_example(code: str) -> None:
    assert fires(code, get_rule(code).bad)


@pytest.mark.parametrize("code", codes())
def test_is_silent_on_its_good_example(code: str) -> None:
    assert not fires(code, get_rule(code).good)


@pytest.mark.parametrize("code", [c for c in codes() if get_rule(c).fixed])
def test_fix_makes_its_fixed_example(code: str) -> None:
    rule = get_rule(code)
    result = fix_source(Source.from_text(rule.bad), options(code), unsafe=rule.fixable == "unsafe")
    assert result.text == rule.fixed
    assert not result.refused
    assert {f.code for f in result.applied} == {code}


@pytest.mark.parametrize("code", [c for c in codes() if get_rule(c).fixable == "safe"])
def test_safe_fix_is_proven_and_unsafe_one_is_not_applied(code: str) -> None:
    rule = get_rule(code)
    before, after = read(Source.from_text(rule.bad)), read(Source.from_text(rule.fixed))
    assert proven(before, after, {rule.changes})


@pytest.mark.parametrize("code", [c for c in codes() if get_rule(c).fixable == "unsafe"])
def test_unsafe_fix_needs_consent(code: str) -> None:
    rule = get_rule(code)
    assert fix_source(Source.from_text(rule.bad), options(code)).text == rule.bad


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.code)
def test_page_says_what_it_must(rule: type[Rule]) -> None:
    text = page(rule)
    assert rule.__doc__
    assert "## Why" in rule.__doc__
    assert not rule.summary.endswith(".")
    assert rule.changes in {"", *CHANGES}
    assert bool(rule.fixable) == bool(rule.fixed)
    assert ("## Fix" in rule.__doc__) == bool(rule.fixable)
    assert f"# {rule.code}: {rule.name}\n" in text


def test_names_and_codes_are_unique() -> None:
    assert len({rule.name for rule in all_rules()}) == len(codes()) == len(set(codes()))


def _golden(code: str) -> str:
    """The three sides of a rule: what it reports, what becomes of that, and what it does not report."""
    rule = get_rule(code)
    chosen = options(code)
    bad, good = Source.from_text(rule.bad), Source.from_text(rule.good)
    text = render([lint_source(bad, chosen)])
    if not text:  # its twin has said it
        text = "(in hadolint's profile)\n" + render([lint_source(bad, replace(chosen, profile="hadolint"))])
    fixed = fix_source(bad, chosen, unsafe=True)
    text += f"\n--- after its fix\n{fixed.text}" if fixed.applied else ""
    left = [f for f in lint_source(good, chosen).findings if f.code == code]
    return f"{text}\n--- not reported{'!' * len(left)}\n{good.text}"


@pytest.mark.parametrize("code", codes())
def test_report_of_the_bad_example(code: str, golden: Golden) -> None:
    """Firing, fix and not firing, in a file a rule."""
    assert _golden(code) == golden(Case(RULES, code), "report.txt")


def test_every_rule_has_its_golden_file_and_no_file_is_left_over() -> None:
    assert {case.name for case in cases(RULES)} == set(codes())
    for rule in all_rules():
        text = Case(RULES, rule.code).read("report.txt").decode()
        assert f"[{rule.code}]" in text, rule.code
        assert text.endswith(f"\n--- not reported\n{rule.good}"), rule.code
        assert ("\n--- after its fix\n" in text) == bool(rule.fixable), rule.code


def test_table_knows_which_rules_need_not_be_loaded() -> None:
    rules = [get_rule(code) for code in table.RULES]
    assert {rule.code for rule in rules if rule.check is Rule.check} == table.CHECKS
    assert {rule.code for rule in rules if rule.severity is None} - table.CHECKS == table.OFF
    assert {code: get_rule(code).code for code in table.RULES} == {code: code for code in table.RULES}


def _findings(text: str | bytes, monkeypatch: pytest.MonkeyPatch, *, needs: bool) -> list[tuple[str, int]]:
    with monkeypatch.context() as patch:
        if not needs:
            patch.setattr(runner, "NEEDS", {})
        source = Source("Dockerfile", text) if isinstance(text, bytes) else Source.from_text(text)
        return [(f.code, f.line) for f in lint_source(source, LintOptions(shellcheck=False)).findings]


def test_rules_that_are_not_loaded_would_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(table.NEEDS) <= set(table.RULES)
    for rule in all_rules():
        for text in (rule.bad, rule.good):
            assert _findings(text, monkeypatch, needs=True) == _findings(text, monkeypatch, needs=False)


@pytest.mark.slow
def test_rules_that_are_not_loaded_would_find_nothing_in_real_files(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads ../shared/corpus."""
    root = shared / "corpus"
    for row in json.loads((root / "manifest.json").read_text())[::4]:
        data = (root / row["file"]).read_bytes()
        assert _findings(data, monkeypatch, needs=True) == _findings(data, monkeypatch, needs=False), row["file"]
