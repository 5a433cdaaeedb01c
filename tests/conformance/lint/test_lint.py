"""The harness over the lint cases and the corpus that lie beside the checkout (`../shared`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.commands.lint.shellcheck import find

REPO = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance.lint", *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["hadolint", "buildkit"])
@pytest.mark.parametrize("folder", ["conformance/lint", "corpus"])
def test_every_case_is_as_expected(shared: Path, folder: str, profile: str) -> None:
    if profile == "hadolint" and find() is None:
        pytest.skip("no shellcheck")
    result = run(str(shared / folder), "--profile", profile, "--failed")
    last = result.stdout.strip().splitlines()[-1]
    assert last.endswith(" passed, 0 failed"), result.stdout
    assert int(last.split()[0]) > 100
    assert result.returncode == 0


def finding(code: str, line: int, level: str, message: str) -> dict[str, object]:
    return {"code": code, "column": 1, "file": "Dockerfile", "level": level, "line": line, "message": message}


def write_case(folder: Path, name: str, dockerfile: str, hadolint: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.Dockerfile").write_text(dockerfile)
    (folder / f"{name}.hadolint.json").write_text(json.dumps(hadolint))
    (folder / f"{name}.buildkit.json").write_text('{"warnings": []}')


UNTAGGED = finding("DL3006", 1, "warning", "Always tag the version of an image explicitly")


def test_a_case_has_a_line_for_each_profile_and_the_last_line_counts(tmp_path: Path) -> None:
    write_case(tmp_path / "DL3006", "bad", "FROM debian:12\n", [UNTAGGED])
    write_case(tmp_path / "DL3006", "good", "FROM debian\n", [UNTAGGED])
    result = run(str(tmp_path), "--no-shellcheck")
    assert result.stdout.splitlines() == [
        "FAIL hadolint DL3006/bad",
        "       missing: 1 DL3006 warning Always tag the version of an image explicitly",
        "ok   buildkit DL3006/bad",
        "ok   hadolint DL3006/good",
        "ok   buildkit DL3006/good",
        "3 passed, 1 failed",
    ]
    assert result.returncode == 1


def test_a_wrong_severity_is_a_difference(tmp_path: Path) -> None:
    write_case(tmp_path, "case", "FROM debian\n", [UNTAGGED | {"level": "error"}])
    result = run(str(tmp_path), "--no-shellcheck", "--profile", "hadolint")
    assert result.stdout.splitlines()[-1] == "0 passed, 1 failed"


def test_what_the_peer_cannot_parse_is_let_pass(tmp_path: Path) -> None:
    write_case(tmp_path, "case", "FROM debian:12\nEXPOSE 80/sctp\n", [finding("DL1000", 2, "error", "unexpected")])
    result = run(str(tmp_path), "--no-shellcheck", "--profile", "hadolint")
    assert result.stdout.splitlines()[0] == "ok   hadolint case  (the peer cannot parse it)"
    assert result.returncode == 0


def test_a_configuration_beside_the_case_holds(tmp_path: Path) -> None:
    write_case(tmp_path, "case", "FROM debian\n", [])
    (tmp_path / "case.hadolint.yaml").write_text("ignored: [DL3006]\n")
    assert run(str(tmp_path), "--no-shellcheck", "--profile", "hadolint").returncode == 0


def test_no_case_at_all_is_a_failure(tmp_path: Path) -> None:
    result = run(str(tmp_path), "--no-shellcheck")
    assert (result.returncode, result.stdout) == (1, "0 passed, 0 failed\n")
