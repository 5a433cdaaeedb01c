"""Bringing blobs from a registry into the content store: resumed, verified, once per process and store.

The content store lets one writer at a time work on a digest and tells it what an earlier one left, so two
steps that want the same layer share one download, and a broken connection costs only what was in flight.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dockc.errors import DigestMismatch
from dockc.oci.descriptor import Descriptor
from dockc.oci.reference import Reference
from dockc.runtime.registry.resume import bring

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress
    from dockc.runtime.registry.client import Client
    from dockc.runtime.registry.transport import Response


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

        def open_at(place: int) -> Response:
            return self._client.open_blob(self.ref, descriptor, offset=place, cancelled=cancelled)

        try:
            bring(
                f"{self.ref}: blob {descriptor.digest}",
                descriptor,
                content,
                open_at,
                cancelled=cancelled,
                progress=progress,
            )
        except DigestMismatch as error:
            raise DigestMismatch(f"{self.ref}: blob {descriptor.digest}: {error.message}") from error
        if progress is not None:
            progress(descriptor.digest, descriptor.size, descriptor.size, True)
