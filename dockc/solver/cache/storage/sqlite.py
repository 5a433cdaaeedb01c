"""The key graph in one SQLite file that any number of processes share.

Writes are collected and go to the file in one transaction: when `flush` is called, when something is read, or
when a thousand have come together. So a reader always sees its own writes, a transaction lasts for milliseconds,
and a process that is killed loses at most what was not flushed, never half a record.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from dockc.errors import DiskFull, StoreError
from dockc.solver.cache.storage.base import CacheLink, CacheResult, KeyRecord, NotFound

T = TypeVar("T")

APPLICATION_ID = 0x646F636B
SCHEMA_VERSION = 1
_BUSY_SECONDS = 60.0
_MAX_PENDING = 1000
_LEAST = 64 << 10  # bytes: the shared memory beside a database takes half of it
_UNSPECIFIC = ("disk I/O error", "unable to open")
_SCHEMA = """
CREATE TABLE links (
  source TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, digest TEXT NOT NULL,
  selector TEXT NOT NULL, target TEXT NOT NULL,
  PRIMARY KEY (source, input, output, digest, selector, target)
) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (target);
CREATE TABLE results (
  key TEXT NOT NULL, result TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (key, result)
) WITHOUT ROWID;
CREATE INDEX results_by_result ON results (result);
CREATE TABLE records (
  key TEXT PRIMARY KEY, digest TEXT NOT NULL, output INTEGER NOT NULL, vertex TEXT NOT NULL,
  name TEXT NOT NULL, preimage TEXT NOT NULL, inputs TEXT NOT NULL, created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX records_by_name ON records (name, created_at);
CREATE INDEX records_by_digest ON records (digest, created_at);
"""
_REMOVED = """
CREATE TABLE IF NOT EXISTS removed (
  key TEXT PRIMARY KEY, at INTEGER NOT NULL, rule TEXT NOT NULL
) WITHOUT ROWID
"""
#: Keys that have lost their last result are remembered, the newest so many, to say where it went.
_REMOVED_KEPT = 20_000
_TABLES = ("links", "results", "records")
_RECORD_COLUMNS = "key, digest, output, vertex, name, preimage, inputs, created_at"


def set_aside(path: Path) -> Path:
    """Move a damaged cache file (and its journal) out of the way; a new one is made at the next opening.

    The cache is a memory of finished work: losing it costs time and nothing else.

    Returns:
        Where the damaged file is now.
    """
    target = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return target


def make_private(path: Path) -> None:
    """Make the file for its owner alone: SQLite itself would go by the umask, and gives its other files the same
    mode.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def give_back(db: sqlite3.Connection, path: Path) -> int:
    """Shrink a database file whose pages are a quarter free or more, and its journal; returns the bytes of the file, not those of
    the journal, which goes with whoever has the file open.

    It is no error where that cannot be done now: others are at work, or a full disk has no room for the copy.
    """
    before = path.stat().st_blocks
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages, free = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count"))
        if free * 4 >= pages:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return max(0, before - path.stat().st_blocks) * 512


def _has_room(folder: Path) -> bool:
    """Whether the disk has room for a page and a file: SQLite does not say that it lacks them for its journal."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize >= _LEAST and (not state.f_files or state.f_favail > 0)


class SqliteKeyStorage:
    """`CacheKeyStorage` in a file.

    Mutable state: the connection and `_pending` (writes not yet in the file), under `_lock`; any thread may call.
    Every call raises StoreError when the file is damaged, full, or locked for a minute.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the cache at `path`; its folder must exist."""
        self._path = path
        self._lock = threading.RLock()
        self._pending: list[tuple[str, tuple[object, ...]]] = []
        with self._errors():
            make_private(path)
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        db.execute(f"PRAGMA busy_timeout={int(_BUSY_SECONDS * 1000)}")
        version, application = self._pragma("user_version"), self._pragma("application_id")
        if version == 0 and application == 0:
            self._retry_locked(lambda: db.execute("PRAGMA journal_mode=WAL"))
            self._create()
        elif application != APPLICATION_ID:
            raise StoreError(
                f"{self._path} is not a build cache: it belongs to another program",
                hint="choose another store directory",
            )
        elif version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} was written by a newer version (format {version}, known are up to {SCHEMA_VERSION})",
                hint="use the newer version, or another store directory",
            )
        elif version < SCHEMA_VERSION:
            self._create()
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name='removed'").fetchone():
            self._retry_locked(lambda: db.execute(_REMOVED))
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA temp_store=MEMORY")

    def _create(self) -> None:
        """Make the tables, dropping those of an older format; another process may be doing the same."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if self._pragma("user_version") != SCHEMA_VERSION:
                for table in _TABLES:
                    db.execute(f"DROP TABLE IF EXISTS {table}")
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _retry_locked(self, action: Callable[[], object]) -> None:
        """Changing the journal mode does not wait for locks by itself."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                action()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"cannot make the build cache {self._path}: the disk is full") from error
            reason = f"unable to open: {error.strerror}"
            raise StoreError(f"the build cache {self._path} cannot be used: {reason}") from error
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise StoreError(
                    f"the build cache {self._path} has been locked by another process for {_BUSY_SECONDS:.0f} s",
                    hint="end the process that holds it",
                ) from error
            if "full" in text or (any(word in text for word in _UNSPECIFIC) and not _has_room(self._path.parent)):
                raise DiskFull(
                    f"cannot write the build cache {self._path}: the disk is full",
                    hint="Free some space, or remove unused build cache with `dockc prune`.",
                ) from error
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in text:
                raise StoreError(f"the build cache {self._path} cannot be used: {text}") from error
            raise StoreError(
                f"the build cache {self._path} is damaged: {text}",
                hint="`dockc doctor --fix` begins it anew; only the memory of finished steps is lost",
            ) from error

    # ------------------------------------------------------------ writing

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._pending.append((statement, values))
            if len(self._pending) >= _MAX_PENDING:
                self.flush()

    def flush(self) -> None:
        """Write everything collected in one transaction."""
        with self._lock:
            if self._pending:
                pending, self._pending = self._pending, []
                with self._transaction() as db:
                    for statement, values in pending:
                        db.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            if self._pending:
                self.flush()
            with self._errors():
                return self._db.execute(statement, values).fetchall()

    def shrink(self) -> None:
        """Give back memory: pages that were read stay in it, however long nobody asks for them."""
        with self._lock, self._errors():
            self._db.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        """Flush and close the file."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._db.close()

    # ------------------------------------------------------------ keys and results

    def exists(self, key: str) -> bool:
        """Whether the key has results or leads anywhere."""
        statement = "SELECT 1 FROM results WHERE key=? UNION ALL SELECT 1 FROM links WHERE source=? LIMIT 1"
        return bool(self._read(statement, (key, key)))

    def keys(self) -> Iterator[str]:
        """Every key id."""
        statement = "SELECT key FROM results UNION SELECT source FROM links UNION SELECT target FROM links"
        return iter([str(row[0]) for row in self._read(statement)])

    def results(self, key: str) -> tuple[CacheResult, ...]:
        """The results that hang on `key`."""
        rows = self._read("SELECT result, created_at FROM results WHERE key=?", (key,))
        return tuple(CacheResult(str(result), _int(at)) for result, at in rows)

    def load(self, key: str, result_id: str) -> CacheResult:
        """The result `result_id` of `key`; raises NotFound."""
        rows = self._read("SELECT created_at FROM results WHERE key=? AND result=?", (key, result_id))
        if not rows:
            raise NotFound(f"no result {result_id} under key {key}")
        return CacheResult(result_id, _int(rows[0][0]))

    def add_result(self, key: str, result: CacheResult) -> None:
        """Hang a result on a key."""
        self._write("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (key, result.id, result.created_at))

    def release(self, result_id: str, rule: str = "") -> None:
        """Forget a result, and the keys that lead nowhere without it; `rule` says by whose will, for explanations."""
        with self._lock:
            self.flush()
            with self._transaction() as db:
                empty = [str(row[0]) for row in db.execute("SELECT key FROM results WHERE result=?", (result_id,))]
                db.execute("DELETE FROM results WHERE result=?", (result_id,))
                now = time.time_ns()
                for key in empty:
                    if not db.execute("SELECT 1 FROM results WHERE key=? LIMIT 1", (key,)).fetchone():
                        db.execute("INSERT OR REPLACE INTO removed VALUES (?, ?, ?)", (key, now, rule))
                while empty:
                    key = empty.pop()
                    used = "SELECT 1 FROM results WHERE key=? UNION ALL SELECT 1 FROM links WHERE source=? LIMIT 1"
                    if db.execute(used, (key, key)).fetchone():
                        continue
                    parents = db.execute("SELECT DISTINCT source FROM links WHERE target=?", (key,)).fetchall()
                    db.execute("DELETE FROM links WHERE target=?", (key,))
                    db.execute("DELETE FROM records WHERE key=?", (key,))
                    empty += [str(row[0]) for row in parents]

    def keys_by_result(self, result_id: str) -> tuple[str, ...]:
        """The keys on which a result hangs."""
        rows = self._read("SELECT key FROM results WHERE result=?", (result_id,))
        return tuple(str(row[0]) for row in rows)

    def result_ids(self) -> tuple[str, ...]:
        """Every result id once."""
        return tuple(str(row[0]) for row in self._read("SELECT DISTINCT result FROM results"))

    # ------------------------------------------------------------ links

    def add_link(self, key: str, link: CacheLink, target: str) -> None:
        """Let `key` lead to `target`."""
        values = (key, link.input, link.output, link.digest, link.selector, target)
        self._write("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?, ?, ?)", values)

    def links(self, key: str, link: CacheLink) -> tuple[str, ...]:
        """Where `key` leads by `link`."""
        rows = self._read(
            "SELECT target FROM links WHERE source=? AND input=? AND output=? AND digest=? AND selector=?",
            (key, link.input, link.output, link.digest, link.selector),
        )
        return tuple(str(row[0]) for row in rows)

    def has_link(self, key: str, link: CacheLink, target: str) -> bool:
        """Whether `key` leads to `target` by `link`."""
        rows = self._read(
            "SELECT 1 FROM links WHERE source=? AND input=? AND output=? AND digest=? AND selector=? AND target=?",
            (key, link.input, link.output, link.digest, link.selector, target),
        )
        return bool(rows)

    def backlinks(self, key: str) -> tuple[tuple[str, CacheLink], ...]:
        """Which keys lead to `key`, and how."""
        rows = self._read("SELECT source, input, output, digest, selector FROM links WHERE target=?", (key,))
        return tuple((str(s), CacheLink(_int(i), _int(o), str(d), str(x))) for s, i, o, d, x in rows)

    # ------------------------------------------------------------ explanations

    def remember(self, record: KeyRecord) -> None:
        """Keep what is known about a key."""
        self._write(
            f"INSERT OR REPLACE INTO records ({_RECORD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                record.key,
                record.digest,
                record.output,
                record.vertex,
                record.name,
                _json(record.preimage),
                _json([dict(i) for i in record.inputs]),
                record.created_at,
            ),
        )

    def recall(self, key: str) -> KeyRecord | None:
        """What was remembered about a key."""
        rows = self._read(f"SELECT {_RECORD_COLUMNS} FROM records WHERE key=?", (key,))  # noqa: S608
        return _record(rows[0]) if rows else None

    def recall_similar(self, name: str, digest: str, limit: int = 8) -> tuple[KeyRecord, ...]:
        """Records with the same name or digest, newest first."""
        found: dict[str, KeyRecord] = {}
        for column, value in (("name", name), ("digest", digest)):
            rows = self._read(
                f"SELECT {_RECORD_COLUMNS} FROM records WHERE {column}=? "  # noqa: S608
                "ORDER BY created_at DESC LIMIT ?",
                (value, limit),
            )
            found |= {record.key: record for record in map(_record, rows)}
        return tuple(sorted(found.values(), key=lambda record: -record.created_at)[:limit])

    def removal(self, key: str) -> tuple[str, int] | None:
        """By which rule and when (nanoseconds since the epoch) a key lost its last result; None where that is not
        known.
        """
        rows = self._read("SELECT rule, at FROM removed WHERE key=?", (key,))
        return (str(rows[0][0]), _int(rows[0][1])) if rows else None

    def compact(self) -> int:
        """Give the space of forgotten records back to the disk; returns the bytes. Nothing happens while others
        write.
        """
        with self._lock:
            self.flush()
            with self._errors(), contextlib.suppress(sqlite3.OperationalError):  # a full disk: the next time
                self._db.execute(
                    "DELETE FROM removed WHERE at < (SELECT at FROM removed ORDER BY at DESC LIMIT 1 OFFSET ?)",
                    (_REMOVED_KEPT,),
                )
            return give_back(self._db, self._path)

    def verify(self) -> tuple[str, ...]:
        """What SQLite's own check finds wrong with the file; empty when it is sound."""
        rows = self._read("PRAGMA integrity_check(20)")
        return tuple(str(row[0]) for row in rows if row[0] != "ok")


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return sorted(value) if not isinstance(value, tuple) else list(value)
    return str(value)


def _record(row: tuple[object, ...]) -> KeyRecord:
    key, digest, output, vertex, name, preimage, inputs, created_at = row
    return KeyRecord(
        str(key), str(digest), _int(output), str(vertex), str(name),
        json.loads(str(preimage)), tuple(json.loads(str(inputs))), _int(created_at),
    )  # fmt: skip
