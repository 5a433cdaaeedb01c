"""`dockc fmt`: what it writes, what it refuses, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.commands.fmt import FormatRefused, format_text, write_text

REPO = Path(__file__).resolve().parents[2]
BEFORE, AFTER = "from debian:12 as a\nRUN x\n", "FROM debian:12 AS a\nRUN x\n"


def fmt(folder: Path, *args: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    argv = [sys.executable, "-m", "dockc", "fmt", *args]
    done = subprocess.run(argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(REPO)}, input=stdin, capture_output=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr.decode()


def test_files_are_written_once(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(BEFORE)
    assert fmt(tmp_path, "--check") == (1, b"", "would reformat Dockerfile\n1 file would be reformatted, 0 unchanged\n")
    assert fmt(tmp_path) == (0, b"", "reformatted Dockerfile\n1 file reformatted, 0 unchanged\n")
    assert (tmp_path / "Dockerfile").read_text() == AFTER
    assert fmt(tmp_path, "--check")[0] == 0


def test_standard_input_bytes_and_all(tmp_path: Path) -> None:
    assert fmt(tmp_path, "-", stdin=b"from a\r\nlabel a=\xff\r\n") == (0, b"FROM a\r\nLABEL a=\xff\r\n", "")
    status, shown, _ = fmt(tmp_path, "--diff", "--stdin-filename=q/Dockerfile", "-", stdin=BEFORE.encode())
    assert status == 1
    assert shown.startswith(b"--- q/Dockerfile\n+++ q/Dockerfile\n")


def test_a_broken_file_is_left_alone_and_the_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.a").write_text("from a\n\n\nFORM \x1b[31mb\n")
    (tmp_path / "Dockerfile.b").write_text(BEFORE)
    status, _, log = fmt(tmp_path)
    assert status == 1
    assert "Dockerfile.a: cannot be formatted before it can be read: dockerfile parse error on line 4: unknown instruction: FORM" in log
    assert "\x1b" not in log
    assert (tmp_path / "Dockerfile.a").read_text().startswith("from a\n")
    assert (tmp_path / "Dockerfile.b").read_text() == AFTER


def test_comments_between_a_lone_continuation_and_the_keyword_stay() -> None:
    assert "# note\n" in format_text("FROM a\n \\\n# note\nENV A=1\n", "Dockerfile")


def test_what_would_change_the_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockc.compiler.format.format_file", lambda file: "FROM b\n")
    with pytest.raises(FormatRefused, match="would change what is built"):
        format_text("FROM a\n", "Dockerfile")


def test_a_failed_write_leaves_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM a\n")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Exception, match="No space left"):
        write_text(path, "FROM b\n")
    assert path.read_text() == "FROM a\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Lines of the command keep their indentation, which is part of it; flags and its first line follow.
        ("RUN --mount=a=b \\\n      --network=none \\\n # c\n    one && \\\n  two\n", "RUN --mount=a=b \\\n  --network=none \\\n  # c\n  one && \\\n  two\n"),
        ("RUN --network=none \\\n\n\tone; \\\n\ttwo\n", "RUN --network=none \\\n\tone; \\\n\ttwo\n"),
        ("RUN --network=none \\\n one\n", "RUN --network=none \\\n    one\n"),
        ("RUN \\\n   one && \\\n  two\n", "RUN \\\n  one && \\\n  two\n"),
        ("RUN one && \\\n  two\n", "RUN one && \\\n  two\n"),
        ("copy --from=x \\\n  a \\\n b\n", "COPY --from=x \\\n    a \\\n    b\n"),
    ],
)
def test_indentation(before: str, after: str) -> None:
    assert format_text(f"FROM a\n{before}", "Dockerfile") == f"FROM a\n{after}"
    assert format_text(f"FROM a\n{after}", "Dockerfile") == f"FROM a\n{after}"
