"""Names of users and groups, looked up in the `/etc/passwd` and `/etc/group` of a root file system."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from dockc.base.record import Record
from dockc.golang.numbers import NumberError, parse_int
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.inroot import Root, open_entry

MAX_FILE = 10 << 20
"""A larger passwd or group file is refused."""


class Owner(Record):
    """Numeric ids."""

    uid: int
    gid: int


def find_user(root: Root, name: str) -> Owner | None:
    """The ids of the first user with this name; None if there is none, or no passwd file."""
    for fields in _lines(root, "/etc/passwd"):
        if fields[0] == name:
            return Owner(_number(fields, 2), _number(fields, 3))
    return None


def find_group(root: Root, name: str) -> int | None:
    """The id of the first group with this name; None if there is none, or no group file."""
    for fields in _lines(root, "/etc/group"):
        if fields[0] == name:
            return _number(fields, 2)
    return None


def _number(fields: list[str], index: int) -> int:
    """A numeric field, of 64 bits at the most; 0 where it is missing or not a number."""
    text = fields[index] if index < len(fields) else ""
    try:
        return parse_int(text)
    except NumberError as error:
        return 0 if error.reason == "invalid syntax" else -(1 << 63) if text.startswith("-") else (1 << 63) - 1


def _lines(root: Root, path: str) -> Iterator[list[str]]:
    try:
        resolved = root.resolve(path)
        with root.parent(resolved) as (fd, name):
            file = open_entry(fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, path)
    except FileError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise FileError(f"{resolved} is not a regular file")
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise FileError(f'"{resolved}" exceeds {MAX_FILE} bytes')
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        text = line.strip()
        if text:
            yield text.split(":")
