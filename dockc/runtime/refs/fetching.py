"""Fetching a blob from whoever has been named for it, and else as whoever needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled

if TYPE_CHECKING:
    import threading

    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.core import ProviderFactory
    from dockc.runtime.refs.types import Progress, Provider


def fetch_by(
    provider: Provider,
    instead: Sequence[ProviderFactory],
    blob: Descriptor,
    origin: str,
    content: ContentStore,
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring a blob into the content store.

    Args:
        provider: was named with the blob, by a build that may have ended, and its user's credentials with it.
        instead: find the providers of whoever needs the blob now, by `origin`; asked where the first one fails.
        blob: what to bring.
        origin: where it comes from (`LayerDescriptor.origin`), or "".
        content: where it goes.
        cancelled: ends it.
        progress: told of bytes.

    Raises:
        DockcError: nobody has it; the first failure counts.
    """
    try:
        provider.fetch(blob, content, cancelled=cancelled, progress=progress)
    except Cancelled:
        raise
    except DockcError:
        for find in instead if origin else ():
            other = find(origin)
            if other is not None:
                try:
                    other.fetch(blob, content, cancelled=cancelled, progress=progress)
                except Cancelled:
                    raise
                except DockcError:
                    continue
                return
        raise
