"""Mount points that had to be made in the rootfs, and their removal after the run.

A bind mount needs something to be mounted on. What was not there before must not show in the layer:
it is removed again if it is still empty, and the parent keeps its times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dockc.runtime.executor.rootpath import root_path

ALWAYS = ("/etc/resolv.conf", "/etc/hosts")


class MountStubs:
    """Remembers which mount points are missing; `clean` removes those made since."""

    def __init__(self, rootfs: Path, dests: Sequence[str], *, recursive: bool) -> None:
        """Look, before anything is mounted.

        Args:
            rootfs: the container's root.
            dests: destinations of mounts, beside /etc/resolv.conf and /etc/hosts.
            recursive: remember missing parent directories too.
        """
        self._root = str(rootfs).rstrip("/")
        self._missing: list[str] = []
        for dest in (*ALWAYS, *dests):
            if dest.strip("/") == "":
                continue
            try:
                real = root_path(self._root, dest)
            except OSError:
                continue
            while real != self._root and not os.path.lexists(real):
                if real not in self._missing:
                    self._missing.append(real)
                if not recursive:
                    break
                real = os.path.dirname(real)  # noqa: PTH120 - plain text, as root_path gave it
        # Children before parents, whatever order the mounts came in.
        self._missing.sort(key=lambda path: path.count("/"), reverse=True)

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
        parent = os.path.dirname(path)  # noqa: PTH120
        before = os.stat(parent)  # noqa: PTH116
        if is_dir:
            os.rmdir(path)  # noqa: PTH106
        else:
            os.unlink(path)  # noqa: PTH108
        # A layer must not tell by its times that something was mounted here.
        os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
