"""Directories that a client lends: on this machine, in memory, or, by another class of the same shape, at the other end
of a wire.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dockc.base.files import read_file, read_inside
from dockc.errors import DockcError
from dockc.solver.lent import Key

if TYPE_CHECKING:
    from dockc.runtime.fsutil.arriving import Taker
    from dockc.runtime.fsutil.outline import Outline
    from dockc.runtime.fsutil.walk import Filter

Report = Callable[[int, bool], None]
"""`(bytes so far, done)`."""


class Sender(Protocol):
    """The other end of a wire, which has a directory."""

    def send(self, target: Taker) -> int:
        """Send what is wanted of it; bytes that came. Blocks.

        Raises:
            DockcError: it could not be sent, or the target refused it.
            Cancelled: the build has been given up; the target may be told more until it is closed.
        """
        ...


class Directory(Protocol):
    """One directory that a client lends. All methods block and may be called from any thread."""

    @property
    def key(self) -> str:
        """Tells it from other directories and is the same in the next build: what is unchanged since is not copied
        again.
        """
        ...

    @property
    def lasting(self) -> bool:
        """Whether a later build may ask for it by the same key."""
        ...

    @property
    def shown(self) -> str:
        """What people call it, or ""."""
        ...

    def read(self, path: str) -> bytes:
        """A small file that the user named, such as the Dockerfile.

        Raises:
            DockcError: it cannot be read, in the words of whoever opened it.
        """
        ...

    def find(self, path: str) -> bytes | None:
        """A small regular file below the directory, links followed inside of it; None where there is none.

        Raises:
            DockcError: it is larger than small files may be.
        """
        ...

    def open(
        self,
        wanted: Filter,
        *,
        compare: bool = True,
        outline: Outline | None = None,
        cancelled: threading.Event | None = None,
        report: Report | None = None,
    ) -> AbstractContextManager[Path | Sender]:
        """The directory, for as long as the block runs: on this machine with all that is `wanted` and perhaps more, or
        who sends what is wanted of it (never with an `outline`) and tells `report` how much has come. With `compare` a
        file that looks unchanged need not be brought here again. An `outline` is told of all that is wanted, and only
        what it chooses need be here.

        Raises:
            DockcError: it is not there, or could not be brought here.
            Cancelled: `cancelled` was set.
        """
        ...


OTHERS: Key[Callable[[str], Mapping[str, Directory] | None]] = Key("directories of other sessions")
"""Directories of another session, by its id."""
LOCALS: Key[Mapping[str, Directory]] = Key("directories")
"""Directories by the name of the local source."""


class HostDirectory:
    """A directory of this machine: nothing is copied to lend it."""

    lasting = True

    def __init__(self, path: str | Path, *, shown: str = "") -> None:
        self._path = str(path)
        self.shown = shown

    @property
    def key(self) -> str:
        """Its path, with links resolved."""
        return str(Path(self._path).resolve())

    def read(self, path: str) -> bytes:
        """See `Directory.read`."""
        return read_file(path if self._path == "." else str(Path(self._path) / path))

    def find(self, path: str) -> bytes | None:
        """See `Directory.find`."""
        return read_inside(self._path, path)

    @contextmanager
    def open(
        self,
        wanted: Filter,
        *,
        compare: bool = True,
        outline: Outline | None = None,
        cancelled: threading.Event | None = None,
        report: Report | None = None,
    ) -> Iterator[Path]:
        """See `Directory.open`: it is here."""
        _outlined(outline, Path(self._path), wanted, cancelled)
        yield Path(self._path)


class HeldFiles:
    """Files that a client has in memory, such as a Dockerfile from standard input."""

    lasting = False

    def __init__(self, files: Mapping[str, bytes], *, shown: str = "") -> None:
        self._files = dict(files)
        self.shown = shown

    @property
    def key(self) -> str:
        """No directory: it is never the same as another."""
        return f"held:{id(self)}"

    def read(self, path: str) -> bytes:
        """See `Directory.read`."""
        data = self._files.get(path)
        if data is None:
            raise DockcError(f"failed to read dockerfile: open {path}: no such file or directory")
        return data

    def find(self, path: str) -> bytes | None:
        """See `Directory.find`."""
        return self._files.get(path)

    @contextmanager
    def open(
        self,
        wanted: Filter,
        *,
        compare: bool = True,
        outline: Outline | None = None,
        cancelled: threading.Event | None = None,
        report: Report | None = None,
    ) -> Iterator[Path]:
        """See `Directory.open`: they are written down for the while."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="dockc-files-") as folder:
            for name, data in self._files.items():
                (Path(folder) / name).write_bytes(data)
            _outlined(outline, Path(folder), wanted, cancelled)
            yield Path(folder)


def _outlined(outline: Outline | None, path: Path, wanted: Filter, cancelled: threading.Event | None) -> None:
    if outline is None:
        return
    from dockc.runtime.fsutil.outline import Here
    from dockc.runtime.fsutil.walk import walk

    outline.take(Here.of(entry) for entry in walk(path, wanted, cancelled))
