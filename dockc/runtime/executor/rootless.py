"""The builder's own namespaces: a private mount namespace, and for ordinary users a user namespace around it.

    root (CAP_SYS_ADMIN)   unshare(mount)
    ordinary user          unshare(user + mount); ids mapped by newuidmap/newgidmap from /etc/subuid and
                           /etc/subgid, or the user's own id alone to 0 where there are none

The process goes on as the same process (same pid, same terminal), as uid 0 of the new namespace.
Every later thread and child inherits it, so all later code simply mounts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dockc.base import children
from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.runtime.executor.interpreter import protect_interpreter
from dockc.runtime.kernel import syscalls
from dockc.runtime.kernel.proc import has_capability

_CAP_SYS_ADMIN = 21
_ANSWER = b"="
"""What the mapping child's answer begins with: without it there is none."""
_LEAVING = 2.0
"""Seconds that a joined thread gets to leave the kernel's list."""


class IdRange(Record):
    """`count` ids from `inside` on are those from `outside` on in the parent namespace."""

    inside: int
    outside: int
    count: int


class BuildNamespace(Record):
    """Where the builder runs.

    Attributes:
        rootless: inside a user namespace other than the initial one (ours or an outer one).
        uids: the user ids that exist here; a chown to others fails with EINVAL.
        gids: the same for groups.
        reason: why fewer ids than usual are mapped, or "".
    """

    rootless: bool
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    reason: str = ""

    @property
    def single_id(self) -> bool:
        """Only one user id exists: files of other owners cannot be made as such."""
        return sum(r.count for r in self.uids) == 1

    def has_uid(self, uid: int) -> bool:
        """Whether `uid` can own files here."""
        return any(r.inside <= uid < r.inside + r.count for r in self.uids)

    def has_gid(self, gid: int) -> bool:
        """Whether `gid` can own files here."""
        return any(r.inside <= gid < r.inside + r.count for r in self.gids)

    def missing(self, uid: int, gid: int, groups: Sequence[int]) -> str:
        """Why no process can have these ids here, or "" where it can."""
        from dockc.runtime.executor.sandbox import unmapped

        if absent := [one for one in (gid, *(() if self.single_id else groups)) if not self.has_gid(one)]:
            return unmapped("group", list(dict.fromkeys(absent)))
        return "" if self.has_uid(uid) else unmapped("user", [uid])


_WHOLE = (IdRange(0, 0, 2**32 - 1),)
# The namespace of this process, once entered: at most one entry, written by enter_build_namespace alone.
_entered: list[BuildNamespace] = []


def current() -> BuildNamespace | None:
    """The namespace entered by this process, or None."""
    return _entered[0] if _entered else None


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the initial one."""
    return read_id_map("uid") != _WHOLE


def enter_build_namespace() -> BuildNamespace:
    """Enter the builder's namespace once; later calls return the same value.

    Call it from the main thread before others are started: a mount namespace belongs to the calling
    thread and those that it starts, and the kernel makes a user namespace only for a process of one thread.

    Raises:
        DockcError: the kernel or its configuration refuses; message and hint say which setting.
    """
    if not _entered:
        space = _enter_mount_namespace() if has_sys_admin() else _enter_user_namespace()
        protect_interpreter()
        _entered.append(space)
    return _entered[0]


def has_sys_admin() -> bool:
    """Whether this process may mount in its present user namespace."""
    return has_capability(_CAP_SYS_ADMIN)


def read_id_map(kind: str) -> tuple[IdRange, ...]:
    """This process's `uid` or `gid` map."""
    rows = (line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines())
    return tuple(IdRange(int(a), int(b), int(c)) for a, b, c in rows)


