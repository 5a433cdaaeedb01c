"""What content digests were over, kept beside the history: so a changed digest can be told file by file.

A listing is made once for each digest, from what was read for the digest anyway: compressed, of a bounded number of
entries. The folder is bounded too: those used longest ago go. What it lacks is told as less, never as wrong.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.hashing import sha256
from dockc.errors import DockcError
from dockc.solver.keydiff import FileChange

if TYPE_CHECKING:
    from dockc.runtime.refs.contenthash import Listed

FOLDER = "files"
"""The directory in the history's."""
ENTRIES = 200_000
"""Entries of one listing; of more, those beyond are not told apart."""
KEEP_BYTES = 64 << 20
"""Bytes of all listings together."""
_KINDS = 0o170000
_MODE = 0o7777

_Row = tuple[bytes, int, int, int, int, bytes]
"""Path, mode, uid, gid, check of the data, the beginning of the entry's own digest."""


class FileListings:
    """The listings of one store (`runtime.refs.contenthash.Listings`). Any thread and any process; never fails a build."""

    def __init__(self, history: Path) -> None:
        self._folder = history / FOLDER

    def wants(self, name: str) -> bool:
        """Whether there is none of this name yet; one that is there counts as used."""
        try:
            os.utime(self._path(name))
        except OSError:
            return True
        return False

    def keep(self, name: str, entries: Iterator[Listed]) -> None:
        """Write a listing, whole or not at all; without room for it there is none."""
        import msgspec

        try:
            rows = [
                (os.fsencode(one.path), one.seen.mode, one.seen.uid, one.seen.gid, one.seen.check, one.own[:8])
                for one in islice(entries, ENTRIES)
            ]
            data = zlib.compress(msgspec.msgpack.encode(rows), 1)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(name)
            part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
            try:
                handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except (OSError, DockcError):
            return

    def read(self, name: str) -> dict[bytes, _Row] | None:
        """The entries of a listing by path; None where they are not known."""
        import msgspec

        try:
            data = zlib.decompress(self._path(name).read_bytes())
            rows = msgspec.msgpack.decode(data, type=list[_Row])
        except (OSError, zlib.error, msgspec.MsgspecError):
            return None
        return {row[0]: row for row in rows}

    def compare(self, old: str, new: str, *, limit: int) -> tuple[tuple[FileChange, ...], int] | None:
        """The files in which two listings differ, the first `limit` by path, and how many there are besides; None where
        one of them is not known.
        """
        before, after = self.read(old), self.read(new)
        if before is None or after is None:
            return None
        if len(before) >= ENTRIES or len(after) >= ENTRIES:  # what lies beyond the bound was not looked at
            common = min(max(before, default=b""), max(after, default=b""))
            before = {path: row for path, row in before.items() if path <= common}
            after = {path: row for path, row in after.items() if path <= common}
        paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        # A directory whose entries have come or gone is no change of its own: only its own metadata is in its row.
        told = [change for path in paths[:limit] for change in _changes(path, before.get(path), after.get(path))]
        return tuple(told), max(0, len(paths) - limit)

    def collect(self) -> None:
        """Remove the listings used longest ago beyond `KEEP_BYTES`, and what dying processes have left.

        Raises:
            OSError: the directory cannot be read.
        """
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
        except FileNotFoundError:
            return
        size = 0
        for _, bytes_, path in sorted(found, reverse=True):
            size += bytes_
            if size > KEEP_BYTES:
                Path(path).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / sha256(name.encode())


def _changes(path: bytes, old: _Row | None, new: _Row | None) -> Iterator[FileChange]:
    """In what one entry differs; what is told is all there is, or the entry's attributes."""
    name = path.decode("utf-8", "replace") or "."
    if old is None or new is None:
        yield FileChange(name, "added" if old is None else "removed")
        return
    if old[1] & _KINDS != new[1] & _KINDS:
        yield FileChange(name, "kind", _kind(old[1]), _kind(new[1]))
        return
    told = False
    if old[4] != new[4]:
        told = True
        yield FileChange(name, "content")
    if old[1] & _MODE != new[1] & _MODE:
        told = True
        yield FileChange(name, "mode", f"{old[1] & _MODE:04o}", f"{new[1] & _MODE:04o}")
    if old[2:4] != new[2:4]:
        told = True
        yield FileChange(name, "owner", f"{old[2]}:{old[3]}", f"{new[2]}:{new[3]}")
    if not told:
        yield FileChange(name, "attributes")


def _kind(mode: int) -> str:
    import stat

    for test, word in (
        (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"), (stat.S_ISFIFO, "pipe"),
    ):  # fmt: skip
        if test(mode):
            return word
    return "device"
