"""Blobs: whole or not there, verified, resumed, shared by processes, and honest about a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import DigestMismatch, StoreError
from dockc.oci import digest as digests
from dockc.oci.digest import InvalidDigest
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.kernel import syscalls
from tests.runtime.store_helpers import need_mounts

DATA = bytes(range(256)) * 5000
DIGEST = digests.from_bytes(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def ingest(store: ContentStore) -> list[str]:
    return sorted(path.name for path in (store.root / "ingest").iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_put_and_read(store: ContentStore, algorithm: str) -> None:
    digest = digests.from_bytes(DATA, algorithm)
    assert not store.has(digest)
    with store.writer(digest, len(DATA)) as writer:
        writer.write(DATA[:1000])
        assert not store.has(digest)
        writer.write(DATA[1000:])
        assert writer.commit() == (digest, len(DATA))
    assert store.has(digest)
    assert store.size(digest) == len(DATA)
    assert store.read(digest) == DATA
    assert store.verify(digest) == len(DATA)
    assert (store.root / "blobs" / algorithm / digest.partition(":")[2]).read_bytes() == DATA
    assert list(store.digests()) == [digest]
    assert ingest(store) == []
    assert (store.root / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert store.remove(digest) >= len(DATA), "blocks of the disk"
    assert store.remove(digest) == 0


def test_a_digest_that_is_not_known_yet(store: ContentStore) -> None:
    with store.writer() as writer:
        writer.write(b"hello")
        assert writer.commit() == (digests.from_bytes(b"hello"), 5)
    assert store.put(b"hello") == digests.from_bytes(b"hello")


def test_wrong_bytes_are_dropped(store: ContentStore) -> None:
    with (
        pytest.raises(DigestMismatch, match=f"unexpected digest: expected {DIGEST}, got sha256:"),
        store.writer(DIGEST) as writer,
    ):
        writer.write(b"wrong")
        writer.commit()
    with pytest.raises(DigestMismatch, match="more than the expected 3 bytes"), store.writer(DIGEST, 3) as writer:
        writer.write(DATA)
    assert ingest(store) == []
    assert not store.has(DIGEST)
    for bad in ("sha256:xyz", "md5:" + "0" * 32, "../../etc/passwd", "sha256:" + "../" * 21 + "a"):
        with pytest.raises(InvalidDigest):
            store.writer(bad)
        with pytest.raises(InvalidDigest):
            store.open(bad)


def test_resuming(store: ContentStore) -> None:
    with (
        pytest.raises(DigestMismatch, match="unexpected end of data: got 1000 of"),
        store.writer(DIGEST, len(DATA)) as writer,
    ):
        writer.write(DATA[:1000])
        writer.commit()
    assert len(ingest(store)) == 1
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 1000
        writer.write(DATA[1000:])
        writer.commit()
    assert store.read(DIGEST) == DATA


def test_resuming_on_top_of_wrong_bytes(store: ContentStore) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(b"x" * 1000)
    with pytest.raises(DigestMismatch), store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[1000:])
        writer.commit()
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 0, "what did not fit is gone"
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(b"y" * 500)
        writer.restart()
        assert writer.offset == 0
        writer.write(DATA)
        writer.commit()
    assert store.read(DIGEST) == DATA


def test_a_complete_blob_is_not_written_again(store: ContentStore) -> None:
    store.put(DATA)
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.complete
        with pytest.raises(StoreError, match="is complete"):
            writer.write(b"x")
        assert writer.commit() == (DIGEST, len(DATA))


def test_limits_and_damage(store: ContentStore) -> None:
    store.put(DATA)
    with pytest.raises(StoreError, match="is larger than 10 bytes"):
        store.read(DIGEST, 10)
    place = store.path(DIGEST)
    place.chmod(0o644)
    place.write_bytes(b"!" + DATA[1:])
    with pytest.raises(DigestMismatch):
        store.read(DIGEST)
    with pytest.raises(DigestMismatch):
        store.verify(DIGEST)
    with pytest.raises(StoreError, match="is not in the store"):
        store.open(digests.from_bytes(b"?"))


SLOW_WRITER = """
import sys, time
from pathlib import Path
from dockc.runtime.content.store import ContentStore
data = bytes(range(256)) * 5000
with ContentStore(Path(sys.argv[1])).writer(sys.argv[2], len(data)) as writer:
    print(writer.complete)
    for at in range(writer.offset, 0 if writer.complete else len(data), 1 << 17):
        writer.write(data[at : at + (1 << 17)])
        time.sleep(0.05)
    writer.commit()
