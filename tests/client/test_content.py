"""Blobs that a builder sends into a directory of the client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from dockc.client.content import Store, _Ingest
from dockc.rpc.pb import content_pb2

BLOBS = [f"blob {number}".encode() for number in range(600)]


def sent(root: Path, data: bytes) -> str:
    ingest = _Ingest(Store(root))
    try:
        return ingest.take(content_pb2.WriteContentRequest(action=content_pb2.COMMIT, data=data, total=len(data))).digest
    finally:
        ingest.close()


def test_many_come_at_once_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    """Each that has ended takes the folder away that the others are about to use."""
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda data: sent(tmp_path, data), BLOBS))
    assert digests == [f"sha256:{sha256(data).hexdigest()}" for data in BLOBS]
    assert sorted(path.name for path in (tmp_path / "blobs" / "sha256").iterdir()) == sorted(one[7:] for one in digests)
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