def _enter_mount_namespace() -> BuildNamespace:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        _make_private()
    except OSError as exc:
        if exc.errno == errno.EINVAL:  # from _make_private
            raise DockcError(
                "cannot make a mount namespace: the root directory of this process is not a mount point, as in a "
                "plain chroot",
                hint="Bind mount the directory on itself before chroot, or use pivot_root.",
            ) from exc
        raise DockcError(
            f"cannot make a mount namespace: {exc.strerror}",
            hint="Run dockc with CAP_SYS_ADMIN, or as an ordinary user on a kernel with user namespaces.",
        ) from exc
    uids, gids = read_id_map("uid"), read_id_map("gid")
    return BuildNamespace(rootless=uids != _WHOLE, uids=uids, gids=gids)


def _make_private() -> None:
    # Slave, not private: what the host mounts later (an NFS home, a USB disk) still appears here,
    # and nothing that we mount ever appears there.
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)


def _threads() -> int:
    """Threads of this process as the kernel counts them; one that was joined may take a moment longer to leave
    there.
    """
    until = time.monotonic() + _LEAVING
    while (count := _tasks()) > 1 and threading.active_count() == 1 and time.monotonic() < until:
        time.sleep(0.001)
    return count


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a Path walk says no more


def _enter_user_namespace() -> BuildNamespace:
    threads = _threads()
    if threads != 1:
        raise DockcError(
            f"cannot make a user namespace in a process of {threads} threads",
            hint="Call enter_build_namespace() before any thread is started.",
        )
    uid, gid = os.geteuid(), os.getegid()
    plan = _MapPlan.for_user(uid, gid)
    _keep_home(uid)
    mapper = _Mapper(plan) if plan.by_helper else None
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    except OSError as exc:
        if mapper is not None:
            mapper.abandon()
        raise _refused(exc) from exc
    reason = plan.reason
    if mapper is not None:
        trouble = mapper.run()
        if trouble and read_id_map("uid"):
            raise DockcError(f"cannot map groups: {trouble}", hint="Compare /etc/subuid and /etc/subgid.")
        if trouble:
            reason = trouble
            plan = _MapPlan.single(uid, gid, trouble)
    if not plan.by_helper:
        _write_single_map(uid, gid)
    _become_root(setgroups=plan.by_helper)
    try:
        _make_private()
    except OSError as exc:
        raise _refused(exc) from exc
    return BuildNamespace(rootless=True, uids=plan.uids, gids=plan.gids, reason=reason)


def _keep_home(uid: int) -> None:
    """Say where this user's home is while the user is still known: inside, everybody is root, whose home is another."""
    if not os.environ.get("HOME"):
        try:
            os.environ["HOME"] = pwd.getpwuid(uid).pw_dir
        except KeyError:
            os.environ["HOME"] = "/"


