"""ShellCheck: which scripts are made, and where findings are put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dockc.commands.lint import shellcheck as shellcheck_runner
from dockc.errors import DockcError, UsageError
from dockc.grammar.source import Source
from dockc.linter.finding import Finding
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source

HEAD = "export " + " ".join(
    f"{name}=1"
    for name in (
        "FTP_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "ftp_proxy",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    )
) + "\n" * 8


def scripts(text: str, profile: str = "dockc") -> list[str]:
    """What a checker is given."""
    seen: list[str] = []

    def checker(given: Sequence[str]) -> list[list[dict[str, Any]]]:
        seen.extend(given)
        return [[] for _ in given]

    lint_source(Source("Dockerfile", text.encode()), LintOptions(profile=profile, checker=checker))
    return seen


def found(text: str, profile: str = "dockc") -> list[Finding]:
    """Findings of the real program."""
    options = shellcheck_runner.with_checker(LintOptions(profile=profile, extend=frozenset(["strict"])))
    if options.checker is None:
        pytest.skip("no shellcheck")
    report = lint_source(Source("Dockerfile", text.encode()), options)
    return [f for f in report.findings if f.code.startswith("SC")]


def test_a_script_has_the_shell_and_known_variables_above_it() -> None:
    assert scripts("FROM a:1\nRUN x $Y\n") == [f"#!/bin/sh\n{HEAD}x $Y"]
    (script,) = scripts('FROM a:1\nENV B=1 A=2\nARG C\nSHELL ["bash", "-c"]\nRUN x $A\n')
    assert script.startswith("#!/bin/bash\nexport A=1 B=1 C=1 FTP_PROXY=1 ")


def test_a_script_that_asks_for_no_variable_is_told_of_none() -> None:
    assert scripts("FROM a:1\nENV B=1\nRUN x && y\nRUN [[ B -eq 1 ]]\n")[0] == "#!/bin/sh\nx && y"
    assert "export B=1 " in scripts("FROM a:1\nENV B=1\nRUN [[ B -eq 1 ]]\n")[0]


def test_variables_are_inherited_from_the_stage_built_on() -> None:
    _, second, third = scripts("FROM a:1 AS x\nENV A=1\nRUN x $A\nFROM x\nRUN y $A\nFROM b:1\nRUN z $A\n")
    assert "export A=1 " in second
    assert "export A=1 " not in third


@pytest.mark.parametrize(
    "text",
    [
        'RUN ["echo", "$x"]',
        'SHELL ["powershell", "-c"]\nRUN x',
        "# hadolint shell=pwsh\nRUN x",
        "RUN <<EOF\n#!/usr/bin/env python\nprint(1)\nEOF",
        'HEALTHCHECK CMD ["x"]',
        "HEALTHCHECK NONE",
    ],
)
def test_what_no_posix_shell_runs_is_left_alone(text: str) -> None:
    assert scripts(f"FROM a:1\n{text}\n") == []


def test_cmd_entrypoint_and_healthcheck_are_scripts_in_the_own_profile() -> None:
    text = "FROM a:1\nCMD c\nENTRYPOINT e\nHEALTHCHECK --interval=1s CMD h $x\nONBUILD RUN o\n"
    assert [s.rpartition("\n")[2] for s in scripts(text)] == ["c", "e", "h $x", "o"]
    assert [s.rpartition("\n")[2] for s in scripts(text, "hadolint")] == ["o"]


def test_equal_scripts_are_checked_once() -> None:
    assert len(scripts("FROM a:1\nRUN x\nRUN x\n")) == 1


def test_findings_stand_at_the_exact_words_across_continuations() -> None:
    text = 'FROM a:1\nRUN one && \\\n    # note\n    two $THREE\nHEALTHCHECK CMD "x" $YY\nRUN <<EOF\nls $ZZ\nEOF\n'
    findings = found(text)
    assert [(f.code, f.line, f.column) for f in findings] == [("SC2086", 4, 9), ("SC2086", 5, 21), ("SC2086", 7, 4)]
    assert [text[f.span.start : f.span.end] for f in findings] == ["$THREE", "$YY", "$ZZ"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RUN <<-EOF\n\tset -e\n\t\tls $XX\n\tEOF", ["$XX"]),
        ("RUN <<EOF bash -e\nls $YY\nEOF", ["$YY"]),
        ("RUN cat <<A $ZZ && cat <<B $WW\nq\nA\nr\nB", ["$ZZ", "$WW"]),
        ('CMD ["sh", "-c", "echo \\"x\\" && ls $QQ \\u00e9\\ud83d\\ude00 $RR"]', ["$QQ", "$RR"]),
        ('ENTRYPOINT ["/bin/bash", "-euo", "pipefail", "-c", "ls $PP", "--"]', ["$PP"]),
        ('HEALTHCHECK CMD ["bash","-c","ls $HH"]', ["$HH"]),
        ('ONBUILD CMD ["sh", "-ec", "ls $OO"]', ["$OO"]),
        ("ONBUILD RUN \\\n  # c\n\n  ls \\\n  $NN", ["$NN"]),
        ("RUN ls \U0001f600 $EE", ["$EE"]),
        ("RUN ls \\\r\n $CR\r", ["$CR"]),
    ],
)
def test_findings_stand_at_the_exact_words_in_every_form(text: str, words: list[str]) -> None:
    text = f"FROM a:1\n{text}\n"
    assert [text[f.span.start : f.span.end] for f in found(text) if f.code == "SC2086"] == words


def test_a_heredoc_that_a_program_reads_is_no_script() -> None:
    (script,) = scripts("FROM a:1\nRUN python3 <<EOF\nprint(1)\nEOF\n")
    assert script.endswith("python3 <<EOF\nprint(1)\nEOF\n")


@pytest.mark.parametrize(
    ("base", "first"),
    [
        ("alpine:3", "#!/bin/busybox sh"),
        ("node:22-alpine", "#!/bin/busybox sh"),
        ("python:3.13-slim", "#!/bin/dash"),
        ("registry.example.org/fedora:40", "#!/bin/bash"),
        ("example.org/tool:1", "#!/bin/sh"),
    ],
)
def test_sh_is_what_the_base_image_has_for_it(base: str, first: str) -> None:
    (script,) = scripts(f"FROM {base} AS b\nFROM b\nRUN x\n")
    assert script.partition("\n")[0] == first


@pytest.mark.parametrize(
    "text",
    [
        "FROM mcr.microsoft.com/windows/servercore:ltsc2022\nRUN x\n",
        "FROM mcr.microsoft.com/windows/nanoserver:1809 AS a\nFROM a\nRUN x\n",
        "# escape=`\nFROM tools\nRUN x\n",
        "FROM --platform=windows/amd64 tools\nRUN x\n",
    ],
)
def test_windows_has_no_shell_to_check(text: str) -> None:
    assert scripts(text) == []
    assert len(scripts(text.replace("RUN", 'SHELL ["bash", "-c"]\nRUN'))) == 1


def test_of_each_run_hadolint_keeps_the_last_finding_on_the_first_line() -> None:
    findings = found('FROM a:1\nRUN ls $A && \\\n  [ "x" == "$B" ]\n', "hadolint")
    assert [(f.code, f.line, f.column) for f in findings] == [("SC3014", 2, 1)]


def test_variables_of_the_file_are_known() -> None:
    assert found("FROM a:1\nENV A=1\nRUN ls $A\n") == []


def test_hadolint_forgets_the_shell_after_a_variable_and_dockc_does_not() -> None:
    text = 'FROM a:1\nSHELL ["/bin/bash", "-c"]\nENV A=1\nRUN [ "$A" == 1 ]\n'
    assert [f.code for f in found(text, "hadolint")] == ["SC3014"]
    assert found(text) == []


def test_comments_suppress_findings_of_shellcheck() -> None:
    text = "FROM a:1\n{}\nRUN a \\\n  && ls $X\n"
    assert found(text.format("# dockc ignore=SC2086 words are wanted")) == []
    assert found(text.format("# hadolint ignore=SC2086")) == []
    assert [f.code for f in found(text.format("# nothing"))] == ["SC2086"]


def test_a_missing_program_is_an_error_only_where_it_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shellcheck_runner, "find", lambda: None)
    options = LintOptions()
    assert shellcheck_runner.with_checker(options) is options
    with pytest.raises(UsageError, match="ShellCheck is not installed"):
        shellcheck_runner.with_checker(replace(options, shellcheck=True))


def test_a_program_that_fails_says_so() -> None:
    with pytest.raises(DockcError, match="ShellCheck did not start"):
        shellcheck_runner.ShellCheck("/nonexistent/shellcheck")(["#!/bin/sh\n"])
    with pytest.raises(DockcError, match="ShellCheck failed with status 1"):
        shellcheck_runner.ShellCheck("/bin/false")(["#!/bin/sh\n"])


def test_many_scripts_are_checked_in_batches() -> None:
    if (program := shellcheck_runner.find()) is None:
        pytest.skip("no shellcheck")
    texts = [f"#!/bin/sh\nls $x{number}" for number in range(60)]
    answers = shellcheck_runner.ShellCheck(program, workers=2)(texts)
    assert [[c["code"] for c in answer] for answer in answers] == [[2154, 2086]] * 60


def test_a_script_that_does_not_parse_is_a_fault_and_not_what_holds_it() -> None:
    text = 'FROM a:1\nRUN echo "b\n'
    assert [f.code for f in found(text)] == ["SC1073", "SC1072"]
    assert [f.code for f in found(text, "hadolint")] == ["SC1072"], "as hadolint has it"
