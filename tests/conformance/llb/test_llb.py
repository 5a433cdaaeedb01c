"""The harness over the conformance cases and the corpus that lie beside the checkout (`../shared`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance.llb", *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["conformance/llb", "corpus"])
def test_every_case_is_as_expected(shared: Path, folder: str) -> None:
    result = run(str(shared / folder), "--failed")
    last = result.stdout.strip().splitlines()[-1]
    assert last.endswith(" passed, 0 failed"), result.stdout
    assert int(last.split()[0]) > 100
    assert result.returncode == 0


def test_a_case_has_one_line_and_the_last_line_counts(tmp_path: Path) -> None:
    write_case(tmp_path / "from" / "good", "FROM scratch\n", GOOD)
    write_case(tmp_path / "from" / "bad", "FROM scratch\n", GOOD.replace('"ok": true', '"ok": true, "epoch": 1'))
    result = run(str(tmp_path))
    lines = result.stdout.splitlines()
    assert lines[0] == "FAIL from/bad"
    assert "epoch: None, expected 1" in lines[1]
    assert lines[2:] == ["ok   from/good", "1 passed, 1 failed"]
    assert result.returncode == 1


def test_only_good_cases_end_with_status_zero(tmp_path: Path) -> None:
    write_case(tmp_path / "from" / "good", "FROM scratch\n", GOOD)
    result = run(str(tmp_path), "--group", "from", "--case", "good")
    assert (result.returncode, result.stdout) == (0, "ok   from/good\n1 passed, 0 failed\n")


def test_no_case_at_all_is_a_failure(tmp_path: Path) -> None:
    result = run(str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "0 passed, 0 failed\n")


def write_case(folder: Path, dockerfile: str, expected: str) -> None:
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "case.json").write_text("{}")
    (folder / "expected.json").write_text(expected)


# sha256 of no bytes at all: the definition of an empty file system.
GOOD = """{
 "ok": true,
 "warnings": [],
 "lint": {"warnings": []},
 "outline": {},
 "targets": [
  {"default": true, "base": "scratch",
   "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}}],
 "digests": [],
 "head": "",
 "definition_sha256": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
 "base_image": null,
 "image": {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": null},
  "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
   "WorkingDir": "/"}},
 "image_json": "{\\"architecture\\":\\"amd64\\",\\"os\\":\\"linux\\",\\"rootfs\\":{\\"type\\":\\"layers\\",\
\\"diff_ids\\":null},\\"config\\":{\\"Env\\":[\\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\\"],\
\\"WorkingDir\\":\\"/\\"}}"
}
"""
