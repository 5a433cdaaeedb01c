"""Pages: rules by every name, instructions, passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.commands import explain as explaincmd
from dockc.compiler.explain.instructions import INSTRUCTIONS
from dockc.compiler.passes import PASSES
from dockc.errors import UsageError
from dockc.line.main import run
from dockc.linter.registry import all_rules


@pytest.mark.parametrize("name", ["DL3000", "dl3000", "absolute-workdir"])
def test_a_rule_by_code_and_name(name: str) -> None:
    page = explaincmd.page(name)
    assert page.startswith("DL3000 absolute-workdir\n")
    assert "same as:     hadolint DL3000, buildkit WorkdirRelativePath" in page
    assert "    WORKDIR app\n" in page


def test_a_rule_by_the_code_of_another_tool() -> None:
    assert "StageNameCasing" in explaincmd.page("stagenamecasing")


def test_every_rule_has_a_page() -> None:
    listed = explaincmd.page("rules")
    for rule in all_rules():
        page = explaincmd.page(rule.code)
        assert rule.summary in page
        assert "## Why" in page
        assert f"{rule.code} " in listed


@pytest.mark.parametrize("keyword", sorted(INSTRUCTIONS))
def test_every_instruction_has_a_page(keyword: str) -> None:
    page = explaincmd.page(keyword.lower())
    assert page.startswith(f"{keyword}\n")
    assert all(flag in page for flag in INSTRUCTIONS[keyword].flags)


@pytest.mark.parametrize("name", sorted(PASSES))
def test_every_pass_has_a_page(name: str) -> None:
    assert explaincmd.page(name).startswith(f"pass {name} (runs ")


def test_what_nobody_knows() -> None:
    with pytest.raises(UsageError, match="nothing is called 3") as caught:
        explaincmd.page("3")
    assert caught.value.hint == "A line is named with its file: `dockc explain Dockerfile:3`."
    with pytest.raises(UsageError, match="SC2086 is ShellCheck's own"):
        explaincmd.page("SC2086")
    with pytest.raises(UsageError, match="nothing is called DL30008") as caught:
        explaincmd.page("DL30008")
    assert "DL3008" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "nothing to explain"), (["{file}:1", "--graph"], "without a line"),
     (["{file}:99"], "has 1 line, not 99"), (["{file}", "--graph", "--format", "gif"], "unknown format gif"),
     (["nowhere:3"], "does not exist")],
)  # fmt: skip
def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    assert run(["explain", *(a.replace("{file}", str(file)) for a in arguments)]) != 0
    assert message in capsys.readouterr().err


def test_the_graph_of_a_directory(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS only\nCOPY a /a\n")
    assert run(["explain", str(tmp_path), "--graph"]) == 0
    assert b"only: FROM scratch" in capsysbinary.readouterr().out


def test_pages_need_no_solver_and_no_network() -> None:
    code = (
        "import sys; from dockc.line.main import run; run(['explain', 'DL3008']); run(['explain', 'RUN']);"
        "sys.exit(','.join(m for m in ('asyncio', 'sqlite3', 'urllib3', 'rich.live') if m in sys.modules) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_directory_stands_for_its_dockerfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").write_text("FROM scratch AS only\nCOPY a /a\n")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["explain", "app"]) == 0
    assert b"only: FROM scratch" in capsysbinary.readouterr().out
    assert run(["explain", "run"]) == 0, "an instruction comes before a directory of its name"
    assert capsysbinary.readouterr().out.startswith(b"RUN\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["run", "--format=svg"], "is for a FILE"), (["{file}:1", "--format=svg"], "a line has no format svg"), (["{file}", "--plan", "--format=dot"], "a plan has no format dot")],
)
def test_formats_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    assert run(["explain", *(a.replace("{file}", str(file)) for a in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_line_and_graph_as_json(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM alpine:3 AS only\nCOPY a /a\n")
    (tmp_path / "a").write_text("")
    assert run(["explain", f"{file}:2", "--format=json"]) == 0
    line = json.loads(capsysbinary.readouterr().out)
    assert line["made_up"] is True
    (only,) = line["instructions"]
    assert (only["instruction"], only["lines"], only["layer"]) == ("COPY", [2, 2], True)
    assert only["keys"][0]["files"] == ["a"]
    assert run(["explain", str(file), "--format=json"]) == 0
    graph = json.loads(capsysbinary.readouterr().out)
    assert [stage["title"] for stage in graph["stages"]] == ["sources", "only: FROM alpine:3"]
    assert [(one["kind"], one["stage"], one["result"]) for one in graph["operations"]] == [("source", 1, False), ("source", 0, False), ("file", 1, True)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("ARG V=1\nFROM scratch\nARG V\nRUN echo $V\n", 4, '$V = "1" (ARG of line 3, value of the ARG of line 1, before the first FROM)'),
        ("FROM scratch\nARG TARGETARCH\nRUN echo $TARGETARCH\n", 3, '$TARGETARCH = "amd64" (ARG of line 2, given by the builder)'),
        ("FROM scratch\nARG TARGETARCH\nRUN echo $TARGETARCH\n", 2, '$TARGETARCH = "amd64" (given by the builder)'),
        ("FROM scratch\nARG TARGETSTAGE=x\nRUN echo $TARGETSTAGE\n", 3, '$TARGETSTAGE = "x" (ARG of line 2)'),
        ("ARG TARGETOS=plan9\nFROM scratch\nARG TARGETOS\nRUN echo $TARGETOS\n", 4, '$TARGETOS = "plan9" (ARG of line 3, value of the ARG of line 1, before the first FROM)'),
    ],
)
def test_where_an_arguments_value_comes_from(text: str, line: int, words: str) -> None:
    import dockc

    assert f"  {words}\n" in str(dockc.explain(text, line, attrs={"platform": "linux/amd64"}))


def test_an_argument_before_the_first_from_is_for_from_lines() -> None:
    import dockc

    text = "ARG V=1\nFROM scratch\nARG V\n"
    assert "\nDeclares a build argument for FROM lines; a stage that wants it declares it again.\n" in str(dockc.explain(text, 1))
    assert "\nDeclares a build argument, from here to the end of the stage.\n" in str(dockc.explain(text, 3))


def test_the_names_of_automatic_arguments_are_those_that_builds_have() -> None:
    from dockc.compiler.lower.scope import AUTOMATIC, default_args
    from dockc.oci.platform import parse

    assert default_args(parse("linux/amd64"), parse("linux/arm64"), {}, "").keys() == AUTOMATIC


def test_a_place_is_named_as_lint_and_explain_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "Containerfile"
    file.write_text("FROM scratch\nCOPY a \\\n  /a\n")
    shown = set()
    for place in ("2", "3", "2:6", "2-3"):
        assert run(["explain", f"{file}:{place}"]) == 0
        shown.add(capsys.readouterr().out)
    assert len(shown) == 1 and f"{file}:2-3 " in shown.pop()
    assert run(["explain", str(tmp_path)]) == 0
    assert "COPY a /a" in capsys.readouterr().out
    for place in ("0", "x", "1-"):
        assert run(["explain", f"{file}:{place}"]) == 2
        assert "help: A line is named FILE:LINE, from 1 on." in capsys.readouterr().err