"""


def test_many_processes_write_one_blob_once(store: ContentStore) -> None:
    command = [sys.executable, "-c", SLOW_WRITER, str(store.root), DIGEST]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = sorted(writer.communicate()[0] for writer in writers)
    assert [writer.returncode for writer in writers] == [0] * 4
    assert said == ["False\n", "True\n", "True\n", "True\n"]
    assert store.read(DIGEST) == DATA
    assert ingest(store) == []


def test_waiting_for_another_writer_can_be_cancelled(store: ContentStore) -> None:
    stop = threading.Event()
    with store.writer(DIGEST, len(DATA)):
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Cancelled):
            store.writer(DIGEST, len(DATA), cancelled=stop)


def test_a_killed_writer_leaves_what_can_be_taken_up(store: ContentStore) -> None:
    code = (
        "import os, sys; from pathlib import Path; from dockc.runtime.content.store import ContentStore\n"
        "s = ContentStore(Path(sys.argv[1])); w = s.writer(sys.argv[2], 1280000); w.write(bytes(range(256)) * 1000)\n"
        "a = s.writer(); a.write(b'x' * 100); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(store.root), DIGEST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"ready\n"
        assert store.clean() == 0, "a living writer's file stays"
        killed.kill()
    assert not store.has(DIGEST)
    assert store.clean() == 100
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 256_000
        writer.write(DATA[256_000:])
        writer.commit()
    assert store.read(DIGEST) == DATA
    with store.writer(digests.from_bytes(b"never")) as writer:
        writer.write(b"part")
    assert store.clean(partial_older_than=0) == 4


def test_what_a_clock_has_put_into_the_future_is_not_kept_for_ever(store: ContentStore) -> None:
    for seconds, freed in ((60, 0), (365 * 86400, 4)):
        with store.writer(digests.from_bytes(b"never")) as writer:
            writer.write(b"part")
        (partial,) = (store.root / "ingest").iterdir()
        ahead = time.time() + seconds
        os.utime(partial, (ahead, ahead))
        assert store.clean() == freed
        partial.unlink(missing_ok=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    need_mounts()
    place = tmp_path / "small"
    place.mkdir()
    syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=1m")
    yield place
    syscalls.umount(str(place), syscalls.MNT_DETACH)


def test_a_full_disk(small: Path) -> None:
    store = ContentStore(small / "content")
    with pytest.raises(StoreError) as caught, store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        writer.commit()
    assert caught.value.message == f"the disk of the store {store.root} is full (writing a blob)"
    assert "dockc prune" in caught.value.hint
    assert ingest(store) == []
    assert not store.has(DIGEST)
    assert store.put(b"small") == digests.from_bytes(b"small")


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "content").write_text("a file")
    with pytest.raises(StoreError, match="opening the content store"):
        ContentStore(tmp_path / "content")
    if os.geteuid() == 0:
        need_mounts()
        place = tmp_path / "readonly"
        place.mkdir()
        syscalls.mount("tmpfs", str(place), "tmpfs", syscalls.MS_RDONLY)
        try:
            with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
                ContentStore(place / "content")
        finally:
            syscalls.umount(str(place))


def test_a_blob_that_comes_while_it_is_looked_for_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread lands it between the look that finds nothing and any second one."""
    store = ContentStore(tmp_path)
    monkeypatch.setattr(ContentStore, "has", lambda self, digest: True)
    assert store.find("sha256:" + "0" * 64) is None


# --- blobs of another store


@pytest.fixture
def other(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "other")


def count_verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of the blobs that are read to be verified."""
    found: list[str] = []
    verify = ContentStore.verify

    def counted(self: ContentStore, digest: str, cancelled: threading.Event | None = None) -> int:
        found.append(digest)
        return verify(self, digest, cancelled)

    monkeypatch.setattr(ContentStore, "verify", counted)
    return found


def test_a_blob_of_another_store_is_read_to_be_verified_once_at_most(
    store: ContentStore, other: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = count_verified(monkeypatch)
    other.put(DATA)
    store.take(DIGEST, other)
    assert verified == [], "this process has written it"
    assert store.read(DIGEST) == DATA
    assert store.is_known(DIGEST)
    store.take(DIGEST, other)
    assert ingest(store) == []

    fresh, third = ContentStore(other.root), ContentStore(store.root.parent / "third")
    third.take(DIGEST, fresh)
    third.remove(DIGEST)
    third.take(DIGEST, fresh)
    assert verified == [DIGEST]
    assert third.read(DIGEST) == DATA


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_blobs_of_any_size_are_taken(store: ContentStore, other: ContentStore, size: int) -> None:
    digest = other.put(bytes(size))
    store.take(digest, other)
    assert store.read(digest) == bytes(size)


def test_where_the_kernel_does_not_copy_the_bytes_go_through_our_hands(
    store: ContentStore, other: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    other.put(DATA)
    store.take(DIGEST, other)
    assert store.read(DIGEST) == DATA


def test_what_is_damaged_there_is_not_taken(store: ContentStore, other: ContentStore) -> None:
    other.put(DATA)
    place = other.path(DIGEST)
    place.chmod(0o644)
    place.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(DigestMismatch):
        store.take(DIGEST, other)
    assert not store.has(DIGEST)
    with pytest.raises(StoreError, match="is not in the store"):
        store.take(digests.from_bytes(b"nobody has it"), other)


def test_what_changes_while_it_is_copied_is_not_taken(
    store: ContentStore, other: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.put(DATA)
    copy = os.copy_file_range

    def changed(source: int, target: int, count: int) -> int:
        with other.path(DIGEST).open("r+b") as file:
            file.write(b"?")
        return copy(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", changed)
    with pytest.raises(DigestMismatch, match="changed while it was copied"):
        store.take(DIGEST, other)
    assert not store.has(DIGEST)
    assert ingest(store) == []


def test_what_becomes_shorter_while_it_is_copied_is_not_taken(
    store: ContentStore, other: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.put(DATA)
    monkeypatch.setattr(os, "copy_file_range", lambda *_arguments: 0)
    with pytest.raises(DigestMismatch, match="bytes are missing"):
        store.take(DIGEST, other)
    assert ingest(store) == []


def test_taking_a_blob_can_be_cancelled(store: ContentStore, other: ContentStore) -> None:
    other.put(DATA)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        store.take(DIGEST, other, cancelled=cancelled)
    assert not store.has(DIGEST)
    assert ingest(store) == []
