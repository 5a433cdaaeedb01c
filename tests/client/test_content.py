"""Blobs that a builder sends into a directory of the client."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from dockc.client import content
from dockc.client.content import Store, _Ingest
from dockc.protocol import names
from dockc.rpc.pb import content_pb2
from dockc.rpc.status import RpcError
from tests.rpc.pairs import pair

BLOBS = [f"blob {number}".encode() for number in range(600)]


def sent(root: Path, data: bytes) -> str:
    ingest = _Ingest(Store(root))
    try:
        return ingest.take(
            content_pb2.WriteContentRequest(action=content_pb2.COMMIT, data=data, total=len(data))
        ).digest
    finally:
        ingest.close()


def test_many_come_at_once_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    """Each that has ended takes the folder away that the others are about to use."""
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda data: sent(tmp_path, data), BLOBS))
    assert digests == [f"sha256:{sha256(data).hexdigest()}" for data in BLOBS]
    assert sorted(path.name for path in (tmp_path / "blobs" / "sha256").iterdir()) == sorted(one[7:] for one in digests)
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]


def test_a_blob_whose_sender_goes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it goes just as the file for the blob is made."""
    begun, let = threading.Event(), threading.Event()
    opened = _Ingest._opened

    def slow(self: _Ingest) -> object:
        begun.set()
        assert let.wait(10)
        return opened(self)

    monkeypatch.setattr(_Ingest, "_opened", slow)

    async def run() -> None:
        async with pair(content.handlers({"name": tmp_path})) as (client, server):
            call = client.call(names.CONTENT + "Write", [(names.STORE_ID, "name")])
            await call.send(content_pb2.WriteContentRequest(action=content_pb2.WRITE, data=b"part").SerializeToString())
            while not begun.is_set():
                await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.sleep(0.01)
            let.set()
            with pytest.raises(RpcError):
                await call.receive()
            while server.tasks:
                await asyncio.sleep(0.001)

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_blobs_are_listed_with_their_sizes(tmp_path: Path) -> None:
    digests = {sent(tmp_path, data): len(data) for data in BLOBS[:3]}

    async def run() -> dict[str, int]:
        async with pair(content.handlers({"name": tmp_path})) as (client, _):
            call = client.call(names.CONTENT + "List", [(names.STORE_ID, "name")])
            await call.send(content_pb2.ListContentRequest().SerializeToString())
            call.end()
            answer = content_pb2.ListContentResponse.FromString(await call.receive() or b"")
            await call.drained()
            return {one.digest: one.size for one in answer.info}

    assert asyncio.run(run()) == digests