def _is_chrooted() -> bool:
    """Whether the root directory is no mount point, as in a plain chroot: the kernel makes no user namespace there."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return bool(mounts) and not any(line.split(" ", 5)[4] == "/" for line in mounts)


def _refused(exc: OSError) -> DockcError:
    hint = "Run as root, or allow user namespaces for ordinary users."
    if exc.errno == errno.EPERM and _is_chrooted():
        hint = "In a plain chroot the kernel makes none: bind mount the directory on itself and use pivot_root, or run as root."
    elif _sysctl("kernel/apparmor_restrict_unprivileged_userns") not in ("", "0"):
        hint = "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    elif _sysctl("kernel/unprivileged_userns_clone") == "0":
        hint = "User namespaces are switched off: sysctl kernel.unprivileged_userns_clone=1"
    elif exc.errno == errno.ENOSPC or _sysctl("user/max_user_namespaces") == "0":
        hint = "No user namespace is left: raise sysctl user.max_user_namespaces"
    elif exc.errno == errno.EPERM and Path("/.dockerenv").exists():
        hint = "This container may not make namespaces: start it with --privileged."
    elif exc.errno == errno.EPERM:
        hint += " After a chroot the kernel makes none, whatever it allows elsewhere: enter by pivot_root."
    return DockcError(f"cannot make a user namespace: {exc.strerror}", hint=hint)


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _write_single_map(uid: int, gid: int) -> None:
    try:
        # The kernel lets an unprivileged process map its group only after it gave up setgroups(2).
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as exc:
        raise _refused(exc) from exc


def _become_root(*, setgroups: bool) -> None:
    try:
        os.setresgid(0, 0, 0)
        if setgroups:
            os.setgroups([0])
        os.setresuid(0, 0, 0)
        # A change of ids makes a process undumpable, and then its own /proc entries are not its own.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    except OSError as exc:
        raise DockcError(f"cannot become root of the user namespace: {exc.strerror}") from exc


class _MapPlan(Record):
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    by_helper: bool
    reason: str = ""

    @classmethod
    def single(cls, uid: int, gid: int, reason: str) -> _MapPlan:
        return cls((IdRange(0, uid, 1),), (IdRange(0, gid, 1),), by_helper=False, reason=reason)

    @classmethod
    def for_user(cls, uid: int, gid: int) -> _MapPlan:
        missing = [tool for tool in ("newuidmap", "newgidmap") if shutil.which(tool) is None]
        if missing:
            return cls.single(uid, gid, f"{' and '.join(missing)} not installed")
        sub_uids, sub_gids = subordinate_ids("/etc/subuid", uid), subordinate_ids("/etc/subgid", uid)
        if not sub_uids or not sub_gids:
            return cls.single(uid, gid, f"no ranges for user {uid} in /etc/subuid and /etc/subgid")
        return cls(_with_own(uid, sub_uids), _with_own(gid, sub_gids), by_helper=True)


def _with_own(own: int, ranges: tuple[tuple[int, int], ...]) -> tuple[IdRange, ...]:
    rows = [IdRange(0, own, 1)]
    for start, count in ranges:
        rows.append(IdRange(rows[-1].inside + rows[-1].count, start, count))
    return tuple(rows)


def subordinate_ids(file: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The `(start, count)` ranges of a user in a file of subuid(5)'s format, by name or number."""
    try:
        owners = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        owners = {str(uid)}
    try:
        lines = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return ()
    found: list[tuple[int, int]] = []
    for line in lines:
        parts = line.split("#", 1)[0].strip().split(":")
        if len(parts) == 3 and parts[0] in owners and parts[1].isdigit() and parts[2].isdigit():
            start, count = int(parts[1]), int(parts[2])
            if count > 0 and (start, count) not in found:
                found.append((start, count))
    return tuple(found)


class _Mapper:
    """A child that stays in the parent's namespace, where newuidmap must run, until we are in the new one."""

    def __init__(self, plan: _MapPlan) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        target = os.getpid()
        go_read, self._go = os.pipe()
        self._done, done_write = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(go_read)
            os.close(done_write)
            return
        status = 1
        try:
            os.close(self._go)
            os.close(self._done)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the tools' own ends must be known, whoever called
            if os.read(go_read, 1):
                os.write(done_write, _ANSWER + self._map(target, plan).encode()[:4000])
            status = 0
        finally:
            os._exit(status)

    @staticmethod
    def _map(target: int, plan: _MapPlan) -> str:
        for tool, ranges in (("newuidmap", plan.uids), ("newgidmap", plan.gids)):
            numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.count)]
            try:
                command = [tool, str(target), *numbers]
                done = children.run(command)
            except OSError as exc:
                return f"{tool}: {exc.strerror}"
            if done.returncode:
                return f"{tool} failed: {done.stderr.decode(errors='replace').strip() or done.returncode}"
        return ""

    def run(self) -> str:
        """Map; returns what went wrong, or ""."""
        os.write(self._go, b"g")
        return self._finish()

    def abandon(self) -> None:
        """End the child without mapping."""
        self._finish()

    def _finish(self) -> str:
        os.close(self._go)
        with os.fdopen(self._done, "rb") as stream:
            said = stream.read()
        with contextlib.suppress(
            ChildProcessError
        ):  # where SIGCHLD is ignored nothing is left of it; its answer counts
            os.waitpid(self._pid, 0)
        return (
            said.removeprefix(_ANSWER).decode(errors="replace")
            if said.startswith(_ANSWER)
            else "the id mapping child died"
        )
