"""File trees as JSON values: made on disk, and read back for comparison.

A row is `[path, kind, mode, [uid, gid], content, mtime, xattrs]`; kinds are `d` directory, `f` file, `l` symbolic
link, `h` hard link to an earlier row, `p` pipe. Strings are bytes, one code point each; file contents that are not
plain text are `base64:...`. An mtime is in nanoseconds,
or null for "just now".
"""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

Row = list[Any]
NOW = 1_700_000_000_000_000_000
"""Later than any time in a recorded tree."""


def need_root() -> None:
    """Skip where files cannot be given to other owners."""
    if os.geteuid() != 0:
        pytest.skip("making files of several owners needs root")


def decode(text: str) -> str:
    return text.encode("latin1").decode("utf-8", "surrogateescape")


def encode(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin1")


def decode_content(text: str) -> bytes:
    plain = text.removeprefix("base64:")
    return text.encode() if plain == text else base64.b64decode(plain)


def encode_content(data: bytes) -> str:
    if data.isascii() and data.decode().isprintable():
        return data.decode()
    return "base64:" + base64.b64encode(data).decode()


def build(root: Path, rows: list[Row]) -> Path:
    """Make a tree; the row `.` is the root itself."""
    root.mkdir(parents=True, exist_ok=True)
    for path, kind, mode, owner, content, _, xattrs in rows:
        target = root / decode(path)
        if kind == "d":
            target.mkdir(exist_ok=True)
        elif kind == "f":
            target.write_bytes(decode_content(content))
        elif kind == "l":
            target.symlink_to(decode(content))
        elif kind == "h":
            target.hardlink_to(root / decode(content))
            continue
        else:
            os.mkfifo(target)
        os.chown(target, *owner, follow_symlinks=False)
        if kind != "l":
            target.chmod(mode)
        for key, value in xattrs.items():
            os.setxattr(target, key, value.encode("latin1"))
    for path, _, _, _, _, mtime, _ in reversed(rows):
        if mtime is not None:
            os.utime(root / decode(path), ns=(mtime, mtime), follow_symlinks=False)
    return root


def read(root: Path) -> list[Row]:
    """The rows of a tree, sorted by path."""
    found: list[Row] = []
    linked: dict[int, str] = {}
    paths = [root]
    for folder, directories, files in os.walk(root):
        paths += [Path(folder) / name for name in [*directories, *files]]
    for path in sorted(paths, key=lambda p: os.fsencode(p.relative_to(root)).split(b"/")):
        status = path.lstat()
        name = encode(str(path.relative_to(root)))
        mode = status.st_mode
        kind, content = "p", ""
        if stat.S_ISDIR(mode):
            kind = "d"
        elif stat.S_ISLNK(mode):
            kind, content = "l", encode(str(path.readlink()))
        elif stat.S_ISREG(mode):
            kind, content = "f", encode_content(path.read_bytes())
        if kind != "d" and linked.setdefault(status.st_ino, name) != name:
            kind, content = "h", linked[status.st_ino]
        xattrs = {}
        if kind != "l":
            xattrs = {k: os.getxattr(path, k).decode("latin1") for k in sorted(os.listxattr(path))}
        mtime = status.st_mtime_ns if status.st_mtime_ns < NOW else None
        owner = [status.st_uid, status.st_gid]
        found.append([name, kind, stat.S_IMODE(mode), owner, content, mtime, xattrs])
    return found
