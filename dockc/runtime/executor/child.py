"""The helper process of the embedded executor: from a `Plan` on standard input to execve in a container.

    builder -> A supervisor   in the builder's namespaces; waits, passes signals on
               └─ B outer init  pid 1 of a pid namespace: its death, however it comes, ends everything below
                  └─ C the step   pid 1 of its own namespaces; becomes the program by execve

B exists because C cannot watch over itself: a setuid program clears the parent death signal. A signal to A
(SIGTERM: ask all processes of the step to end, SIGUSR1: end them now, `RELAY` + n: signal n for the step itself) is
passed down; A's death kills B by its death signal.

Trouble before execve goes to the status descriptor as `<exit status> <message>`; A adds a NUL and its own exit status
at
the very end. Start time counts: only what is needed is imported.
"""

from __future__ import annotations

import errno
import marshal
import os
import signal
import stat
import sys

from dockc.runtime.executor import sandbox
from dockc.runtime.kernel import syscalls as sc

TYPE_CHECKING = False  # importing typing would cost more than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from dockc.runtime.executor.plan import Plan, RuntimePlan

RELAY = signal.SIGRTMIN - 1
"""What a real-time signal to A or B is above the signal that it means for the step."""
_AWAITED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, *range(signal.SIGRTMIN, RELAY + 32))
NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 255


