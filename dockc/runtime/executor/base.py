"""What every executor understands: the process, its mounts, its output, and how it ended.

Terms follow LLB's ExecOp and the OCI runtime specification. All paths inside the container are
POSIX strings, all paths of the builder are `Path`s valid in the builder's mount namespace
(see `rootless.enter_build_namespace`).
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.golang.ospaths import DEFAULT_PATH as DEFAULT_PATH

if TYPE_CHECKING:
    from dockc.llb.definition import LinuxResources

DEFAULT_HOSTNAME = "buildkitsandbox"


class NetworkMode(enum.IntEnum):
    """`pb.NetMode`. UNSET is the builder's default: the host's network, or what CNI plugins make (`cni`)."""

    UNSET = 0
    HOST = 1
    NONE = 2


class SecurityMode(enum.IntEnum):
    """`pb.SecurityMode`."""

    SANDBOX = 0
    INSECURE = 1


class Rlimit(Record):
    """One resource limit; `name` as in setrlimit(2) without `RLIMIT_`, any case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class HostEntry(Record):
    """One extra line of /etc/hosts."""

    host: str
    ip: str


class Dns(Record, kw_only=True):
    """What /etc/resolv.conf says in place of the host's own; an empty part is left to the host."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class ExecSpec(Record, kw_only=True):
    """The process to run and its surroundings, all but files.

    Attributes:
        args: argv; `args[0]` is looked up in PATH of `env` if it holds no slash.
        env: `NAME=value` entries; of equal names the last counts.
        cwd: absolute; created (0755, owned by the user) if missing.
        user: `name`, `uid`, `name:group`, `uid:gid`, or "" for root; resolved in the rootfs.
        hostname: "" is `DEFAULT_HOSTNAME`.
        valid_exit_codes: None means only 0; checked by the caller, not by the executor.
        network_namespace: path of a namespace to join where `network` is UNSET; "" for the host's.
        dns: for /etc/resolv.conf, or None for the host's.
        resources: limits that a control group keeps, or None.
        no_new_privileges: BuildKit leaves it off, so that setuid programs (sudo) work.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    hostname: str = ""
    extra_hosts: tuple[HostEntry, ...] = ()
    network: NetworkMode = NetworkMode.UNSET
    network_namespace: str = ""
    dns: Dns | None = None
    security: SecurityMode = SecurityMode.SANDBOX
    rlimits: tuple[Rlimit, ...] = ()
    cgroup_parent: str = ""
    resources: LinuxResources | None = None
    readonly_rootfs: bool = False
    remove_mount_stubs_recursive: bool = False
    valid_exit_codes: tuple[int, ...] | None = None
    no_new_privileges: bool = False


class ResolvedMount(Record, kw_only=True):
    """One mount beside the root, its source already a path of the builder.

    Attributes:
        dest: absolute path in the container; resolved inside the rootfs, created if missing.
        kind: `bind` needs `source` (a directory, a file or a socket); `tmpfs` has none.
        selector: path below `source` to mount, resolved inside it.
        size: bytes of a tmpfs, 0 for the kernel's default.
    """

    dest: str
    kind: Literal["bind", "tmpfs"] = "bind"
    source: Path | None = None
    selector: str = ""
    readonly: bool = False
    nodev: bool = False
    nosuid: bool = False
    noexec: bool = False
    size: int = 0


def _drop(_: bytes) -> None:
    return None


class Running(Protocol):
    """A program that runs, for those who want to reach it."""

    def signal(self, number: int) -> None:
        """Send a signal to the program, pid 1 of its container."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Tell a program with a terminal the size of its window."""
        ...


def _unheard(_: str) -> None:
    return None


def _alone(_: Running) -> None:
    return None


class ExecIO(Record):
    """Where output goes and input comes from; functions are called from the thread that called `run`, output with raw
    bytes.

    Attributes:
        stdin: a descriptor that the program reads from, which stays the caller's; None is an input that has ended.
        terminal: the program gets a terminal of its own for all three streams; what it shows there goes to `stdout`.
        started: told as soon as the program can be reached.
        noticed: told why a program ended where its status does not say it: it was killed for memory.
    """

    stdout: Callable[[bytes], None] = _drop
    stderr: Callable[[bytes], None] = _drop
    stdin: int | None = None
    terminal: bool = False
    started: Callable[[Running], None] = _alone
    noticed: Callable[[str], None] = _unheard


class ExecutorError(DockcError):
    """The container could not be set up; `exit_status` is what a shell would give (126, 127) or 255."""

    def __init__(self, message: str, *, exit_status: int = 255, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status


class ExecCancelled(ExecutorError):
    """`cancelled` was set; by now no process of the container is left."""


class Executor(Protocol):
    """Runs one process in a container of its own, blocking the calling thread until it has ended."""

    @property
    def name(self) -> str:
        """`embedded`, `crun` or `runc`."""
        ...

    def run(
        self,
        spec: ExecSpec,
        rootfs: Path,
        mounts: Sequence[ResolvedMount],
        io: ExecIO,
        cancelled: threading.Event,
    ) -> int:
        """Run to the end and return the exit status, 128 + n for signal n.

        When it returns or raises, no process of the container is left, nothing is mounted below
        `rootfs`, and mount points that had to be made in it are removed again.

        Raises:
            ExecutorError: the container could not be started (the message says what was refused).
            ExecCancelled: `cancelled` was set meanwhile.
        """
        ...
