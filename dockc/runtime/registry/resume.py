"""A blob out of answers that break off: gone on with where the last one ended, for as long as that brings something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.base.pattern import pattern
from dockc.errors import DigestMismatch, RegistryError
from dockc.oci import digest as digests
from dockc.runtime.registry.transport import CHUNK, Response, Unreachable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.content.store import ContentStore, Writer
    from dockc.runtime.refs.types import Progress

_STALLS = 4
"""Broken connections in a row that brought next to nothing before giving up."""
_WORTH_IT = 64 << 10
"""Bytes that make a connection worth another one; a sixteenth of what is missing does so too."""
_CONTENT_RANGE = pattern(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")


def bring(
    name: str,
    descriptor: Descriptor,
    content: ContentStore,
    open_at: Callable[[int], Response],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring a blob into the store. Where an earlier writer left bytes of something else, which only the end tells, it is
    fetched once more from its beginning.

    Raises:
        RegistryError: it cannot be had.
        DigestMismatch: what comes is another blob.
    """
    for last in (False, True):
        with content.writer(descriptor.digest, descriptor.size, cancelled=cancelled) as writer:
            if writer.complete:
                return
            left = writer.offset
            try:
                if descriptor.data and digests.from_bytes(descriptor.data) == descriptor.digest:
                    writer.restart()
                    writer.write(descriptor.data)
                else:
                    fill(name, descriptor, writer, open_at, progress)
                writer.commit()
                return
            except DigestMismatch:
                if last or not left:
                    raise


def fill(
    name: str,
    descriptor: Descriptor,
    writer: Writer,
    open_at: Callable[[int], Response],
    progress: Progress | None = None,
) -> None:
    """Write a blob into its writer, which verifies it; the caller commits.

    Args:
        name: what it is, for messages.
        descriptor: the blob's digest and size in bytes.
        writer: takes the bytes; what an earlier one left is gone on with.
        open_at: asks for the blob from a byte on. The answer may be of the whole blob all the same: status 200 says so.
        progress: hears of every piece.

    Raises:
        RegistryError: it cannot be had.
        DigestMismatch: there is more of it than there should be.
    """
    place = best = writer.offset
    stalls = 0
    while place < descriptor.size:
        failure: RegistryError = Unreachable("the connection was closed early")
        try:
            with open_at(place) as answer:
                if place and (answer.encoded or not _continues(answer, place)):
                    writer.restart()
                    place = 0
                    if answer.status != 200:  # a part of encoded bytes is no use either: the next try asks for all
                        raise Unreachable("the answer starts at another byte than the one asked for")
                while data := answer.read(CHUNK):
                    writer.write(data)
                    place += len(data)
                    if progress is not None:
                        progress(descriptor.digest, place, descriptor.size, False)
            if place >= descriptor.size:
                return
        except Unreachable as error:
            failure = error
        stalls = 0 if place - best >= min(_WORTH_IT, max(1, (descriptor.size - best) // 16)) else stalls + 1
        best = max(best, place)
        if stalls >= _STALLS:
            raise RegistryError(f"{name}: got {place} of {descriptor.size} bytes: {failure.message}") from failure


def _continues(answer: Response, offset: int) -> bool:
    """Whether a partial answer starts where we left off."""
    if answer.status != 206:
        return False
    match = _CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
    return match is not None and int(match.group(1)) == offset
