"""Bringing blobs from a registry into the content store: resumed, verified, once per process and store.

The content store lets one writer at a time work on a digest and tells it what an earlier one left, so two
steps that want the same layer share one download, and a broken connection costs only what was in flight.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dockc.base.pattern import pattern
from dockc.errors import DigestMismatch, RegistryError
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.oci.reference import Reference
from dockc.runtime.registry.transport import CHUNK, Response, Unreachable

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore, Writer
    from dockc.runtime.refs.types import Progress
    from dockc.runtime.registry.client import Client

_STALLS = 4
"""Broken connections in a row that brought next to nothing before giving up."""
_WORTH_IT = 64 << 10
"""Bytes that make a connection worth another one; a sixteenth of what is missing does so too."""
_CONTENT_RANGE = pattern(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")


class RegistryProvider:
    """Fetches blobs of one image (`runtime.refs.types.Provider`)."""

    __slots__ = ("_client", "ref")

    def __init__(self, client: Client, ref: Reference) -> None:
        """Remember where to ask; no I/O.

        Args:
            client: speaks to the registry.
            ref: an image in the repository that holds the blobs.
        """
        self._client = client
        self.ref = ref

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring a blob into the content store.

        Raises:
            DigestMismatch: the registry sends other bytes than the descriptor names.
            RegistryError: it cannot be had.
        """
        if content.has(descriptor.digest):
            return
        try:
            with content.writer(descriptor.digest, descriptor.size, cancelled=cancelled) as writer:
                if not writer.complete:
                    self._fill(descriptor, writer, cancelled, progress)
                    writer.commit()
        except DigestMismatch as error:
            raise DigestMismatch(f"{self.ref}: blob {descriptor.digest}: {error.message}") from error
        if progress is not None:
            progress(descriptor.digest, descriptor.size, descriptor.size, True)

    def _fill(
        self,
        descriptor: Descriptor,
        writer: Writer,
        cancelled: threading.Event | None,
        progress: Progress | None,
    ) -> None:
        if descriptor.data and digests.from_bytes(descriptor.data) == descriptor.digest:
            writer.restart()
            writer.write(descriptor.data)
            return
        place = best = writer.offset
        stalls = 0
        while True:
            try:
                with self._client.open_blob(self.ref, descriptor, offset=place, cancelled=cancelled) as answer:
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
                failure: RegistryError = Unreachable("the connection was closed early")
            except Unreachable as error:
                failure = error
            stalls = 0 if place - best >= min(_WORTH_IT, max(1, (descriptor.size - best) // 16)) else stalls + 1
            best = max(best, place)
            if stalls >= _STALLS:
                raise RegistryError(
                    f"{self.ref}: blob {descriptor.digest}: got {place} of {descriptor.size} bytes: {failure.message}"
                ) from failure


def _continues(answer: Response, offset: int) -> bool:
    """Whether a partial answer starts where we left off."""
    if answer.status != 206:
        return False
    match = _CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
    return match is not None and int(match.group(1)) == offset
