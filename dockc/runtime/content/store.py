"""The content store: blobs by digest under `blobs/<algorithm>/<hex>` of an OCI layout.

A blob appears under its name only when it is whole, verified and on disk. What is being written lies in
`ingest/` beside `blobs/`, locked by its writer; a lock dies with its process, so what a killed process left
is either taken up again (blobs whose digest is known) or removed by `clean`.

Source: OCI image layout specification 1.1.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from dockc.base.files import open_regular
from dockc.errors import DigestMismatch, StoreError
from dockc.oci import digest as digests
from dockc.runtime.cancel import Cancelled, check_cancelled
from dockc.runtime.content.errors import is_full, store_error, telling
from dockc.runtime.content.locks import lock_file

log = logging.getLogger(__name__)

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX = b'{"schemaVersion":2,"manifests":[]}'  # what is in the layout is found by digest
_BLOCK = 1 << 20
_COPIED = 16 << 20  # between two looks at whether to go on
_NOT_BY_THE_KERNEL = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NO_FILE = frozenset({errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO})  # as `open_regular` says


class ContentStore:
    """Blobs by digest. Any thread and any process may use one directory at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"
        self._ingest = root / "ingest"
        self._checked: dict[str, tuple[int, ...]] = {}  # digest -> the file whose bytes this process has verified
        with telling("opening the content store", root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._blobs / digests.CANONICAL).mkdir(parents=True, exist_ok=True)
            self._ingest.mkdir(exist_ok=True)
            if not (root / "oci-layout").exists():
                _write_new(root / "oci-layout", _LAYOUT)
            if not (root / "index.json").exists():
                _write_new(root / "index.json", _INDEX)

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self._place(digest).is_file()

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises StoreError when it is not here."""
        return self.path(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """Where the blob is (read only); raises StoreError when it is not here."""
        place = self._place(digest)
        if not place.is_file():
            raise StoreError(f"blob {digest} is not in the store")
        return place

    def open(self, digest: str) -> BinaryIO:
        """The blob's bytes, seekable, not verified again; raises StoreError when it is not here."""
        try:
            return open_regular(self._place(digest))
        except FileNotFoundError:
            raise StoreError(f"blob {digest} is not in the store") from None
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise StoreError(f"blob {digest} is no file of the store") from None

    def read(self, digest: str, limit: int = 8 << 20) -> bytes:
        """The whole blob, verified.

        Raises:
            StoreError: not here, or larger than `limit`.
            DigestMismatch: damaged on disk.
        """
        with self.open(digest) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"blob {digest} is larger than {limit} bytes")
        return digests.check(data, digest)

    def find(self, digest: str, limit: int = 8 << 20) -> bytes | None:
        """The whole blob, verified; None when it is not here, or was damaged (it is removed then: fetch it anew).

        Raises:
            StoreError: larger than `limit`.
        """
        # Absence is told by the one look that opens it: another thread may bring it here at any moment.
        try:
            with open_regular(self._place(digest)) as stream:
                data = stream.read(limit + 1)
            if len(data) > limit:
                raise StoreError(f"blob {digest} is larger than {limit} bytes")
            return digests.check(data, digest)
        except FileNotFoundError:
            return None
        except (DigestMismatch, OSError):
            self._drop_damaged(digest)
            return None

    def verify(self, digest: str, cancelled: threading.Event | None = None) -> int:
        """Read the whole blob and return its size; raises DigestMismatch when it is damaged."""
        with self.open(digest) as stream:
            size = 0
            for block in digests.VerifyingReader(stream, digest):
                check_cancelled(cancelled)
                size += len(block)
            self._checked[digest] = _identity(os.fstat(stream.fileno()))
        return size

    def has_sound(self, digest: str, cancelled: threading.Event | None = None) -> bool:
        """Whether the blob is here and its bytes are right. What is damaged is removed, so that it is fetched anew.

        A file that this process has written or verified, and that nobody has changed since, is not read again.
        """
        try:
            if self.is_known(digest):
                return True
            self.verify(digest, cancelled)
        except FileNotFoundError:
            return False
        except (DigestMismatch, OSError):
            self._drop_damaged(digest)
            return False
        except StoreError:
            if os.path.lexists(self._place(digest)):
                self._drop_damaged(digest)
            return False
        return True

    def is_known(self, digest: str) -> bool:
        """Whether the blob is here and this process knows its bytes to be right: nothing is read for the answer."""
        try:
            return self._checked.get(digest) == _identity(self._place(digest).stat())
        except FileNotFoundError:
            return False

    def take(self, digest: str, other: ContentStore, *, cancelled: threading.Event | None = None) -> None:
        """Have a blob that another store of this machine has: read to be verified at most once, copied by the kernel.

        Raises:
            StoreError: it is not there; or this store cannot be written.
            DigestMismatch: it is damaged there, or changed while it was copied.
            Cancelled: `cancelled` was set.
        """
        if self.has(digest) and self.has_sound(digest, cancelled):
            return
        if not other.is_known(digest):
            other.verify(digest, cancelled)
        with other.open(digest) as source:
            size = os.fstat(source.fileno()).st_size
            with self.writer(digest, size, cancelled=cancelled) as writer:
                if not writer.complete:
                    writer.restart()
                    writer.copy(source.fileno(), cancelled)
                    if other._checked.get(digest) != _identity(os.fstat(source.fileno())):
                        raise DigestMismatch(f"{digest} was changed while it was copied")
                writer.commit()

    def _drop_damaged(self, digest: str) -> None:
        log.warning("blob %s was damaged on disk: it is removed, and fetched or made anew where it is needed", digest)
        self.remove(digest)

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Store bytes and return their digest."""
        expected = expected or digests.from_bytes(data)
        with self.writer(expected, len(data)) as writer:
            if not writer.complete:
                writer.restart()
                writer.write(data)
            return writer.commit()[0]

    def writer(
        self,
        expected: str | None = None,
        size: int | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Writer:
        """Begin a blob.

        With `expected`, only one writer of a digest is at work over all processes: this call waits for the
        other, and the `Writer` then says `complete`. What an interrupted writer left is taken up again:
        `Writer.offset` bytes are already there, and the caller goes on from that byte (or calls `restart()`).

        Raises:
            InvalidDigest: `expected` is not a digest.
            Cancelled: `cancelled` was set while waiting.
        """
        with telling("beginning a blob", self.root):
            while expected is None:
                temporary = self._ingest / f"new-{secrets.token_hex(12)}"
                descriptor = lock_file(temporary, cancelled)
                if _is_same_file(descriptor, temporary):  # else `clean` took it, not locked yet, for a dead one's
                    return Writer(self, temporary, descriptor, None, size)
                os.close(descriptor)
            place = self._place(expected)
            temporary = self._ingest / f"{digests.algorithm(expected)}-{digests.encoded(expected)}"
            while True:
                if place.is_file():
                    return Writer(self, temporary, None, expected, place.stat().st_size)
                descriptor = lock_file(temporary, cancelled)
                # The writer we waited for has renamed its file: then ours is not the one under this name.
                if _is_same_file(descriptor, temporary) and not place.is_file():
                    return Writer(self, temporary, descriptor, expected, size)
                os.close(descriptor)

    def remove(self, digest: str) -> int:
        """Delete a blob; returns the bytes of the disk that came free (0 when it was not here)."""
        place = self._place(digest)
        self._checked.pop(digest, None)
        try:
            status = place.lstat()
            size = status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(place)  # somebody's directory under a blob's name
            else:
                place.unlink()
        except FileNotFoundError:
            return 0
        return size

    def digests(self) -> Iterator[str]:
        """All blobs, in no particular order."""
        for folder in self._blobs.iterdir():
            for entry in folder.iterdir():
                name = f"{folder.name}:{entry.name}"
                if digests.is_valid(name):
                    yield name

    def touch(self, digest: str) -> None:
        """Let the blob look as if it had just been written; what this process knows of its bytes stays true."""
        place = self._place(digest)
        known = self._checked.get(digest) == _identity(place.stat())
        os.utime(place)
        if known:
            self._checked[digest] = _identity(place.stat())

    def touched(self, digest: str) -> float:
        """When the blob was written or asked for, by the clock of that time (seconds since the epoch); 0: not here."""
        try:
            return self._place(digest).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def age(self, digest: str) -> float:
        """Seconds since the blob was written or asked for by a writer; 0 when it is not here."""
        try:
            return max(0.0, time.time() - self._place(digest).stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def clean(self, partial_older_than: float = 86400.0) -> int:
        """Remove what dead writers left; returns the bytes freed.

        Blobs of known digest that were begun less than `partial_older_than` seconds ago stay: a later download
        goes on from there.
        """
        freed = 0
        for entry in list(self._ingest.iterdir()):
            try:
                status = entry.stat()
                known = not entry.name.startswith("new-")
                # One that a clock has put far into the future would never be old.
                if known and abs(time.time() - status.st_mtime) < partial_older_than:
                    continue
                descriptor = os.open(entry, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(descriptor, entry):
                    entry.unlink()
                    freed += status.st_size
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)
        return freed

    def _place(self, digest: str) -> Path:
        digests.validate(digest)
        return self._blobs / digests.algorithm(digest) / digests.encoded(digest)

    def land(self, temporary: Path, digest: str) -> None:
        """Give a finished file of ours its place; for a `Writer` of this store only."""
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        self._checked[digest] = _identity(temporary.stat())  # before others see it, and may remove it
        temporary.rename(place)
        _sync_directory(place.parent)


class Writer:
    """One blob in the making; leaving the `with` block without `commit` keeps what can be resumed.

    Attributes:
        offset: bytes written so far; above 0 at the start when an earlier writer was interrupted.
        complete: the blob is already in the store: write nothing, `commit` just names it.

    Mutable state belongs to the one thread that writes.
    """

    def __init__(
        self, store: ContentStore, temporary: Path, descriptor: int | None, expected: str | None, size: int | None
    ) -> None:
        self._store = store
        self._temporary = temporary
        self._descriptor = descriptor
        self._expected = expected
        self._size = size
        self._algorithm = digests.algorithm(expected) if expected else digests.CANONICAL
        self._hasher = digests.Hasher(self._algorithm)
        self._copied = False
        self.complete = descriptor is None
        if descriptor is not None and expected is not None:
            self._take_up(descriptor)

    @property
    def offset(self) -> int:
        """Bytes written so far."""
        return self._hasher.size

    def _take_up(self, descriptor: int) -> None:
        while block := os.read(descriptor, _BLOCK):
            self._hasher.update(block)
        if self._size is not None and self._hasher.size > self._size:
            self.restart()

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes and return how many.

        Raises:
            DigestMismatch: more bytes than promised; what was written is dropped.
            StoreError: the disk is full; what was written is dropped.
        """
        descriptor = self._open_descriptor()
        if self._size is not None and self._hasher.size + len(data) > self._size:
            self._drop()
            raise DigestMismatch(f"{self._expected or 'blob'}: more than the expected {self._size} bytes")
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            self._drop()
            raise store_error(error, "writing a blob", self._store.root) from error
        self._hasher.update(data)
        return len(data)

    def copy(self, source: int, cancelled: threading.Event | None = None) -> None:
        """Take all bytes from another file, of which the caller knows that they are those of the blob.

        Raises:
            DigestMismatch: there are not as many as promised.
            StoreError: the disk is full; what was written is dropped.
            Cancelled: `cancelled` was set.
        """
        descriptor, left = self._open_descriptor(), self._size or 0
        try:
            while left:
                check_cancelled(cancelled)
                moved = os.copy_file_range(source, descriptor, min(_COPIED, left))
                if not moved:
                    raise DigestMismatch(f"{self._expected}: unexpected end of data: {left} bytes are missing")
                left -= moved
            self._copied = True
        except OSError as error:
            if error.errno not in _NOT_BY_THE_KERNEL or left != self._size:
                self._drop()
                raise store_error(error, "copying a blob", self._store.root) from error
            while data := os.read(source, _BLOCK):
                check_cancelled(cancelled)
                self.write(data)

    def restart(self) -> None:
        """Drop what is there and begin at offset 0."""
        if self.complete:
            return
        descriptor = self._open_descriptor()
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._hasher = digests.Hasher(self._algorithm)

    def commit(self) -> tuple[str, int]:
        """Verify, fsync, rename into place; returns digest and size.

        Raises:
            DigestMismatch: too short, or other bytes than promised; they are dropped.
            StoreError: the disk is full.
        """
        if self.complete:
            if self._expected is None:
                raise StoreError("this blob has been committed before")
            place = self._store.path(self._expected)
            try:
                self._store.touch(self._expected)  # tells a concurrent cleaning that somebody has just asked for it
                return self._expected, place.stat().st_size
            except FileNotFoundError:
                raise StoreError(f"blob {self._expected} is not in the store") from None
        digest, size = self._hasher.digest(), self._hasher.size
        if self._copied and self._expected is not None and self._size is not None:
            digest, size = self._expected, self._size
        if self._size is not None and size != self._size:
            # A short one may be gone on with later; a resumed one that does not fit is dropped below.
            raise DigestMismatch(
                f"{self._expected or digest}: unexpected end of data: got {size} of {self._size} bytes"
            )
        if self._expected is not None and digest != self._expected:
            self._drop()
            raise DigestMismatch(f"unexpected digest: expected {self._expected}, got {digest}")
        descriptor = self._open_descriptor()
        try:
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
            self._store.land(self._temporary, digest)
        except OSError as error:
            self._drop()
            raise store_error(error, "committing a blob", self._store.root) from error
        self.complete = True
        self._expected = digest
        self._close()
        return digest, size

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise StoreError("this blob is complete: nothing can be written to it")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _drop(self) -> None:
        self._temporary.unlink(missing_ok=True)
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        resumable = self._expected is not None and self._hasher.size > 0 and not is_full(error)
        if self._descriptor is not None and not resumable:
            self._drop()
        self._close()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Changes when somebody writes to the file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _write_new(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["Cancelled", "ContentStore", "Writer"]
