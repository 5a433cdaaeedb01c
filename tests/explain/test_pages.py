"""Pages: rules by every name, instructions, passes."""

from __future__ import annotations

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
    with pytest.raises(UsageError, match="nothing is called DL30008") as caught:
        explaincmd.page("DL30008")
    assert "DL3008" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "nothing to explain"), (["{file}:1", "--graph"], "without a line"),
     (["{file}:99"], "has 1 line, not 99"), (["{file}", "--graph", "--format", "gif"], "unknown format gif"),
     (["nowhere:3"], "no such file")],
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
