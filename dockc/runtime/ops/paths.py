"""Paths that operations name: one that no system call takes is refused before anybody walks along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.errors import InvalidDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dockc.llb.pb import ops_pb2

MAX_PATH = 4095
"""Bytes of a path, without its zero byte (`PATH_MAX` of Linux)."""


def check_exec(op: ops_pb2.ExecOp) -> None:
    """Refuse paths of a process that are too long.

    Raises:
        InvalidDefinition: which one it is.
    """
    _check((op.meta.cwd,))
    _check(path for mount in op.mounts for path in (mount.dest, mount.selector))


def check_file(op: ops_pb2.FileOp) -> None:
    """The same for actions on files."""
    _check(path for action in op.actions for path in _paths(action))


def _paths(action: ops_pb2.FileAction) -> Iterator[str]:
    match action.WhichOneof("action"):
        case "copy":
            yield from (action.copy.src, action.copy.dest)
        case "mkfile":
            yield action.mkfile.path
        case "mkdir":
            yield action.mkdir.path
        case "rm":
            yield action.rm.path
        case "symlink":
            yield from (action.symlink.oldpath, action.symlink.newpath)


def _check(paths: Iterable[str]) -> None:
    for path in paths:
        if len(path) > MAX_PATH or (not path.isascii() and len(path.encode("utf-8", "surrogatepass")) > MAX_PATH):
            raise InvalidDefinition(f"open {path[:80]}...: file name too long")
