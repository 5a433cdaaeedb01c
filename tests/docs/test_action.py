"""The GitHub action: its own commands, run as a runner runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BAD = "FROM debian:12\nRUN apt-get install curl\n"
GOOD = "FROM scratch\nCOPY a /a\n"


@pytest.fixture
def action() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return loaded


class Runner:
    """Runs the composite action's commands for one set of inputs; dockc is there already."""

    def __init__(self, action: dict[str, Any], folder: Path) -> None:
        self.action = action
        self.work = folder / "work"
        self.temp = folder / "temp"
        (self.temp / "dockc/bin").mkdir(parents=True)
        self.work.mkdir()
        program = self.temp / "dockc/bin/dockc"
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m dockc "$@"\n')
        program.chmod(0o755)

    def run(self, **inputs: str) -> tuple[list[int], str]:
        """The exit status of each command, up to the first that fails, and all they said."""
        values = {name: one.get("default", "") for name, one in self.action["inputs"].items()} | inputs
        output = self.temp / "output"
        output.write_text("")
        statuses, said = [], ""
        for step in self.action["runs"]["steps"][1:]:
            if "run" not in step:
                continue
            told = dict(line.split("=", 1) for line in output.read_text().splitlines())
            env = {name: self._filled(text, values, told) for name, text in step["env"].items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=self.work, text=True, capture_output=True, check=False,
                env={"PATH": os.environ["PATH"], "HOME": str(self.temp), "RUNNER_TEMP": str(self.temp), "GITHUB_OUTPUT": str(output), **env},
            )  # fmt: skip
            statuses.append(done.returncode)
            said += done.stdout + done.stderr
            if done.returncode:
                break
        return statuses, said

    @staticmethod
    def _filled(text: str, values: dict[str, str], told: dict[str, str]) -> str:
        for name, value in values.items():
            text = text.replace("${{ inputs." + name + " }}", value)
        return text.replace("${{ steps.lint.outputs.status }}", told.get("status", ""))


@pytest.fixture
def runner(action: dict[str, Any], tmp_path: Path) -> Runner:
    return Runner(action, tmp_path)


def test_findings_fail_the_job_after_they_were_written(runner: Runner) -> None:
    (runner.work / "Dockerfile").write_text(BAD)
    statuses, said = runner.run()
    assert statuses == [0, 1]
    assert "::warning file=Dockerfile,line=2" in said
    found = json.loads((runner.work / "dockc.sarif").read_text())
    assert "DL3014" in {result["ruleId"] for result in found["runs"][0]["results"]}


def test_a_clean_file_passes(runner: Runner) -> None:
    (runner.work / "Dockerfile").write_text(GOOD)
    assert runner.run(arguments="--no-shellcheck")[0] == [0, 0]


def test_trouble_ends_the_job_before_the_upload(runner: Runner) -> None:
    statuses, said = runner.run(arguments="--no-such-option")
    assert statuses[0] not in {0, 1}
    assert len(statuses) == 1
    assert "--no-such-option" in said


def test_inputs_are_never_commands(runner: Runner) -> None:
    (runner.work / "Dockerfile").write_text(GOOD)
    statuses, _ = runner.run(paths="$(touch pwned)\n`touch pwned`\n; touch pwned\n--output=pwned\nDockerfile", arguments="--profile=$(touch pwned)")
    assert statuses[0] != 0
    assert not (runner.work / "pwned").exists()


def test_every_input_is_used_and_no_expression_stands_in_a_command(action: dict[str, Any]) -> None:
    text = (ROOT / "action.yml").read_text()
    for name in action["inputs"]:
        assert f"inputs.{name}" in text
    assert all("${{" not in step.get("run", "") for step in action["runs"]["steps"])
