"""Stores of blobs at a client: OCI layouts to read from, caches to read and write, layouts to write to."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from dockc.base.aside import aside, opened
from dockc.base.threads import waiting
from dockc.daemon.sessions import Caller
from dockc.errors import StoreError
from dockc.protocol.errors import RemoteError
from dockc.protocol.names import CONTENT, STORE_ID
from dockc.rpc.calls import parsed
from dockc.rpc.pb import content_pb2
from dockc.rpc.status import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, RpcError
from dockc.runtime.several import TRANSFERS, several

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore

_BLOCK = 1 << 20


class Caches:
    """Directories of caches at a client (`runtime.session.base.LentCaches`)."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder

    def layout(self, name: str) -> ClientLayout:
        """See `LentCaches.layout`."""
        return ClientLayout(self._caller, f"local:{name}", self._folder)

    def write(
        self, name: str, blobs: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        """See `LentCaches.write`."""
        if not self._caller.serves(CONTENT + "Write"):
            raise StoreError("the client takes no caches")
        write_blobs(self._caller, f"local:{name}", blobs, content, cancelled)


class ClientLayout:
    """A store of blobs at a client, as an OCI layout without an index: images are asked for by digest."""

    _FIXED: ClassVar[Mapping[str, bytes]] = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[]}',
    }

    def __init__(self, caller: Caller, store: str, folder: Path) -> None:
        self._caller, self._store, self._folder = caller, store, folder

    @property
    def path(self) -> Path:
        """A name that tells it from those of other clients."""
        return Path(f"/client/{self._caller.id}/{self._store}")

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """See `LentLayout.open`."""
        if name in self._FIXED:
            return io.BytesIO(self._FIXED[name]), len(self._FIXED[name])
        folder, _, rest = name.partition("/")
        algorithm, _, value = rest.partition("/")
        if folder != "blobs":
            raise FileNotFoundError(name)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  the caller closes it
        try:
            size = self._caller.wait(self._read(f"{algorithm}:{value}", file))
        except RemoteError as exc:
            file.close()
            if exc.remote.code == NOT_FOUND:
                raise FileNotFoundError(name) from None
            raise
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file, size

    async def _read(self, digest: str, file: BinaryIO) -> int:
        metadata = [(STORE_ID, self._store)]
        info = await self._caller.unary(
            CONTENT + "Info", content_pb2.InfoRequest(digest=digest), content_pb2.InfoResponse, metadata
        )
        call = self._caller.channel.call(CONTENT + "Read", metadata)
        size = 0
        try:
            await call.send(content_pb2.ReadContentRequest(digest=digest, size=info.info.size).SerializeToString())
            call.end()
            while (data := await call.receive()) is not None:
                part = parsed(data, content_pb2.ReadContentResponse).data
                size += len(part)
                if size > info.info.size:
                    raise RpcError(f"the client sends more of {digest} than it said", code=INVALID_ARGUMENT)
                await aside(file.write, part)
        finally:
            call.cancel()
        return size


def write_blobs(
    caller: Caller, store: str, blobs: Mapping[str, int], content: ContentStore, cancelled: threading.Event | None
) -> None:
    """Send blobs by digest, with their sizes, several at once; the first failure ends all."""

    def send(digest: str, stop: threading.Event) -> None:
        caller.wait(_write(caller, store, digest, blobs[digest], content), stop)

    with waiting():  # it is the others that work
        several(send, blobs, TRANSFERS, cancelled=cancelled, name="send")


async def _write(caller: Caller, store: str, digest: str, size: int, content: ContentStore) -> None:
    """Send one blob, unless the client has it (containerd, `content.Writer` over the wire)."""
    call = caller.channel.call(CONTENT + "Write", [(STORE_ID, store)])
    try:
        start = content_pb2.WriteContentRequest(
            action=content_pb2.STAT, ref=f"dockc-{digest}", total=size, expected=digest
        )
        await call.send(start.SerializeToString())
        told = await call.receive()
        at = parsed(told, content_pb2.WriteContentResponse).offset if told is not None else 0
        if not 0 <= at <= size:
            raise RpcError(f"the client has {at} bytes of {digest}, which has {size}", code=INVALID_ARGUMENT)
        async with opened(lambda: content.open(digest)) as file:
            file.seek(at)
            data = await aside(file.read, _BLOCK)
            while data:
                part = content_pb2.WriteContentRequest(
                    action=content_pb2.WRITE, ref=f"dockc-{digest}", offset=at, data=data
                )
                at += len(data)
                await call.send(part.SerializeToString())
                # The next piece is read while the client writes this one.
                data, _ = await asyncio.gather(aside(file.read, _BLOCK), call.receive())
        commit = content_pb2.WriteContentRequest(
            action=content_pb2.COMMIT, ref=f"dockc-{digest}", offset=at, total=size, expected=digest
        )
        await call.send(commit.SerializeToString())
        call.end()
        await call.drained()
    except RpcError as exc:
        if exc.code != ALREADY_EXISTS:
            raise
    finally:
        call.cancel()
