"""Answers to the compiler's questions about the world.

The compiler asks in its own types; this room does not know them and looks only at their shape. `answer` gives
one `Found...` or one error per request, and the caller, who knows both rooms, carries them over.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dockc.errors import DockcError, RegistryError, StoreError
from dockc.oci import reference as references
from dockc.oci.platform import Platform
from dockc.runtime.source import image, ocilayout
from dockc.runtime.source.found import (
    FilesQuestion,
    Found,
    FoundFiles,
    FoundImage,
    GitQuestion,
    HttpQuestion,
    ImageQuestion,
)
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.registry import RegistryOrigin

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.base import LentLayout
    from dockc.runtime.session.secrets import SecretStore
    from dockc.runtime.source.seen import Seen

_FILE_LIMIT = 16 << 20
"""Ignore files and the like are not larger than this (bytes)."""


class Run(Protocol):
    """Runs a function in a thread. Cancelled, it sets `cancelled` and waits for the thread."""

    def __call__(
        self, fn: Callable[[], Found | DockcError], /, *, cancelled: threading.Event
    ) -> Awaitable[Found | DockcError]:
        """What the function gives."""
        ...


async def _run(fn: Callable[[], Found | DockcError], /, *, cancelled: threading.Event) -> Found | DockcError:
    task = asyncio.ensure_future(asyncio.to_thread(fn))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait((task,))
        raise


class Resolver:
    """Looks things up in registries, OCI layouts, local directories, on web servers and in git repositories.

    Attributes:
        content: keeps manifests and configs.
        client: speaks to registries.
        locals: directories by local source name.
        stores: OCI layouts by store name.
        secrets: for git and HTTP authorization.

    What `seen` holds was asked before, in the same build.
    """

    def __init__(
        self,
        content: ContentStore,
        client: Client,
        *,
        locals: Mapping[str, Path] | None = None,  # noqa: A002 - the word of LLB
        stores: Mapping[str, Path | LentLayout] | None = None,
        secrets: SecretStore | None = None,
        run: Run | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._seen = seen
        self._run = run or _run
        self.content = content
        self.client = client
        self.locals = dict(locals or {})
        self.stores = {} if stores is None else stores
        self.secrets = secrets

    async def answer(self, requests: Sequence[object]) -> list[Found | DockcError]:
        """Answer all requests at once, in their order; a failure is an answer too.

        Cancelling stops the work in the threads before this call ends.
        """
        cancelled = threading.Event()
        found = (self._run(partial(self._settle, one, cancelled), cancelled=cancelled) for one in requests)
        return list(await asyncio.gather(*found))

    def _settle(self, request: object, cancelled: threading.Event) -> Found | DockcError:
        try:
            return self.find(request, cancelled=cancelled)
        except DockcError as error:
            return error

    def find(self, request: object, *, cancelled: threading.Event | None = None) -> Found:
        """Answer one request; blocks.

        Raises:
            DockcError: it cannot be answered.
            TypeError: it is no request that this class knows.
        """
        if isinstance(request, ImageQuestion):
            return self.image(request.ref, request.platform, request.resolve_mode, request.store, cancelled)
        if isinstance(request, FilesQuestion):
            return self.files(request.name, request.files)
        if isinstance(request, HttpQuestion):
            from dockc.runtime.source.http import probe

            return probe(
                request.url,
                request.checksum,
                self.client.transport,
                Memory(self.content.root),
                self.secrets,
                cancelled,
                seen=self._seen,
            )
        if isinstance(request, GitQuestion):
            from dockc.runtime.source.blob import Blobs
            from dockc.runtime.source.git import find_commit

            return find_commit(
                request.identifier,
                dict(request.attrs),
                Memory(self.content.root),
                self.secrets,
                cancelled,
                offline=self.client.transport.offline,
                seen=self._seen,
                blobs=Blobs(self.client, self.stores, cancelled),
            )
        raise TypeError(f"not a request: {request!r}")

    def image(
        self,
        ref: str,
        platform: Platform,
        mode: str = "",
        store: str = "",
        cancelled: threading.Event | None = None,
    ) -> FoundImage:
        """Digest and config of an image."""
        parsed = references.parse_normalized(ref)
        origin: image.Origin
        try:
            if store:
                origin = ocilayout.open_store(self.stores, store)
            else:
                origin = RegistryOrigin(self.client, self.content, parsed, mode)
            found = image.load(origin, parsed.tag_name_only(), platform, self.content, cancelled=cancelled)
        except (RegistryError, StoreError) as error:
            message = f"failed to resolve source metadata for {ref}: {error.message}"
            raise type(error)(message, hint=error.hint) from error
        stored = origin.stored if isinstance(origin, RegistryOrigin) else ""
        return FoundImage(ref, found.root.digest, found.config, stored)

    def files(self, name: str, files: Sequence[str]) -> FoundFiles:
        """Contents of files in a local source; paths are resolved inside it, links included."""
        root = self.locals.get(name)
        if root is None:
            raise DockcError(f"no local source named {name!r} was given to this build")
        contents: dict[str, bytes | None] = {}
        for file in files:
            contents[file] = _read(root, file)
        return FoundFiles(contents)


def _read(root: Path, path: str) -> bytes | None:
    """A regular file inside a directory; None when nothing is there."""
    from dockc.runtime.fsutil.inroot import NotRegular, Root

    with Root(root) as opened:
        try:
            file = opened.open_regular(path)
        except NotRegular:
            raise DockcError(f"{path}: not a regular file") from None
        if file is None:
            return None
        with file:
            data = file.read(_FILE_LIMIT + 1)
    if len(data) > _FILE_LIMIT:
        raise DockcError(f"{path}: larger than {_FILE_LIMIT} bytes")
    return data
