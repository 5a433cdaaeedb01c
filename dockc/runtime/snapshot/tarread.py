"""Applying a layer's tar stream to a change directory, safely.

The archive is foreign: names never leave the target (`..` above the root is an error, symbolic links are
followed inside it), device 0/0, overlayfs's own attributes and the store's marks cannot be smuggled in, and
sizes are bounded.

Source: OCI image specification, "Image Layer Filesystem Changeset".
"""

# ruff: noqa: PTH101 - paths hang on descriptors: no Path per file
from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from dockc.base.record import Record
from dockc.errors import UnsafePath
from dockc.oci.digest import Reader
from dockc.runtime.archive import tarheader
from dockc.runtime.archive.limits import Limits, check_room
from dockc.runtime.archive.tarheader import InvalidTar, Member, TarReader
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.files import copy_file
from dockc.runtime.snapshot.lookup import Stack
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.rooted import clean_name, open_directory

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."
_BLOCK = 1 << 20
_CHECK_EVERY = 256
_KEPT_OPEN = 64
_LINKS = 40
_DEFAULT_MODE = stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH
_NODES = {
    tarheader.CHAR: stat.S_IFCHR,
    tarheader.BLOCK_DEVICE: stat.S_IFBLK,
    tarheader.FIFO: stat.S_IFIFO,
}
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Applied(Record):
    """What was applied: members and bytes of file data."""

    entries: int
    size: int


def apply_layer(
    stream: Reader,
    target: Path,
    *,
    lowers: Sequence[Path | str] = (),
    opaque: str = "trusted.overlay.opaque",
    limits: Limits | None = None,
    cancelled: threading.Event | None = None,
) -> Applied:
    """Unpack an uncompressed layer into the empty directory `target`, as a change directory.

    Args:
        stream: the tar; read to the end of the archive (the caller drains and verifies what follows).
        target: an empty directory of the store.
        lowers: the layers below, lowest first: parents that the archive leaves out get their attributes from
            there, and hard links may point there.
        opaque: name of the attribute that marks opaque directories.
        limits: bounds; the defaults are generous.
        cancelled: looked at every few hundred members and megabytes.

    Raises:
        InvalidTar: not a tar, or beyond the limits.
        UnsafePath: a name or hard link that leads out of the root.
        Cancelled: `cancelled` was set.
        OSError: the disk is full and the like.
    """
    applier = _Applier(target, lowers, opaque, limits or Limits(), cancelled)
    try:
        return applier.run(stream)
    finally:
        applier.close()


class _NotADirectory(InvalidTar):
    """A member below something that is not a directory."""


