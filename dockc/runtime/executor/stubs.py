"""Mount points that had to be made in the rootfs, and their removal after the run.

A bind mount needs something to be mounted on. What was not there before must not show in the layer:
it is removed again if it is still empty, and the parent keeps its times.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from dockc.base.folders import Folders
from dockc.runtime.kernel.rootpath import root_path

ALWAYS = (("/etc/resolv.conf", False), ("/etc/hosts", False))


class MountStubs:
    """Makes the missing mount points of a run and removes them again.

    They are made here, before the run, as BuildKit's runc makes them: the directory that a mount point was made in has
    the time of the run, which shows where the layer has that directory for another reason. Their removal leaves no
    trace.
    """

    def __init__(self, rootfs: Path, dests: Sequence[tuple[str, bool]], *, recursive: bool) -> None:
        """Look, before anything is mounted.

        Args:
            rootfs: the container's root.
            dests: destinations of mounts, each with whether it is a directory; /etc/resolv.conf and /etc/hosts
                are known.
            recursive: parent directories that had to be made are removed too.
        """
        self._root = str(rootfs).rstrip("/")
        self._make: list[tuple[str, bool]] = []
        inner = Folders(dest for dest, _ in dests)
        missing: dict[str, None] = {}
        for dest, is_dir in (*ALWAYS, *dests):
            if dest.strip("/") == "":
                continue
            try:
                real = root_path(self._root, dest)
            except OSError:
                continue
            if dest not in inner:
                self._make.append((real, is_dir))
            while real != self._root and real not in missing and not os.path.lexists(real):
                missing[real] = None
                if not recursive:
                    break
                real = os.path.dirname(real)  # noqa: PTH120 - plain text, as root_path gave it
        # Children before parents, whatever order the mounts came in.
        self._missing = sorted(missing, key=lambda path: path.count("/"), reverse=True)

    def make(self) -> None:
        """Make the mount points that lie in the rootfs itself; what fails here is reported by the run."""
        for real, is_dir in self._make:
            try:
                self._make_one(real, is_dir)
            except OSError:
                continue

    def _make_one(self, real: str, is_dir: bool) -> None:
        chain: list[str] = []
        at = real
        while at != self._root and not os.path.lexists(at):
            chain.append(at)
            at = os.path.dirname(at)  # noqa: PTH120
        for path in reversed(chain):
            if is_dir or path != real:
                os.mkdir(path, 0o755)  # noqa: PTH102
                # whatever the umask
                os.chmod(path, 0o755 | os.stat(path).st_mode & stat.S_ISGID)  # noqa: PTH101, PTH116, S103
            else:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
                os.fchmod(file, 0o644)
                os.close(file)

    def clean(self) -> None:
        """Remove what was made and is still empty; errors leave it in place."""
        for path in self._missing:
            try:
                self._clean_one(path)
            except OSError:
                continue

    def _clean_one(self, path: str) -> None:
        if root_path(self._root, path[len(self._root) :]) != path:
            return  # the run put a link in its way
        info = os.lstat(path)
        is_dir = stat.S_ISDIR(info.st_mode)
        if os.listdir(path) if is_dir else info.st_size:  # noqa: PTH208
            return
        with _same_times(os.path.dirname(path)):  # noqa: PTH120
            if is_dir:
                os.rmdir(path)  # noqa: PTH106
            else:
                os.unlink(path)  # noqa: PTH108


@contextlib.contextmanager
def _same_times(directory: str) -> Iterator[None]:
    """Change a directory's entries without a trace in its times: a layer must not tell what was mounted."""
    before = os.stat(directory)  # noqa: PTH116
    yield
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
