"""Blobs that can be opened, on their way into the store: files, members of archives, what a client lends."""

from __future__ import annotations

from dockc.runtime.cancel import check_cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import BinaryIO

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.content.store import ContentStore

BLOCK = 1 << 20
"""Bytes that are copied at a time."""


def copy_in(
    descriptor: Descriptor,
    content: ContentStore,
    opened: Callable[[], tuple[BinaryIO, int]],
    *,
    cancelled: threading.Event | None = None,
    progress: Callable[[str, int, int, bool], object] | None = None,
) -> None:
    """Copy a blob into the store, which verifies it; one that is there already is not opened.

    Args:
        descriptor: the blob's digest and size.
        content: the store.
        opened: gives the blob at its beginning, and how many bytes of what was opened are its own at most.
        cancelled: ends the copying when it is set.
        progress: hears of each block: digest, bytes so far, bytes in all, and whether that was the last.

    Raises:
        Cancelled: `cancelled` was set.
        DigestMismatch: the bytes are not what their digest says.
        StoreError: the store cannot be written.
    """
    digest, size = descriptor.digest, descriptor.size
    if content.has(digest):
        return
    with content.writer(digest, size, cancelled=cancelled) as writer:
        if not writer.complete:
            writer.restart()
            file, left = opened()
            place = 0
            with file:
                while place < left and (data := file.read(min(BLOCK, left - place))):
                    check_cancelled(cancelled)
                    writer.write(data)
                    place += len(data)
                    if progress is not None:
                        progress(digest, place, size, False)
            writer.commit()
    if progress is not None:
        progress(digest, size, size, True)