class _Applier:
    """One application. All state belongs to the calling thread."""

    def __init__(
        self,
        target: Path,
        lowers: Sequence[Path | str],
        opaque: str,
        limits: Limits,
        cancelled: threading.Event | None,
    ) -> None:
        self._target = str(target)
        self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lower = Stack(lowers)
        self._whole = Stack(lowers, target)
        self._opaque = opaque
        self._limits = limits
        self._cancelled = cancelled
        self._parents: dict[str, int] = {}
        self._times: list[tuple[str, int]] = []
        self._whiteouts: dict[tuple[str, str], None] = {}
        self._entries = self._size = self._total = 0

    def close(self) -> None:
        """Let go of all descriptors."""
        self._forget_parents()
        os.close(self._root)

    def run(self, stream: Reader) -> Applied:
        """Apply every member; then directory times, which making their children has changed."""
        archive = TarReader(stream, max_header=self._limits.header, cancelled=self._cancelled)
        for member in archive:
            self._entries += 1
            if len(self._parents) > _KEPT_OPEN:
                self._forget_parents()
            if self._entries > self._limits.entries:
                raise InvalidTar(f"a layer of more than {self._limits.entries} files")
            self._member(archive, member)
        self._drop_phantoms()
        for path, mtime in reversed(self._times):
            self._set_directory_time(path, mtime)
        return Applied(self._entries, self._size)

    # -- members

    def _member(self, archive: TarReader, member: Member) -> None:
        path = clean_name(member.name)
        if not path:
            if member.kind == tarheader.DIRECTORY:
                self._attributes(f"/proc/self/fd/{self._root}", member, os.fstat(self._root))
                self._times.append(("", member.mtime))
            return
        parent_path, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT):
            try:
                self._whiteout(parent_path, name, path)
            except _NotADirectory:
                pass  # what is hidden is below a file, which hides it already
            return
        if path.startswith(_META):
            return
        parent = self._parent(parent_path)
        # Links in the parent path may have led elsewhere; the descriptor's path is what counts from here on.
        full = f"/proc/self/fd/{parent}/{name}"
        if member.kind == tarheader.REGULAR:  # most are, and most find nothing in their place: making them tells
            self._regular(archive, member, parent, name, full)
            return
        was_whiteout = self._clear(parent, name, path, member)
        made = self._make(member, parent, name, full)
        if not made:
            return
        if member.kind == tarheader.DIRECTORY:
            if was_whiteout:
                marks.set_opaque(full, self._opaque)
            self._times.append((path, member.mtime))

    def _make(self, member: Member, parent: int, name: str, full: str) -> bool:
        kind = member.kind
        if kind == tarheader.HARDLINK:
            self._hard_link(member, parent, name)
            return True
        if kind == tarheader.DIRECTORY:
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                pass
        elif kind == tarheader.SYMLINK:
            if not member.linkname:
                raise InvalidTar(f"{member.name}: a symbolic link without a target")
            os.symlink(member.linkname, name, dir_fd=parent)
        elif kind in _NODES:
            device = os.makedev(member.major & 0xFFF, member.minor & 0xFFFFF)
            if kind == tarheader.CHAR and device == 0:
                self._make_whiteout(parent, name)
                return False
            marks.make_node(name, _NODES[kind], device, parent)
        else:
            return False  # a type that no layer has: volume labels, directory dumps, vendors' own
        self._attributes(full, member, os.lstat(full))
        return True

    def _regular(self, archive: TarReader, member: Member, parent: int, name: str, full: str) -> None:
        self._total += member.real_size
        if self._total > self._limits.total:
            raise InvalidTar(f"a layer of more than {self._limits.total} bytes")
        try:
            descriptor = os.open(name, _WRITE_NEW, 0o600, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, name)
            descriptor = os.open(name, _WRITE_NEW, 0o600, dir_fd=parent)
        try:
            check_room(descriptor, member.size)
            if member.sparse is None:
                self._write(archive, descriptor, member.size)
            else:
                for offset, length in member.sparse:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                    self._write(archive, descriptor, length)
                os.ftruncate(descriptor, member.real_size)
            self._size += member.size
            status = os.fstat(descriptor)
            if (status.st_uid, status.st_gid) != (member.uid, member.gid):
                marks.set_owner(full, member.uid, member.gid, status)
            os.fchmod(descriptor, member.mode)
            for key, value in member.xattrs.items():
                marks.set_attribute(full, key, value)
            os.utime(descriptor, ns=(member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _write(self, archive: TarReader, descriptor: int, size: int) -> None:
        while size:
            data = archive.read(min(size, _BLOCK))
            size -= len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

    def _attributes(self, full: str, member: Member, status: os.stat_result) -> None:
        # The root is known by a descriptor's link in /proc, which must be followed; all others must not be.
        is_link = member.kind == tarheader.SYMLINK
        if full == f"/proc/self/fd/{self._root}":
            full = self._target
        marks.set_owner(full, member.uid, member.gid, status)
        if not is_link:
            os.chmod(full, member.mode)
        for key, value in member.xattrs.items():
            marks.set_attribute(full, key, value)
        if member.kind != tarheader.DIRECTORY:
            os.utime(full, ns=(member.mtime, member.mtime), follow_symlinks=False)

    def _hard_link(self, member: Member, parent: int, name: str) -> None:
        source = clean_name(member.linkname)
        folder, _, base = source.rpartition("/")
        if not base:
            raise UnsafePath(f"{member.name}: a hard link to the root")
        try:
            source_parent = self._existing_parent(folder)
            status = os.stat(base, dir_fd=source_parent, follow_symlinks=False)
            if marks.is_whiteout(f"/proc/self/fd/{source_parent}/{base}", status):
                raise FileNotFoundError(source)
            if stat.S_ISDIR(status.st_mode):
                raise InvalidTar(f"{member.name}: a hard link to {member.linkname}, which is a directory")
        except (FileNotFoundError, NotADirectoryError):
            source_parent = self._copy_up(source, member)
        os.link(base, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)

    def _copy_up(self, path: str, member: Member) -> int:
        """Bring a file of a lower layer into this one, so that it can be linked to; returns its parent."""
        found = self._whole.find(path)
        if found is None:
            raise InvalidTar(f"{member.name}: a hard link to {member.linkname}, which does not exist")
        if stat.S_ISDIR(found.status.st_mode):
            raise InvalidTar(f"{member.name}: a hard link to {member.linkname}, which is a directory")
        folder, _, base = path.rpartition("/")
        parent = self._parent(folder)
        copy_file(found.path, found.status, f"/proc/self/fd/{parent}/{base}")
        return parent

    # -- whiteouts

    def _whiteout(self, parent_path: str, name: str, path: str) -> None:
        if name == OPAQUE:
            descriptor = self._parent(parent_path)
            marks.set_opaque(f"/proc/self/fd/{descriptor}/.", self._opaque)
            return
        if path.startswith(_META) or name.startswith(_META):
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise UnsafePath(f"invalid whiteout {path!r}")
        parent = self._parent(parent_path)
        full = f"/proc/self/fd/{parent}/{hidden}"
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            self._make_whiteout(parent, hidden)
            return
        # Whiteouts speak of lower layers only: what this layer has made stays, and hides what is below.
        if stat.S_ISDIR(status.st_mode):
            marks.set_opaque(full, self._opaque)

    def _drop_phantoms(self) -> None:
        """Remove whiteouts of what nobody has: in a directory of this layer alone the kernel would list them."""
        for number, (folder, name) in enumerate(self._whiteouts):
            if number % _CHECK_EVERY == 0:
                check_cancelled(self._cancelled)
            path = f"{folder}/{name}" if folder else name
            if self._shows_below(folder) and self._lower.find(path) is not None:
                continue
            try:
                parent = open_directory(self._root, folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # its directory has been replaced since
            try:
                if self._is_whiteout(parent, name):
                    os.unlink(name, dir_fd=parent)
            finally:
                os.close(parent)

    def _shows_below(self, folder: str) -> bool:
        """Whether no directory of this layer on the way to `folder` (itself included) hides what is below."""
        here = self._target
        for part in ("", *folder.split("/")):
            here = f"{here}/{part}" if part else here
            if marks.is_opaque(here):
                return False
        return True

    def _make_whiteout(self, parent: int, name: str) -> None:
        self._whiteouts[self._real(parent), name] = None
        try:
            marks.make_whiteout(name, parent)
        except FileExistsError:
            self._remove(parent, name)
            marks.make_whiteout(name, parent)

    def _clear(self, parent: int, name: str, path: str, member: Member) -> bool:
        """Remove what an earlier member put where this one goes; returns whether it was a whiteout."""
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode) and member.kind == tarheader.DIRECTORY:
            return False
        if member.kind == tarheader.HARDLINK and clean_name(member.linkname) == path:
            raise InvalidTar(f"{member.name}: a hard link to itself")
        hidden = marks.is_whiteout(f"/proc/self/fd/{parent}/{name}", status)
        self._remove(parent, name)
        return hidden

    def _remove(self, parent: int, name: str) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            remove_tree(f"/proc/self/fd/{parent}/{name}")
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._forget_parents(except_for=parent)  # paths through it lead elsewhere now

    # -- directories

    def _parent(self, path: str, links: int = 0) -> int:
        """A descriptor of the directory, made with its parents where missing; kept open for the next member.

        A link of this layer that leads nowhere yet gets the directory that it names. `links` are those followed so far.
        """
        if links > _LINKS:
            raise InvalidTar(f"{path}: too many links")
        if not path:
            return self._root
        known = self._parents.get(path)
        if known is not None:
            return known
        there, descriptor = self._deepest(path)
        folder, below = path[:there], True
        try:
            while folder != path:
                kept = (self._root, self._parents.get(folder))
                folder, name = self._next(path, folder)
                leads_to = self._link(descriptor, name)
                if leads_to is not None:
                    self._parent(leads_to, links + 1)
                    inner = open_directory(self._root, folder)
                else:
                    below = self._make_directory(descriptor, name, folder, below=below)
                    inner = os.open(name, _FOLDER, dir_fd=descriptor)
                # Only the one that was asked for is kept open: a path may be of thousands of directories.
                if descriptor not in kept:
                    os.close(descriptor)
                descriptor = inner
        except BaseException:
            if descriptor not in (self._root, *self._parents.values()):
                os.close(descriptor)
            raise
        self._parents[path] = descriptor
        return descriptor

    def _deepest(self, path: str) -> tuple[int, int]:
        """The longest beginning of the path that is a directory: its length, and a descriptor of it."""
        ends = [0, *(at for at, char in enumerate(path) if char == "/"), len(path)]
        there, missing = 0, len(ends)  # the first is there, the last is not: look near the end first, then halve
        step = 1
        best = self._root
        while missing - there > 1:
            middle = max(there + 1, missing - step) if best == self._root else (there + missing) // 2
            try:
                found = self._parents.get(path[: ends[middle]]) or open_directory(self._root, path[: ends[middle]])
            except (FileNotFoundError, NotADirectoryError):
                missing, step = middle, step * 2
                continue
            if best not in (self._root, self._parents.get(path[: ends[there]])):
                os.close(best)
            there, best = middle, found
        return ends[there], best

    @staticmethod
    def _next(path: str, folder: str) -> tuple[str, str]:
        """The next longer beginning of `path` after `folder`, and its last name."""
        start = len(folder) + 1 if folder else 0
        end = path.find("/", start)
        end = len(path) if end < 0 else end
        return path[:end], path[start:end]

    def _link(self, parent: int, name: str) -> str | None:
        """Where a symbolic link leads, as a path from the root that stays in it; None for anything else."""
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError:
            return None
        return posixpath.normpath(posixpath.join("/", self._real(parent), target)).lstrip("/")

    def _real(self, folder: int) -> str:
        """Where a directory of this layer really is, from the root; "" is the root."""
        if folder == self._root:
            return ""
        top, here = (str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (self._root, folder))
        return here[len(top) + 1 :]

    def _existing_parent(self, path: str) -> int:
        if not path:
            return self._root
        known = self._parents.get(path)
        if known is None:
            known = self._parents[path] = open_directory(self._root, path)
        return known

    def _is_whiteout(self, parent: int, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            return marks.is_whiteout(f"/proc/self/fd/{parent}/{name}", status)
        except OSError:
            return False

    def _make_directory(self, parent: int, name: str, path: str, *, below: bool) -> bool:
        """A directory that the archive has no member for: like the one below, else 0755 of root.

        `below`: the directory that it is in may be there below too. Returns whether this one is.
        """
        full = f"/proc/self/fd/{parent}/{name}"
        if hidden := self._is_whiteout(parent, name):
            os.unlink(name, dir_fd=parent)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            raise _NotADirectory(f"{path}: not a directory") from None
        if hidden:
            marks.set_opaque(full, self._opaque)
        found = self._lower.find(path) if below else None
        if found is None or not stat.S_ISDIR(found.status.st_mode):
            os.chmod(full, _DEFAULT_MODE)
            return False
        uid, gid = marks.owner_of(found.path, found.status)
        marks.set_owner(full, uid, gid, os.lstat(full))
        os.chmod(full, stat.S_IMODE(found.status.st_mode))
        for key, value in marks.content_attributes(found.path).items():
            marks.set_attribute(full, key, value)
        self._times.append((path, found.status.st_mtime_ns))
        return True

    def _set_directory_time(self, path: str, mtime: int) -> None:
        try:
            descriptor = open_directory(self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced by a later member
        try:
            os.utime(f"/proc/self/fd/{descriptor}/.", ns=(mtime, mtime))
        finally:
            os.close(descriptor)

    def _forget_parents(self, except_for: int = -1) -> None:
        kept = {path: fd for path, fd in self._parents.items() if fd == except_for}
        for descriptor in self._parents.values():
            if descriptor != except_for:
                os.close(descriptor)
        self._parents = kept
