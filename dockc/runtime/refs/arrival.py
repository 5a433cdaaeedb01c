"""Who is shown that layers come: the step that named them, where a build still watches it, else whoever needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled

if TYPE_CHECKING:
    from dockc.runtime.refs.core import Core
    from dockc.runtime.refs.database import Blob
    from dockc.runtime.refs.types import Progress

_EXTRACTING = "extracting "
_CANCELED = "context canceled"


@contextmanager
def arriving(core: Core, blobs: Iterable[Blob], progress: Progress | None) -> Iterator[Progress]:
    """The block brings layers. The steps that named them work again meanwhile, and what it reports shows as theirs.

    A failure is told as theirs, too, and says so (`DockcError.vertex`).

    Args:
        core: the store.
        blobs: what is brought.
        progress: hears of layers that no step of a build has named.
    """
    with core.db.lock:
        found = {digest: core.laters.get(digest) for digest in (blob.descriptor.digest for blob in blobs)}
    laters = {digest: later for digest, later in found.items() if later is not None and later.alive}
    watching = list({id(later): later for later in laters.values()}.values())

    def report(what: str, current: int, total: int, done: bool) -> None:
        later = laters.get(what.removeprefix(_EXTRACTING))
        if later is not None:
            action = "extracting" if what.startswith(_EXTRACTING) else "downloading"
            later.status(what, name=action, current=current, total=total, done=done)
        elif progress is not None:
            progress(what, current, total, done)

    for later in watching:
        later.begin()
    try:
        yield report
    except BaseException as error:
        is_failure = isinstance(error, DockcError) and not isinstance(error, Cancelled)
        if isinstance(error, DockcError) and is_failure and watching and not error.vertex:
            error.vertex = watching[0].vertex
        for later in watching:
            later.end(str(error) if is_failure and later is watching[0] else _CANCELED)
        raise
    for later in watching:
        later.end()


class Extracting:
    """A blob that is read to be unpacked; how far it has been read is reported."""

    def __init__(self, file: BinaryIO, digest: str, size: int, progress: Progress) -> None:
        self._file, self._what, self._size, self._progress = file, _EXTRACTING + digest, size, progress
        self._at = 0
        progress(self._what, 0, size, False)

    def read(self, size: int = -1, /) -> bytes:
        """As a file's."""
        data = self._file.read(size)
        self._at += len(data)
        self._progress(self._what, self._at, self._size, False)
        return data

    def done(self) -> None:
        """All is unpacked."""
        self._progress(self._what, self._size, self._size, True)
