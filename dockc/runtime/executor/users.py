"""Who runs: `USER` values looked up in the image's own /etc/passwd and /etc/group.

The rules and messages are those of the reference (moby/sys/user): a number that stands in neither file is
used as it is, a name must be found; groups that list the user are added unless a group was named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.runtime.kernel.rootpath import open_in_root

MAX_FILE = 10 << 20
_MAX_ID = 2**31 - 1
_NUMBER = pattern(r"[+-]?[0-9]+")
_UINT32 = pattern(r"[0-9]+")


class ExecUser(Record):
    """Numeric ids of a process; `groups` begins with `gid`."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class _PasswdLine(Record):
    name: str
    uid: int
    gid: int
    home: str


class _GroupLine(Record):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(rootfs: Path, spec: str) -> ExecUser:
    """Resolve a USER value inside a root file system.

    Args:
        rootfs: the container's root as a directory of the builder.
        spec: `user`, `uid`, `user:group`, `uid:gid` or "" for root.

    Raises:
        DockcError: an unknown name, an id out of range, a user file that is no regular file or too large.
    """
    fast = _both_numbers(spec)
    if fast is not None:
        uid, gid = fast
        return ExecUser(uid, gid, (gid,), _home_of(rootfs, uid))
    try:
        uid, gid, groups = _look_up(rootfs, spec or "0")
    except DockcError:
        if spec:
            raise
        uid, gid, groups = 0, 0, ()
    return ExecUser(uid, gid, groups if gid in groups else (gid, *groups), _home_of(rootfs, uid))


def _both_numbers(spec: str) -> tuple[int, int] | None:
    user, colon, group = spec.partition(":")
    uid, gid = _uint32(user), _uint32(group)
    return (uid, gid) if colon and uid is not None and gid is not None else None


def _uint32(text: str) -> int | None:
    if text == "root":
        return 0
    if _UINT32.fullmatch(text) is None or int(text) >= 2**32:
        return None
    return int(text)


def _look_up(rootfs: Path, spec: str) -> tuple[int, int, tuple[int, ...]]:
    parts = spec.split(":")
    user_arg, group_arg = parts[0], parts[1] if len(parts) > 1 else ""
    uid_arg, gid_arg = _numeric(user_arg), _numeric(group_arg)

    def is_wanted(line: _PasswdLine) -> bool:
        if not user_arg:
            return line.uid == 0
        return line.uid == uid_arg if uid_arg is not None else line.name == user_arg

    uid = gid = 0
    try:
        found = next((line for line in _passwd(rootfs) if is_wanted(line)), None)
    except DockcError as exc:
        raise DockcError(f"unable to find user {user_arg or 0}: {exc.message}") from exc
    if found is not None:
        uid, gid = found.uid, found.gid
    elif user_arg:
        if uid_arg is None:
            raise DockcError(f"unable to find user {user_arg}: no matching entries in passwd file")
        uid = uid_arg
    member = found.name if found is not None else ""
    if not group_arg and not member:
        return uid, gid, ()
    try:
        groups = list(_group(rootfs))
    except DockcError as exc:
        raise DockcError(f"unable to find groups for spec {member}: {exc.message}") from exc
    if not group_arg:
        return uid, gid, tuple(g.gid for g in groups if member in g.members)
    matching = (g.gid for g in groups if (g.gid == gid_arg if gid_arg is not None else g.name == group_arg))
    named = next(matching, gid_arg)
    if named is None:
        raise DockcError(f"unable to find group {group_arg}: no matching entries in group file")
    return uid, named, ()


def _numeric(text: str) -> int | None:
    """The number that a text is, or None; out of range is an error, as the reference has it."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    if not 0 <= number <= _MAX_ID:
        raise DockcError(f"uids and gids must be in range 0-{_MAX_ID}")
    return number


def _home_of(rootfs: Path, uid: int) -> str:
    try:
        return next((line.home for line in _passwd(rootfs) if line.uid == uid and line.home), "/")
    except DockcError:
        return "/"


def _passwd(rootfs: Path) -> Iterator[_PasswdLine]:
    for line in _lines(rootfs, "/etc/passwd"):
        parts = [*line.split(":"), "", "", "", "", "", ""]
        yield _PasswdLine(parts[0], _int(parts[2]), _int(parts[3]), parts[5])


def _group(rootfs: Path) -> Iterator[_GroupLine]:
    for line in _lines(rootfs, "/etc/group"):
        if line.startswith("#"):
            continue
        parts = [*line.split(":"), "", "", ""]
        yield _GroupLine(parts[0], _int(parts[2]), tuple(parts[3].split(",")) if parts[3] else ())


def _int(text: str) -> int:
    return int(text) if _NUMBER.fullmatch(text) else 0


def _lines(rootfs: Path, name: str) -> Iterator[str]:
    data = read_in_root(rootfs, name, MAX_FILE)
    if data is None:
        return
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if stripped := line.strip():
            yield stripped


def read_in_root(rootfs: Path, name: str, limit: int) -> bytes | None:
    """A regular file of a root file system, or None if it is missing or no regular file.

    Raises:
        DockcError: it is larger than `limit` bytes.
    """
    try:
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(root_fd, name)
        finally:
            os.close(root_fd)
        try:
            # Looked at before it is opened for reading: opening a device or a FIFO would have effects.
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            with open(f"/proc/self/fd/{fd}", "rb") as stream:  # noqa: PTH123
                data = stream.read(limit + 1)
        finally:
            os.close(fd)
    except OSError:
        return None
    if len(data) > limit:
        raise DockcError(f'"{name}" exceeds {limit} bytes')
    return data
