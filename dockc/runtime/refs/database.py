"""The store's table of contents: records, their parents, blobs, metadata, and who holds them.

SQLite in WAL mode, shared by processes and threads: one connection, one lock, short transactions that take
the write lock at once. A killed process loses its open transaction and nothing else.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dockc.base import jsontext
from dockc.base import record as lean
from dockc.base.record import fields_of
from dockc.errors import StoreError
from dockc.oci.descriptor import Descriptor
from dockc.runtime.content.errors import FULL, Free, store_error
from dockc.solver.cache.storage.sqlite import give_back, make_private

VERSION = 2
_LEAST = 64 << 10  # bytes: the shared memory beside a database takes half of it
_UNSPECIFIC = ("disk I/O error", "unable to open")
_WAIT = 60.0  # seconds for another process's transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record(
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,                    -- layer: own changes on one parent; merge; diff (suffix of known layers)
  state TEXT NOT NULL,                   -- mutable, committed
  retain INTEGER NOT NULL DEFAULT 0,     -- a mutable one that outlives its process
  snapshot INTEGER NOT NULL DEFAULT 0,   -- its change directory is there
  diff_id TEXT NOT NULL DEFAULT '',      -- digest of its tar, once known
  chain_id TEXT NOT NULL DEFAULT '',     -- identity: of an image's layer with all below (by blobs), of a combination
  size INTEGER NOT NULL DEFAULT -1,      -- bytes of the change directory on disk, once measured
  record_type TEXT NOT NULL,
  description TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  usage_count INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS record_chain ON record(chain_id) WHERE chain_id != '';
CREATE TABLE IF NOT EXISTS parent(
  record TEXT NOT NULL, position INTEGER NOT NULL, parent TEXT NOT NULL, PRIMARY KEY(record, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parent_of ON parent(parent);
CREATE TABLE IF NOT EXISTS blob(
  record TEXT NOT NULL, digest TEXT NOT NULL, variant TEXT NOT NULL, media_type TEXT NOT NULL,
  size INTEGER NOT NULL, annotations TEXT NOT NULL, diff_id TEXT NOT NULL, origin TEXT NOT NULL,
  PRIMARY KEY(record, variant)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blob_digest ON blob(digest);
CREATE TABLE IF NOT EXISTS meta(
  record TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(record, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS meta_value ON meta(key, value);
CREATE TABLE IF NOT EXISTS hold(
  lease TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY(lease, record)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hold_record ON hold(record);
"""

MUTABLE = "mutable"
COMMITTED = "committed"
LAYER = "layer"
MERGE = "merge"
DIFF = "diff"
PROVEN = "chain"
"""Metadata of an image's layer whose bytes, and those of all below, were found to be what the diff ids say: the
chain of these diff ids. Before that a diff id is only what some config says."""
AS_CAME = "as-came"
"""The `variant` of a blob that came from outside; others name compression, level, library and epoch."""
NAMED = "as-came:"
"""How the `variant` of a blob begins by which an image calls a layer that came as another; its position follows."""


class Record(lean.Record):
    """One row of `record`; see the schema."""

    id: str
    kind: str
    state: str
    retain: int
    snapshot: int
    diff_id: str
    chain_id: str
    size: int
    record_type: str
    description: str
    created_at: int
    last_used_at: int
    usage_count: int


class Blob(lean.Record):
    """One row of `blob`: a layer in the form of a blob."""

    record: str
    variant: str
    descriptor: Descriptor
    diff_id: str
    origin: str

    @property
    def came(self) -> bool:
        """Whether it is from outside: where it is not here, it may be had from there."""
        return self.variant == AS_CAME or self.variant.startswith(NAMED)


_RECORD_COLUMNS = ", ".join(fields_of(Record))
_URLS = ""
"""Beside the annotations, whose names are never empty: where a layer that registries need not hold can be had."""
_BLOB_COLUMNS = "record, variant, digest, media_type, size, annotations, diff_id, origin"


