"""Suppressing comments, in hadolint's way and in dockc's own; one finding where rules overlap."""

from __future__ import annotations

import pytest

from dockc.grammar.source import Source
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source


def codes(text: str, profile: str = "dockc", **options: object) -> list[tuple[int, str]]:
    options = {"extend": frozenset(["strict"]) if profile == "dockc" and "select" not in options else frozenset(), **options}
    report = lint_source(Source("Dockerfile", text.encode()), LintOptions(profile=profile, **options))  # type: ignore[arg-type]
    return [(f.line, f.code) for f in report.findings]


CD = "RUN true && \\\n  cd /x"


def has(text: str, code: str, profile: str = "dockc") -> bool:
    return code in [found for _, found in codes(text, profile)]


@pytest.mark.parametrize("profile", ["dockc", "hadolint"])
@pytest.mark.parametrize(
    "comment",
    [
        "# hadolint ignore=DL3003",
        "#hadolint  ignore = DL3006 , DL3003  # because",
        "# hadolint global ignore=DL3003",
    ],
)
def test_hadolints_comments_suppress_in_both_profiles(comment: str, profile: str) -> None:
    assert not has(f"FROM a:1\n{comment}\n{CD}\n", "DL3003", profile)


@pytest.mark.parametrize(
    "comment", ["# hadolint ignore=DL3003 because", "# hadolint ignore=dl3003", "# hadolint ignore:DL3003"]
)
def test_what_is_no_pragma_suppresses_nothing(comment: str) -> None:
    assert has(f"FROM a:1\n{comment}\n{CD}\n", "DL3003", "hadolint")


def test_only_the_line_below_counts_for_hadolint_and_the_next_instruction_for_dockc() -> None:
    for between in ("\n", "# another comment\n"):
        text = f"FROM a:1\n# hadolint ignore=DL3003\n{between}{CD}\n"
        assert has(text, "DL3003", "hadolint")
        assert not has(text, "DL3003")


def test_own_pragma_covers_all_lines_of_the_next_instruction() -> None:
    text = f"FROM a:1\n# dockc ignore=DL3003 the tool wants it\n{CD}\n{CD}\n"
    assert [line for line, code in codes(text) if code == "DL3003"] == [6]


def test_stage_pragmas_end_with_the_stage() -> None:
    text = f"# hadolint stage ignore=DL3003\nFROM a:1\n{CD}\nFROM b:1\n{CD}\n"
    assert [line for line, code in codes(text, "hadolint") if code == "DL3003"] == [6]
    assert [line for line, code in codes(text) if code == "DL3003"] == [7]


def test_pragmas_can_be_switched_off() -> None:
    text = f"FROM a:1\n# hadolint ignore=DL3003\n{CD}\n"
    assert (3, "DL3003") in codes(text, "hadolint", pragmas=False)


def test_check_comments_steer_buildkits_checks_in_the_own_profile() -> None:
    assert (2, "MaintainerDeprecated") in codes("FROM a:1\nMAINTAINER x\n")
    assert "MaintainerDeprecated" not in dict(map(reversed, codes("# check=skip=all\nFROM a:1\nMAINTAINER x\n")))  # type: ignore[arg-type]
    assert not has("FROM a:1\n# check=skip=MaintainerDeprecated\nMAINTAINER x\n", "MaintainerDeprecated")


def test_hadolints_code_suppresses_the_check_that_says_the_same() -> None:
    assert not has("FROM a:1\n# hadolint ignore=DL4000\nMAINTAINER x\n", "MaintainerDeprecated")


def test_an_overlap_is_reported_once() -> None:
    found = codes("FROM a:1\nMAINTAINER x\nCMD x\n", extend=frozenset(["DL4000", "DL3025"]))
    assert (2, "MaintainerDeprecated") in found
    assert (3, "JSONArgsRecommended") in found
    assert not {(2, "DL4000"), (3, "DL3025")} & set(found)


def test_unused_suppressions_are_reported_in_the_own_profile_only() -> None:
    text = "FROM a:1\n# hadolint ignore=DL3003,DL3004\nRUN cd /x\n"
    assert (2, "DK0001") in codes(text)
    assert not has(text, "DK0001", "hadolint")
    assert not has("FROM a:1\n# hadolint ignore=DL3003\nRUN cd /x\n", "DK0001")
    assert not has("FROM a:1\n# hadolint ignore=SC2086\nRUN ls\n", "DK0001")  # ShellCheck did not run
    off = codes("FROM a:1\n# hadolint ignore=DL3059\nRUN ls\n", extend=frozenset())
    assert "DK0001" not in [code for _, code in off]


def test_a_strict_directive_makes_errors_of_warnings() -> None:
    report = lint_source(Source("Dockerfile", b"# check=error=true\nFROM a:1\nMAINTAINER x\n"))
    assert [(f.code, f.severity.value) for f in report.findings if f.line == 3] == [("MaintainerDeprecated", "error")]
    assert "build-error" not in [f.code for f in report.findings]


def test_a_syntax_error_stands_alone_for_hadolint_and_beside_other_findings_for_dockc() -> None:
    text = "FROM a\nFOO x\nRUN cd /x\n"
    assert codes(text, "hadolint") == [(2, "DL1000")]
    assert {(1, "DL3006"), (2, "DL1000"), (3, "DL3003")} <= set(codes(text))


def test_select_narrows_and_switches_on() -> None:
    text = "FROM a\nRUN cd /x\nRUN cd /y\n"
    assert {code for _, code in codes(text, select=("DL3003", "DL3006", "strict"))} >= {"DL3003", "DL3006"}
    assert {code for _, code in codes(text, select=("DL30",))} == {"DL3006"}
    assert {code for _, code in codes(text, select=("DL3059",))} == {"DL3059"}