class _Failed(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def main(status_fd: int, builder: int, stdin: int = -1, terminal: int = -1) -> None:
    """Read the plan from standard input, run the step, exit with its status.

    Args:
        status_fd: where trouble is reported.
        builder: pid of the process that started this one.
        stdin: a descriptor for the step's standard input, or -1 for an empty one.
        terminal: a socket that takes the master of the step's terminal, or -1 for a step without one.
    """
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != builder:
        os._exit(FAILED)  # it died before the death signal was set
    _own_state()
    if terminal >= 0:
        sandbox.load_terminals()
    for number in (status_fd, stdin, terminal):
        if number >= 0:
            os.set_inheritable(number, False)
    plan: Plan | RuntimePlan = marshal.load(sys.stdin.buffer)  # noqa: S302 - our own parent wrote it
    # What is left of standard input is the step's, unless it is given another: the end of a pipe that nobody writes to.
    try:
        code = _supervise(plan, status_fd, stdin, terminal)
    except BaseException as exc:
        _report(status_fd, exc)
        code = FAILED
    try:
        os.write(status_fd, b"\0%d" % code)  # the builder may never learn how we end: its process may ignore SIGCHLD
    except OSError:
        pass  # it is gone, or no longer listens
    os._exit(code)


def _own_state() -> None:
    """Undo what the builder's caller handed on: a step sees the same, whoever builds."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, the status of every child would be lost
    os.umask(0o022)
    sc.personality(sc.PER_LINUX)


def _report(status_fd: int, exc: BaseException) -> None:
    if isinstance(exc, _Failed):
        status, message = exc.status, str(exc)
    elif isinstance(exc, OSError):
        status, message = FAILED, _told(exc)
    else:
        status, message = FAILED, f"{type(exc).__name__}: {exc}"
    os.write(status_fd, f"{status} {message}".encode("utf-8", "surrogateescape")[:4000])


def _told(exc: OSError) -> str:
    message = exc.strerror or str(exc)
    return f"{exc.filename}: {message}" if exc.filename else message


def _supervise(plan: Plan | RuntimePlan, status_fd: int, stdin: int, terminal: int) -> int:
    """A: make the outer pid namespace and wait for its init."""
    # Held back from handlers, A and B take them one by one as they wait; the step itself starts with none blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    alive_read, alive_write = os.pipe()
    try:
        sc.unshare(sc.CLONE_NEWPID)
    except OSError as exc:
        raise _Failed(FAILED, f"cannot make a pid namespace: {exc.strerror}") from exc
    child = os.fork()
    if child == 0:
        os.close(alive_write)
        _in_child(status_fd, _outer_init, plan, status_fd, alive_read, stdin, terminal)
    _close(alive_read, 1, 2, stdin, terminal)
    return _attend(child, lambda number: _pass_on(child, signal.SIGKILL if number == signal.SIGUSR1 else number))


def _in_child(status_fd: int, fn: Callable[..., int], *args: object) -> None:
    """Run `fn` as the whole life of a forked child."""
    try:
        code = fn(*args)
    except BaseException as exc:
        _report(status_fd, exc)
        code = FAILED
    os._exit(code)


def _close(*numbers: int) -> None:
    for number in numbers:
        if number >= 0:
            os.close(number)


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _attend(child: int, on_signal: Callable[[int], None]) -> int:
    """Wait for a child, and for signals as long as it lives. Nothing comes between looking and waiting: all of it is
    blocked.
    """
    while True:
        done = -1
        while done:
            done, status = os.waitpid(-1, os.WNOHANG)
            if done == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        number = signal.sigwait(_AWAITED)
        if number != signal.SIGCHLD:
            on_signal(number)


def _outer_init(plan: Plan | RuntimePlan, status_fd: int, alive_read: int, stdin: int, terminal: int) -> int:
    """B: die with A, and take the step along."""
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(alive_read, False)
    try:
        if os.read(alive_read, 1) == b"":
            return FAILED  # A was gone before the death signal was set
    except BlockingIOError:
        pass
    _join_cgroups(plan["cgroups"])
    if "command" in plan:
        _own_proc(plan["hidden"])
        child = os.fork()
        if child == 0:
            _in_child(status_fd, _exec_runtime, plan["command"], stdin, terminal)
    else:
        try:
            if plan["network_namespace"]:
                sc.join_namespace(plan["network_namespace"], sc.CLONE_NEWNET)
            sc.unshare(plan["namespaces"])
        except OSError as exc:
            raise _Failed(FAILED, f"cannot make namespaces: {exc.strerror}") from exc
        child = os.fork()
        if child == 0:
            os.close(alive_read)
            _in_child(status_fd, _step, plan, stdin, terminal)
    _close(status_fd, 1, 2, stdin, terminal)

    def pass_on(number: int) -> None:
        if number == signal.SIGTERM:
            _pass_on(
                -1, signal.SIGTERM
            )  # as init of this namespace, B may signal all in it at once; it is spared itself
        elif number > RELAY:
            _pass_on(_step_pid(plan, child), number - RELAY)

    return _attend(child, pass_on)


def _step_pid(plan: Plan | RuntimePlan, child: int) -> int:
    """The step's pid in B's namespace: B's child, or what an OCI runtime started as pid 1 of the container's own
    namespace.

    The runtime is passed by: it keeps some signals to itself, and writes the pid down only after the program runs.
    """
    if "command" in plan:
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdigit() and _is_first(name):
                return int(name)
    return child


def _is_first(pid: str) -> bool:
    """Whether a process is pid 1 of a namespace below B's."""
    try:
        with open(f"/proc/{pid}/status") as stream:  # noqa: PTH123
            numbers = next((line.split()[1:] for line in stream if line.startswith("NSpid:")), [])
    except OSError:
        return False
    return len(numbers) > 1 and numbers[-1] == "1"


def _join_cgroups(files: list[str]) -> None:
    """Become a member of the run's control groups, and with this process all that it starts."""
    for file in files:
        with open(file, "w") as stream:  # noqa: PTH123
            stream.write("0")


def _own_proc(hidden: list[str]) -> None:
    """Show this pid namespace in /proc: a runtime looks up its processes there by number."""
    try:
        sc.unshare(sc.CLONE_NEWNS)
        sc.mount("none", "/", None, sc.MS_REC | sc.MS_PRIVATE)
        for path in hidden:
            sc.mount("none", path, "tmpfs", 0, "mode=755")
        sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    except OSError as exc:
        raise _Failed(
            FAILED,
            f"an OCI runtime needs a /proc of its own, which the kernel refuses here ({exc.strerror}): "
            "use --executor=embedded",
        ) from exc


def _exec_runtime(command: list[str], stdin: int, terminal: int) -> int:
    """C, when an OCI runtime does the rest."""
    if stdin >= 0:
        os.dup2(stdin, 0)
    if terminal >= 0:
        os.setsid()
        sandbox.own_terminal(terminal)
    _reset_signals()
    try:
        os.execve(command[0], command, {"PATH": os.environ.get("PATH", os.defpath)})  # noqa: S606
    except OSError as exc:
        raise _Failed(NOT_EXECUTABLE, f"exec {command[0]}: {_lower(exc)}") from exc


def _step(plan: Plan, stdin: int, terminal: int) -> int:
    """C: become the program."""
    os.setsid()
    if stdin >= 0:
        os.dup2(stdin, 0)
    os.umask(0)
    try:
        sandbox.build_root(plan)
    except OSError as exc:
        raise _Failed(NOT_EXECUTABLE, f"error during container init: {_told(exc)}") from exc
    if terminal >= 0:
        sandbox.show_console(sandbox.own_terminal(terminal))
    os.umask(0o022)
    if plan["namespaces"] & sc.CLONE_NEWUTS:
        sc.sethostname(plan["hostname"])
    if plan["own_network"]:
        sandbox.loopback_up()
    sandbox.set_limits(plan)
    _reset_signals()
    try:
        sandbox.become(plan)
    except OSError as exc:
        if exc.filename == plan["cwd"]:
            raise _Failed(NOT_EXECUTABLE, f"cannot enter working directory {plan['cwd']}: {exc.strerror}") from exc
        raise
    env = dict(entry.partition("=")[::2] for entry in plan["env"])
    path = find_executable(plan["args"][0], env.get("PATH", ""))
    try:
        os.execve(path, plan["args"], env)  # noqa: S606
    except OSError as exc:
        status = NOT_FOUND if exc.errno == errno.ENOENT else NOT_EXECUTABLE
        raise _Failed(status, f"exec {path}: {_lower(exc)}") from exc


def _reset_signals() -> None:
    for number in range(1, signal.NSIG):
        # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so through execve.
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            # Not to be changed (SIGKILL, SIGSTOP), or libc keeps it for its threads: whoever started us may have
            # ignored those too.
            try:
                sc.default_signal(number)
            except OSError:
                continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def find_executable(name: str, path: str) -> str:
    """The file to execute, found as Go's exec.LookPath finds it, with its messages."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if "/" in name:
        trouble = _trouble(name)
        if trouble is None:
            return name
        status = NOT_FOUND if trouble.errno == errno.ENOENT else NOT_EXECUTABLE
        what = f"stat {name}: {_lower(trouble)}" if status == NOT_FOUND else _lower(trouble)
        raise _Failed(status, f"exec: {quoted}: {what}")
    for where in path.split(":"):
        candidate = f"{where or '.'}/{name}"
        if name and _trouble(candidate) is None:
            if not candidate.startswith("/"):
                raise _Failed(
                    NOT_EXECUTABLE,
                    f"exec: {quoted}: cannot run executable found relative to current directory",
                )
            return candidate
    raise _Failed(NOT_FOUND, f"exec: {quoted}: executable file not found in $PATH")


def _trouble(path: str) -> OSError | None:
    """Why a file cannot be executed, or None."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError as exc:
        return exc
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.X_OK, effective_ids=True):
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return None


def _lower(exc: OSError) -> str:
    text = exc.strerror or str(exc)
    return text[:1].lower() + text[1:]