class Database:
    """Queries on one database file. Any thread may call; writes go through `transaction`.

    Attributes:
        lock: guards the connection; re-entrant. Whoever keeps state that must agree with the database takes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = threading.RLock()
        try:
            make_private(path)
            self._connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        except OSError as error:
            raise store_error(error, "opening the database", path.parent) from error
        except sqlite3.Error as error:
            raise self._told(error) from error
        try:
            self._begin()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._told(error) from error
        except BaseException:
            self._connection.close()
            raise

    def _begin(self) -> None:
        self._use_wal()
        self._connection.execute("PRAGMA synchronous=NORMAL")
        with self.transaction():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise StoreError(
                    f"the store {self._path.parent} has format {found}; this program knows up to {VERSION}",
                    hint="Use a newer dockc, or another store with $DOCKC_STORE.",
                )
            if found == VERSION:
                return  # nothing is written, so that a store can be looked at on a full disk
            for statement in _SCHEMA.split(";\n"):
                self._connection.execute(statement)
            if found == 1:
                self._from_1()
            self._connection.execute(f"PRAGMA user_version={VERSION}")

    def _from_1(self) -> None:
        """Format 1 found image layers by the diff ids that their configs said; only unpacking had proved them."""
        self._connection.execute(
            "INSERT OR REPLACE INTO meta SELECT id, ?, CAST(chain_id AS BLOB) FROM record "
            "WHERE kind = ? AND chain_id != '' AND snapshot = 1",
            (PROVEN, LAYER),
        )
        self._connection.execute("UPDATE record SET chain_id = '' WHERE kind = ?", (LAYER,))

    def _use_wal(self) -> None:
        # The change of mode does not wait for others as statements do, and two processes may make the file at once.
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def shrink(self) -> None:
        """Give back memory: pages that were read stay in it, however long nobody asks for them."""
        with self.lock:
            try:
                self._connection.execute("PRAGMA shrink_memory")
            except sqlite3.Error as error:
                raise self._told(error) from error

    def close(self) -> None:
        """Close the connection."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements of the block at once, or none; no other process writes meanwhile. May be nested."""
        with self.lock:
            if self._connection.in_transaction:
                yield
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if "full" in text or (any(word in text for word in _UNSPECIFIC) and self._is_full()):
            return store_error(OSError(next(iter(FULL)), text), "writing the database", self._path.parent)
        if "readonly" in text or "unable to open" in text:
            return StoreError(
                f"the store {self._path.parent} cannot be written: {text}",
                hint="Check who owns it, or choose another one with $DOCKC_STORE.",
            )
        hint = ""
        if "malformed" in text or "not a database" in text:
            hint = "`dockc doctor --fix` makes it again from what is on disk."
        elif "disk I/O error" in text:
            hint = "See what the kernel says (dmesg); `dockc doctor --full` finds what was lost."
        return StoreError(f"the database of the store {self._path.parent} failed: {text}", hint=hint)

    def _is_full(self) -> bool:
        """Whether the disk has no room for a page or for a file: SQLite cannot make its journal or its shared memory
        then, and says only that something cannot be opened or written.
        """
        try:
            return not Free.at(self._path.parent).has(_LEAST, 1)
        except OSError:
            return False

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._told(error) from error

    def _run(self, sql: str, *values: object) -> int:
        with self.transaction():
            return self._connection.execute(sql, values).rowcount

    # -- records

    def add(self, record: Record, parents: Sequence[str]) -> None:
        """Insert a record with its parents."""
        with self.transaction():
            marks = ", ".join("?" * len(fields_of(Record)))
            self._run(
                f"INSERT INTO record({_RECORD_COLUMNS}) VALUES({marks})",
                *(getattr(record, name) for name in fields_of(Record)),
            )
            for position, parent in enumerate(parents):
                self._run("INSERT INTO parent VALUES(?, ?, ?)", record.id, position, parent)

    def find(self, record_id: str) -> Record | None:
        """The record, or None."""
        rows = self._records("WHERE id = ?", record_id)
        return rows[0] if rows else None

    def records(self) -> list[Record]:
        """All records, oldest first."""
        return self._records("ORDER BY created_at, id")

    def by_chain(self, chain_id: str) -> Record | None:
        """The committed record of this identity."""
        rows = self._records("WHERE chain_id = ? AND chain_id != ''", chain_id)
        return rows[0] if rows else None

    def proven(self, chain: str) -> Record | None:
        """A layer whose bytes are known to be what this chain of diff ids says, unpacked or to be had."""
        found = self.by_meta(PROVEN, chain.encode(), COMMITTED)
        return found[0] if found else None

    def by_meta(self, key: str, value: bytes, state: str) -> list[Record]:
        """Records with this metadata, latest used first."""
        return self._records(
            "WHERE state = ? AND id IN (SELECT record FROM meta WHERE key = ? AND value = ?) "
            "ORDER BY last_used_at DESC, id",
            state,
            key,
            value,
        )

    def values_of_meta(self, key: str, state: str) -> list[tuple[str, bytes]]:
        """Records with any metadata of this name, and what it is."""
        rows = self._all(
            "SELECT record, value FROM meta WHERE key = ? AND record IN (SELECT id FROM record WHERE state = ?)",
            key,
            state,
        )
        return [(str(record), bytes(value)) for record, value in rows]

    def _records(self, where: str, *values: object) -> list[Record]:
        rows = self._all(f"SELECT {_RECORD_COLUMNS} FROM record {where}", *values)  # noqa: S608
        return [Record(*row) for row in rows]

    def update(self, record_id: str, **columns: object) -> None:
        """Set columns of a record."""
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._run(f"UPDATE record SET {sets} WHERE id = ?", *columns.values(), record_id)  # noqa: S608

    def measured(self, found: Sequence[tuple[str, int, int]]) -> None:
        """Note sizes: record, bytes, and how often it had been used before it was measured. What somebody holds or has
        used since is measured again another time.
        """
        with self.transaction():
            for record_id, size, count in found:
                self._run(
                    "UPDATE record SET size = ? WHERE id = ? AND usage_count = ? AND (state = ? OR NOT EXISTS "
                    "(SELECT 1 FROM hold WHERE hold.record = record.id))",
                    size,
                    record_id,
                    count,
                    COMMITTED,
                )

    def unmeasured(self) -> list[Record]:
        """Records with a directory that does not change any more and whose size is not known."""
        return self._records("WHERE snapshot = 1 AND size < 0 AND state = ?", COMMITTED)

    def total_size(self) -> int:
        """Bytes of all directories whose size is known."""
        rows = self._all("SELECT COALESCE(SUM(size), 0) FROM record WHERE snapshot = 1 AND size > 0")
        return int(rows[0][0])

    def oldest(self) -> dict[str, int]:
        """The earliest last use among the records of each type."""
        rows = self._all("SELECT record_type, MIN(last_used_at) FROM record GROUP BY record_type")
        return {str(kind): int(when) for kind, when in rows}

    def no_later(self, now: int) -> None:
        """Uses that a clock has put into the future count as uses now: it has been put right since."""
        if self._all("SELECT 1 FROM record WHERE last_used_at > ? OR created_at > ? LIMIT 1", now, now):
            self._run(
                "UPDATE record SET last_used_at = MIN(last_used_at, ?), created_at = MIN(created_at, ?)", now, now
            )

    def delete(self, record_id: str) -> None:
        """Delete a record and all that hangs on it."""
        with self.transaction():
            self._run("DELETE FROM record WHERE id = ?", record_id)
            for table in ("parent", "blob", "meta", "hold"):
                self._run(f"DELETE FROM {table} WHERE record = ?", record_id)  # noqa: S608

    def parents(self, record_id: str) -> tuple[str, ...]:
        """Ids of the parents, in order."""
        rows = self._all("SELECT parent FROM parent WHERE record = ? ORDER BY position", record_id)
        return tuple(str(row[0]) for row in rows)

    def all_parents(self) -> list[tuple[str, str]]:
        """Every pair of record and parent."""
        rows = self._all("SELECT record, parent FROM parent ORDER BY record, position")
        return [(str(a), str(b)) for a, b in rows]

    def has_children(self, record_id: str) -> bool:
        """Whether other records stand on it."""
        return bool(self._all("SELECT 1 FROM parent WHERE parent = ? LIMIT 1", record_id))

    # -- blobs

    def add_blob(self, blob: Blob) -> None:
        """Insert or replace a blob of a record."""
        found = blob.descriptor
        self._run(
            f"INSERT OR REPLACE INTO blob({_BLOB_COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            blob.record,
            blob.variant,
            found.digest,
            found.media_type,
            found.size,
            json.dumps({**found.annotations, **({_URLS: " ".join(found.urls)} if found.urls else {})}, sort_keys=True),
            blob.diff_id,
            blob.origin,
        )

    def blobs(self, record_id: str | None = None) -> list[Blob]:
        """The blobs of one record, or of all."""
        where, values = ("WHERE record = ?", (record_id,)) if record_id is not None else ("", ())
        rows = self._all(f"SELECT {_BLOB_COLUMNS} FROM blob {where} ORDER BY record, variant", *values)  # noqa: S608
        return [_blob(row) for row in rows]

    def drop_blobs(self, digest: str) -> None:
        """Forget a blob that was made here (those that came from outside can be fetched again)."""
        sql = "DELETE FROM blob WHERE digest = ? AND variant != ? AND substr(variant, 1, ?) != ?"
        self._run(sql, digest, AS_CAME, len(NAMED), NAMED)

    def of_origin(self, digest: str) -> tuple[str, ...]:
        """The blobs that can be had where this one can."""
        rows = self._all(
            "SELECT DISTINCT digest FROM blob WHERE origin != '' AND origin IN"
            " (SELECT origin FROM blob WHERE digest = ?)",
            digest,
        )
        return tuple(str(row[0]) for row in rows)

    def forget_origin(self, digest: str) -> None:
        """Nothing is known any more that has this blob."""
        self._run("UPDATE blob SET origin = '' WHERE digest = ?", digest)

    def forget_blob(self, record_id: str, variant: str) -> None:
        """Forget one blob of one record."""
        self._run("DELETE FROM blob WHERE record = ? AND variant = ?", record_id, variant)

    def blob_users(self, digest: str) -> int:
        """How many records have this blob."""
        rows = self._all("SELECT COUNT(DISTINCT record) FROM blob WHERE digest = ?", digest)
        return int(rows[0][0])

    # -- metadata

    def meta(self, record_id: str, key: str) -> bytes | None:
        """A record's metadata."""
        rows = self._all("SELECT value FROM meta WHERE record = ? AND key = ?", record_id, key)
        return bytes(rows[0][0]) if rows else None

    def set_meta(self, record_id: str, key: str, value: bytes | None) -> None:
        """Set or (None) remove metadata."""
        if value is None:
            self._run("DELETE FROM meta WHERE record = ? AND key = ?", record_id, key)
        else:
            self._run("INSERT OR REPLACE INTO meta VALUES(?, ?, ?)", record_id, key, value)

    # -- holds

    def hold(self, lease: str, record_id: str) -> None:
        """Let a lease hold a record."""
        self._run("INSERT OR IGNORE INTO hold VALUES(?, ?)", lease, record_id)

    def unhold(self, lease: str, now: int, record_id: str | None = None) -> None:
        """Let go of one record, or of all; each was used once more, until now."""
        use = "UPDATE record SET last_used_at = ?, usage_count = usage_count + 1 WHERE id "
        with self.transaction():
            if record_id is None:
                self._run(f"{use} IN (SELECT record FROM hold WHERE lease = ?)", now, lease)  # noqa: S608
                self._run("DELETE FROM hold WHERE lease = ?", lease)
            else:
                self._run(f"{use} = ?", now, record_id)
                self._run("DELETE FROM hold WHERE lease = ? AND record = ?", lease, record_id)

    def holds(self) -> list[tuple[str, str]]:
        """Every lease with a record that it holds."""
        return [(str(a), str(b)) for a, b in self._all("SELECT lease, record FROM hold ORDER BY lease, record")]

    def held(self) -> set[str]:
        """Ids of all held records."""
        return {str(row[0]) for row in self._all("SELECT DISTINCT record FROM hold")}

    def held_by(self, lease: str) -> set[str]:
        """Ids of the records that a lease holds."""
        return {str(row[0]) for row in self._all("SELECT record FROM hold WHERE lease = ?", lease)}

    def is_held(self, record_id: str) -> bool:
        """Whether anybody holds the record."""
        return bool(self._all("SELECT 1 FROM hold WHERE record = ? LIMIT 1", record_id))

    def holders(self) -> set[str]:
        """All leases that hold something."""
        return {str(row[0]) for row in self._all("SELECT DISTINCT lease FROM hold")}

    def take_over(self, table: str, row: Mapping[str, object]) -> None:
        """Insert a row of a damaged database as it is, where there is none yet."""
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        self._run(f"INSERT OR IGNORE INTO {table}({names}) VALUES({marks})", *row.values())

    def compact(self) -> int:
        """Give the space of deleted rows back to the disk; returns the bytes."""
        with self.lock:
            return give_back(self._connection, self._path)

    def check(self) -> list[str]:
        """What SQLite's own check finds wrong; empty when all is well."""
        found = [str(row[0]) for row in self._all("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found


def _blob(row: tuple[Any, ...]) -> Blob:
    record, variant, digest, media_type, size, annotations, diff_id, origin = row
    try:
        noted = jsontext.parsed(str(annotations))
    except ValueError:
        raise StoreError(
            f"the database of the store is damaged: what it says of the blob {digest} is none",
            hint="`dockc doctor --fix` makes it again from what is on disk.",
        ) from None
    descriptor = Descriptor(
        media_type=str(media_type),
        digest=str(digest),
        size=int(size),
        urls=tuple(noted.pop(_URLS, "").split()),
        annotations=noted,
    )
    return Blob(str(record), str(variant), descriptor, str(diff_id), str(origin))
