"""Takes away what Python's documentation says is not there on macOS or Windows (`DOCKC_TESTS_SYSTEM`).

On PYTHONPATH it is loaded before anything of dockc is. What others need to be loaded on Linux is loaded first. It cannot
make the paths, locks and permissions of another system, nor Windows's own event loop: of that it takes away what
dockc may not use.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

SYSTEM = os.environ.get("DOCKC_TESTS_SYSTEM", "")
FIRST = (
    "asyncio", "concurrent.futures", "ctypes.util", "getpass", "glob", "gzip", "http.server", "importlib.metadata",
    "inspect", "json", "locale", "logging", "multiprocessing", "platform", "random", "selectors", "shutil", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "sysconfig", "tempfile", "threading", "uuid", "webbrowser", "zipfile",
    "rich.console", "rich.live", "rich.progress", "rich.syntax", "rich.table", "typer", "typer.rich_utils",
)  # fmt: skip
ONLY_LINUX = {
    "os": "pidfd_open memfd_create getxattr setxattr listxattr removexattr sched_getaffinity sched_setaffinity copy_file_range "
    "eventfd posix_fadvise posix_fallocate O_PATH O_TMPFILE O_DIRECT unshare setns waitid P_PIDFD P_PID WEXITED splice "
    "setresuid setresgid getresuid pipe2 fdatasync",
    "signal": "sigtimedwait sigwaitinfo",
    "socket": "AF_VSOCK AF_NETLINK AF_PACKET SO_PEERCRED SO_PASSCRED SOCK_CLOEXEC SOCK_NONBLOCK",
}
NOT_WINDOWS = {
    "os": "geteuid getuid getgid getegid getgroups fork forkpty setsid setuid setgid seteuid setegid chown lchown fchown mknod "
    "mkfifo getpgid setpgid getpgrp killpg O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK O_NOCTTY O_SYNC sysconf uname statvfs "
    "fstatvfs sendfile wait wait3 wait4 WNOHANG getloadavg register_at_fork major minor makedev pread pwrite preadv openpty "
    "ttyname tcgetpgrp nice initgroups fchdir chroot sync lockf posix_spawn WIFEXITED WIFSIGNALED pathconf fchmod environb getenvb",
    "signal": "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGWINCH SIGCHLD SIGPIPE SIGTSTP SIGCONT SIGSTOP SIGALRM SIGKILL SIGTTOU SIGTTIN "
    "SIGXFSZ pthread_sigmask pthread_kill sigpending sigwait alarm setitimer SIG_BLOCK SIG_SETMASK SIG_UNBLOCK",
    "socket": "AF_UNIX send_fds recv_fds SCM_RIGHTS MSG_DONTWAIT MSG_NOSIGNAL CMSG_LEN",
}
BUILT = {"os": "posix", "signal": "_signal", "socket": "_socket"}
NO_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "readline", "curses")


class _Gone:
    def find_spec(self, name: str, *_: object) -> None:
        if name in NO_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _without(names: dict[str, str]) -> None:
    for module, words in names.items():
        for word in words.split():
            for home in (module, BUILT[module]):
                if hasattr(found := import_module(home), word):
                    delattr(found, word)


def _like_windows(asyncio: ModuleType, socket: ModuleType) -> None:
    for name in NO_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Gone())

    def no(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError("Windows's event loop has none")

    for name in ("add_reader", "add_writer", "add_signal_handler", "create_unix_connection", "create_unix_server"):
        setattr(asyncio.SelectorEventLoop, name, no)

    def pair(*_: object) -> tuple[Any, Any]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1)
            return socket.create_connection(listening.getsockname()), listening.accept()[0]

    socket.socketpair = pair  # type: ignore[attr-defined]
    opened = os.open

    def open_file(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if os.path.isdir(path):  # noqa: PTH112 - a Path would open its way here again
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, mode)

    os.open = open_file
    os.supports_dir_fd.clear()


if SYSTEM:
    for first in FIRST:
        import_module(first)
    import sysconfig

    sysconfig.get_config_vars()
    import_module("asyncio").new_event_loop().close()  # 3.14 chooses the system's kind of loop when the first is made
    _without(ONLY_LINUX)
    os.process_cpu_count = os.cpu_count  # type: ignore[attr-defined]  # 3.13 on; made at import, of the affinity where there is one
    if SYSTEM == "win32":
        _without(NOT_WINDOWS)
        _like_windows(import_module("asyncio"), import_module("socket"))
    sys.platform = SYSTEM
