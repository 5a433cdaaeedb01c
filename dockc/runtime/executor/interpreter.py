"""Our own interpreter, out of the reach of steps.

The program that a container's first process executes is this interpreter until execve, and a step may name
/proc/self/exe as its command, a link's target or a script's interpreter: it then runs the host's file, with
libraries of its choice, and may open that file for writing (CVE-2019-5736). So the file is covered by a
read-only mount of itself, in the builder's mount namespace only; helpers started afterwards run from there,
and no step has the capability to change a mount.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from dockc.errors import DockcError
from dockc.runtime.kernel import syscalls


def protect_interpreter() -> None:
    """Mount the interpreter's file read-only over itself. Call it in a mount namespace of our own.

    Raises:
        DockcError: the kernel refuses, and the file is one that this process could write to.
    """
    path = Path(sys.executable).resolve()
    try:
        _cover(path)
    except OSError as exc:
        if os.access(path, os.W_OK):
            raise DockcError(
                f"cannot protect {path} from the steps: {exc.strerror}",
                hint="Run dockc with an interpreter that this user cannot write to.",
            ) from exc


def _cover(path: Path) -> None:
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if os.fstatvfs(file).f_flag & os.ST_RDONLY:
            return
        try:
            _attach_read_only(file)
        except OSError as exc:
            if exc.errno != errno.ENOSYS:
                raise
            _cover_in_two_steps(path)
    finally:
        os.close(file)


def _attach_read_only(file: int) -> None:
    tree = syscalls.open_tree_clone(file)
    try:
        syscalls.mount_setattr(tree, syscalls.MOUNT_ATTR_RDONLY, recursive=False)
        syscalls.move_mount(tree, file)
    finally:
        os.close(tree)


def _cover_in_two_steps(path: Path) -> None:
    """Before Linux 5.12: a remount sets all flags anew, so those that are there must be repeated."""
    syscalls.mount(str(path), str(path), None, syscalls.MS_BIND)
    now = os.statvfs(path).f_flag
    now &= syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOATIME | syscalls.MS_NODIRATIME
    syscalls.mount(None, str(path), None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | now)
