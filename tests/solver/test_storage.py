"""One set of rules for every key storage."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import StoreError
from dockc.solver.cache.storage.base import CacheKeyStorage, CacheLink, CacheResult, KeyRecord, NotFound
from dockc.solver.cache.storage.memory import MemoryKeyStorage
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage, set_aside

LINK = CacheLink(0, 0, "sha256:op")
OTHER = CacheLink(1, 0, "sha256:op", "selector")


def record(key: str, name: str, at: int, digest: str = "sha256:op") -> KeyRecord:
    return KeyRecord(
        key, digest, 0, "sha256:v", name, {"args": ["a", "b"]}, ({"keys": [["k", ""]], "content": ""},), at
    )


class Conformance:
    def test_is_a_storage(self, storage: CacheKeyStorage) -> None:
        assert isinstance(storage, CacheKeyStorage)

    def test_results(self, storage: CacheKeyStorage) -> None:
        assert not storage.exists("foo")
        assert storage.results("foo") == ()
        storage.add_result("foo", CacheResult("foo0", 1))
        storage.add_result("foo", CacheResult("foo1", 2))
        storage.add_result("foo", CacheResult("foo1", 3))
        storage.add_result("bar", CacheResult("foo1", 4))
        assert storage.exists("foo")
        assert sorted(storage.results("foo"), key=lambda r: r.id) == [CacheResult("foo0", 1), CacheResult("foo1", 3)]
        assert storage.load("foo", "foo1") == CacheResult("foo1", 3)
        with pytest.raises(NotFound):
            storage.load("foo", "nothing")
        with pytest.raises(NotFound):
            storage.load("nothing", "foo1")
        assert sorted(storage.keys_by_result("foo1")) == ["bar", "foo"]
        assert sorted(storage.result_ids()) == ["foo0", "foo1"]
        assert sorted(storage.keys()) == ["bar", "foo"]

    def test_links(self, storage: CacheKeyStorage) -> None:
        storage.add_link("foo", LINK, "target")
        storage.add_link("foo", LINK, "target")
        storage.add_link("foo", LINK, "second")
        storage.add_link("foo", OTHER, "target")
        storage.add_link("bar", LINK, "target")
        assert storage.exists("foo")
        assert not storage.exists("target")
        assert sorted(storage.links("foo", LINK)) == ["second", "target"]
        assert storage.links("foo", CacheLink(0, 0, "sha256:op", "s")) == ()
        assert storage.links("foo", CacheLink(0, 1, "sha256:op")) == ()
        assert storage.has_link("foo", OTHER, "target")
        assert not storage.has_link("foo", OTHER, "second")
        assert sorted(storage.backlinks("target")) == [("bar", LINK), ("foo", LINK), ("foo", OTHER)]
        assert storage.backlinks("foo") == ()

    def test_release_one_result(self, storage: CacheKeyStorage) -> None:
        storage.add_result("foo", CacheResult("a", 1))
        storage.add_result("foo", CacheResult("b", 1))
        storage.release("a")
        assert [r.id for r in storage.results("foo")] == ["b"]
        assert storage.keys_by_result("a") == ()
        storage.release("nothing")

    def test_release_takes_empty_branches(self, storage: CacheKeyStorage) -> None:
        storage.add_result("root", CacheResult("r", 1))
        storage.add_link("root", LINK, "mid")
        storage.add_link("mid", LINK, "leaf")
        storage.add_link("content", LINK, "leaf")
        storage.add_result("leaf", CacheResult("x", 1))
        storage.remember(record("leaf", "leaf", 1))
        storage.release("x")
        assert not storage.exists("mid")
        assert not storage.exists("content")
        assert storage.links("root", LINK) == ()
        assert storage.exists("root")
        assert storage.recall("leaf") is None
        storage.release("r")
        assert not storage.exists("root")
        assert list(storage.keys()) == []

    def test_release_keeps_what_leads_on(self, storage: CacheKeyStorage) -> None:
        """A parent without a result of its own still leads to its child's."""
        storage.add_result("root", CacheResult("r", 1))
        storage.add_link("root", LINK, "leaf")
        storage.add_result("leaf", CacheResult("x", 1))
        storage.release("r")
        assert storage.links("root", LINK) == ("leaf",)
        assert storage.exists("root")

    def test_long_chains_are_released(self, storage: CacheKeyStorage) -> None:
        for i in range(3000):
            storage.add_link(f"k{i}", LINK, f"k{i + 1}")
        storage.add_result("k3000", CacheResult("x", 1))
        storage.release("x")
        assert list(storage.keys()) == []

    def test_one_key_that_leads_to_many(self, storage: CacheKeyStorage) -> None:
        for i in range(300):
            storage.add_link("base", CacheLink(0, 0, f"sha256:op{i % 100}"), f"t{i}")
            storage.add_result(f"t{i}", CacheResult(f"r{i}", i))
        for i in range(300):
            assert storage.backlinks(f"t{i}") == (("base", CacheLink(0, 0, f"sha256:op{i % 100}")),)
            assert storage.exists("base")
            storage.release(f"r{i}")
            assert storage.backlinks(f"t{i}") == ()
        assert list(storage.keys()) == []

    def test_records(self, storage: CacheKeyStorage) -> None:
        assert storage.recall("k") is None
        for i in range(12):
            storage.remember(record(f"k{i}", "RUN make", i))
        storage.remember(record("other", "COPY", 99, "sha256:other"))
        storage.remember(record("k3", "RUN make", 50))
        assert storage.recall("k3") == record("k3", "RUN make", 50)
        similar = storage.recall_similar("RUN make", "sha256:other", 4)
        assert [r.key for r in similar] == ["other", "k3", "k11", "k10"]
        storage.remember(record("k11", "COPY", 11))
        assert [r.key for r in storage.recall_similar("RUN make", "", 3)] == ["k3", "k10", "k9"]
        assert storage.recall_similar("RUN", "sha256") == ()

    def test_threads(self, storage: CacheKeyStorage) -> None:
        def work(n: int) -> None:
            for i in range(100):
                storage.add_link(f"k{i}", LINK, f"t{n}")
                storage.add_result(f"t{n}", CacheResult(f"r{n}-{i}", i))
                assert storage.has_link(f"k{i}", LINK, f"t{n}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(storage.links("k50", LINK)) == 4
        assert len(storage.results("t2")) == 100


class TestMemory(Conformance):
    @pytest.fixture
    def storage(self) -> MemoryKeyStorage:
        return MemoryKeyStorage()


class TestSqlite(Conformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SqliteKeyStorage]:
        storage = SqliteKeyStorage(tmp_path / "cache.db")
        yield storage
        assert storage.verify() == ()
        storage.close()


def test_survives(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    first = SqliteKeyStorage(path)
    first.add_link("a", LINK, "b")
    first.add_result("b", CacheResult("r", 7))
    first.remember(record("b", "RUN x", 7))
    first.close()
    second = SqliteKeyStorage(path)
    assert second.links("a", LINK) == ("b",)
    assert second.results("b") == (CacheResult("r", 7),)
    assert second.recall("b") == record("b", "RUN x", 7)
    second.close()


def test_two_openings_see_each_other(tmp_path: Path) -> None:
    one, two = SqliteKeyStorage(tmp_path / "c.db"), SqliteKeyStorage(tmp_path / "c.db")
    one.add_result("k", CacheResult("r", 1))
    assert two.results("k") == ()
    one.flush()
    assert two.results("k") == (CacheResult("r", 1),)
    two.release("r")
    assert one.results("k") == ()
    one.close()
    two.close()


@pytest.mark.parametrize("where", ["head", "middle", "text"])
def test_damaged_file(tmp_path: Path, where: str) -> None:
    path = tmp_path / "cache.db"
    storage = SqliteKeyStorage(path)
    for i in range(500):
        storage.add_result(f"key-{i}", CacheResult(f"r{i}", i))
    storage.close()
    data = bytearray(path.read_bytes())
    if where == "head":
        data[:100] = bytes(100)
    elif where == "middle":
        for at in range(4096, len(data), 4096):
            data[at : at + 2048] = b"\xff" * 2048
    else:
        data = bytearray(b"hello, this is no database\n" * 500)
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"is damaged|is not a build cache") as caught:
        storage = SqliteKeyStorage(path)
        try:
            storage.results("key-1")
            assert storage.verify() == ()
        finally:
            storage.close()
    assert str(path) in caught.value.message
    moved = set_aside(path)
    assert moved.exists()
    fresh = SqliteKeyStorage(path)
    assert list(fresh.keys()) == []
    fresh.close()


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    SqliteKeyStorage(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StoreError, match="written by a newer version"):
        SqliteKeyStorage(path)


def test_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (x)")
    db.execute("PRAGMA user_version=1")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="belongs to another program"):
        SqliteKeyStorage(path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used: unable to open"):
        SqliteKeyStorage(tmp_path / "no" / "cache.db")


def test_full_disk(tmp_path: Path) -> None:
    """A write that does not fit is an error that says so; what was written before stays."""
    storage = SqliteKeyStorage(tmp_path / "cache.db")
    storage.add_result("first", CacheResult("r", 1))
    storage.flush()
    pages = storage._db.execute("PRAGMA page_count").fetchone()[0]
    storage._db.execute(f"PRAGMA max_page_count={pages}")
    for n in range(200):
        storage.add_result(f"key-{n}" + "x" * 200, CacheResult("r", 1))
    with pytest.raises(StoreError, match="the disk is full"):
        storage.flush()
    assert storage.results("first") == (CacheResult("r", 1),)
    assert not storage.exists("key-1" + "x" * 200)
    storage.close()


def test_what_is_forgotten_is_given_back_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    storage = SqliteKeyStorage(path)
    for i in range(4000):
        storage.add_link(f"source{i:060}", LINK, f"target{i:060}")
        storage.add_result(f"target{i:060}", CacheResult(f"result{i % 2}", i))
    storage.compact()
    full = path.stat().st_size
    assert storage.exists("source" + "0" * 59 + "7"), "what is in use stays"
    storage.release("result0")
    storage.release("result1")
    assert storage.compact() > full // 2
    assert path.stat().st_size < full // 4
    storage.close()
