"""containerd's content service over directories of blobs (`blobs/ALGORITHM/HEX`): OCI layouts to read, and places for
images and caches.

Which directory is meant says the metadata of each call. Source: containerd, `api/services/content/v1`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dockc.base.aside import aside, opened
from dockc.errors import StoreError
from dockc.protocol.names import CONTENT, STORE_ID
from dockc.rpc.calls import Call, Handler, only, parsed, unary
from dockc.rpc.pb import content_pb2
from dockc.rpc.status import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    RpcError,
)

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha384):([0-9a-f]{96})|(sha512):([0-9a-f]{128})")
_PIECE = 1 << 20
_TRIES = 100
"""How often the folder of what is not whole may be taken away before a blob has its file there."""


class Store:
    """One directory of blobs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where a blob is.

        Raises:
            RpcError: that is no digest.
        """
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise RpcError(f"invalid digest {digest!r}", code=INVALID_ARGUMENT)
        algorithm, _, value = digest.partition(":")
        return self.root / "blobs" / algorithm / value

    def size(self, digest: str) -> int:
        """Bytes of a blob.

        Raises:
            RpcError: it is not there.
        """
        try:
            return self.path(digest).stat().st_size
        except OSError as exc:
            raise RpcError(f"content {digest}: not found", code=NOT_FOUND) from exc

    def blobs(self) -> list[tuple[str, int]]:
        """Digests of all blobs, sorted, and their bytes."""
        found = []
        for path in sorted(self.root.glob("blobs/*/*")):
            with suppress(OSError):  # one that has gone meanwhile
                found.append((f"{path.parent.name}:{path.name}", path.stat().st_size))
        return found


def handlers(stores: Mapping[str, Path]) -> dict[str, Handler]:
    """What is served, by path."""
    known = {name: Store(path) for name, path in stores.items()}

    def store(call: Call) -> Store:
        name = call.get(STORE_ID)
        found = known.get(name)
        if found is None:
            raise RpcError(f"unknown content store {name!r}", code=NOT_FOUND)
        return found

    async def info(request: content_pb2.InfoRequest, call: Call) -> content_pb2.InfoResponse:
        size = await aside(store(call).size, request.digest)
        return content_pb2.InfoResponse(info=content_pb2.Info(digest=request.digest, size=size))

    async def read(call: Call) -> None:
        request = await only(call, content_pb2.ReadContentRequest)
        found = store(call)
        size = await aside(found.size, request.digest)
        if not 0 <= request.offset <= size:
            raise RpcError(f"read past the end of {request.digest}", code=OUT_OF_RANGE)
        left = min(request.size or size, size - request.offset)
        async with opened(lambda: found.path(request.digest).open("rb")) as file:
            file.seek(request.offset)
            at = request.offset
            while left > 0:
                data = await aside(file.read, min(left, _PIECE))
                if not data:
                    break
                await call.send(content_pb2.ReadContentResponse(offset=at, data=data).SerializeToString())
                at += len(data)
                left -= len(data)

    async def list_(call: Call) -> None:
        await only(call, content_pb2.ListContentRequest)
        answer = content_pb2.ListContentResponse()
        for digest, size in await aside(store(call).blobs):
            answer.info.add(digest=digest, size=size)
        await call.send(answer.SerializeToString())

    async def status(request: content_pb2.StatusRequest, call: Call) -> content_pb2.StatusResponse:
        raise RpcError(f"ingest {request.ref}: not found", code=NOT_FOUND)

    async def statuses(request: content_pb2.ListStatusesRequest, call: Call) -> content_pb2.ListStatusesResponse:
        return content_pb2.ListStatusesResponse()

    async def abort(request: content_pb2.AbortRequest, call: Call) -> content_pb2.AbortRequest:
        return content_pb2.AbortRequest()  # what was not committed is gone already; an empty message has no type

    async def update(request: content_pb2.UpdateRequest, call: Call) -> content_pb2.UpdateResponse:
        size = await aside(store(call).size, request.info.digest)
        return content_pb2.UpdateResponse(info=content_pb2.Info(digest=request.info.digest, size=size))

    async def write(call: Call) -> None:
        call.start()
        ingest = _Ingest(store(call))
        try:
            while (data := await call.receive()) is not None:
                answer = await aside(ingest.take, parsed(data, content_pb2.WriteContentRequest))
                await call.send(answer.SerializeToString())
        finally:
            await aside(ingest.close)

    return {
        CONTENT + "Info": unary(content_pb2.InfoRequest, info),
        CONTENT + "Read": read,
        CONTENT + "List": list_,
        CONTENT + "Status": unary(content_pb2.StatusRequest, status),
        CONTENT + "ListStatuses": unary(content_pb2.ListStatusesRequest, statuses),
        CONTENT + "Abort": unary(content_pb2.AbortRequest, abort),
        CONTENT + "Update": unary(content_pb2.UpdateRequest, update),
        CONTENT + "Write": write,
    }


class _Ingest:
    """A blob on its way in. It gets its name when it is whole and its digest is right."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file: BinaryIO | None = None
        self._path = store.root / "ingest" / secrets.token_hex(8)
        self._offset = 0
        self._hash = hashlib.sha256()
        self._total, self._expected = 0, ""

    def take(self, request: content_pb2.WriteContentRequest) -> content_pb2.WriteContentResponse:
        """One request.

        Raises:
            RpcError: it makes no sense, or the blob is there already.
        """
        self._total, self._expected = request.total or self._total, request.expected or self._expected
        if self._expected and self._file is None and self._store.path(self._expected).exists():
            os.utime(self._store.path(self._expected))  # as if it had come now: see `caches.Turns`
            raise RpcError(f"content {self._expected} already exists", code=ALREADY_EXISTS)
        if request.action == content_pb2.STAT:
            return self._answer(request.action)
        if request.data:
            if request.offset != self._offset:
                raise RpcError(f"the next byte is {self._offset}, not {request.offset}", code=OUT_OF_RANGE)
            self._write(request.data)
        if request.action == content_pb2.COMMIT:
            return self._commit(request.action)
        return self._answer(request.action)

    def _answer(self, action: content_pb2.WriteAction) -> content_pb2.WriteContentResponse:
        return content_pb2.WriteContentResponse(
            action=action,
            offset=self._offset,
            total=self._total,
            digest=f"sha256:{self._hash.hexdigest()}" if self._offset else "",
        )

    def _write(self, data: bytes) -> None:
        try:
            self._file = self._file or self._opened()
            self._file.write(data)
        except OSError as exc:
            raise StoreError(f"cannot write {self._path}: {exc.strerror}") from exc
        self._hash.update(data)
        self._offset += len(data)

    def _opened(self) -> BinaryIO:
        for _ in range(_TRIES):
            # Another one may end at any moment and take the empty folder away: before the file is opened it is not
            # found then, and while it is made it is neither new nor there, which `mkdir` calls "exists".
            with suppress(FileNotFoundError, FileExistsError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return self._path.open("xb")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("xb")

    def _commit(self, action: content_pb2.WriteAction) -> content_pb2.WriteContentResponse:
        digest = f"sha256:{self._hash.hexdigest()}"
        if self._total and self._total != self._offset:
            raise RpcError(f"{self._offset} bytes came of {self._total}", code=FAILED_PRECONDITION)
        if self._expected and self._expected != digest:
            raise RpcError(f"the content is {digest}, not {self._expected}", code=FAILED_PRECONDITION)
        self._write(b"")
        assert self._file is not None
        target = self._store.path(digest)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)
        except OSError as exc:
            raise StoreError(f"cannot write {target}: {exc.strerror}") from exc
        return content_pb2.WriteContentResponse(action=action, offset=self._offset, total=self._offset, digest=digest)

    def close(self) -> None:
        """What is not whole goes."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)
        try:
            self._path.parent.rmdir()
        except OSError:
            pass
