"""Making a store that cannot be opened usable again: `dockc doctor`, before it opens the store.

A database whose header alone is damaged gets a new one. Of one that is damaged further no row can be trusted (one that
is lost may be the layer below another): layers are made known again by their inventories, as far as what they stand on
is there and everything is as it was written down; cache directories stay as they are. The damaged file is kept beside
the new one. The solver's cache is only a memory: it is begun anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base import jsontext
from dockc.base.record import fields_of
from dockc.errors import StoreError
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.content.errors import FULL, store_error, telling
from dockc.runtime.refs import inventory
from dockc.runtime.refs.cachedirs import META_KEY as CACHE_KEY
from dockc.runtime.refs.database import (
    COMMITTED,
    DIFF,
    LAYER,
    MERGE,
    MUTABLE,
    PROVEN,
    VERSION,
    Blob,
    Database,
    Record,
)
from dockc.runtime.refs.leases import living
from dockc.runtime.refs.privacy import FOLDERS, OWN_FOLDERS
from dockc.runtime.refs.recovery import going_place
from dockc.runtime.refs.types import RecordType
from dockc.runtime.snapshot.removal import remove_tree
from dockc.solver.cache.storage.sqlite import APPLICATION_ID, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable

_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_BLOB = ("record", "digest", "variant", "media_type", "size", "annotations", "diff_id", "origin")
_PARENT = ("record", "position", "parent")
_TABLES = ("record", "parent", "blob", "meta")

Found = tuple[str, str, bool]
"""(subject, message, whether it has been put right)"""


def examine_files(root: Path, *, fix: bool) -> list[Found]:
    """Check what a store must have to be opened: directories and files where these should be, and its two databases.

    Args:
        root: the store.
        fix: put it right, unless builds are running. Another process that is at it is waited for.

    Raises:
        StoreError: something is to be put right, and other processes use the store, or it cannot be written.
    """
    if not root.is_dir():
        return []
    if not fix:
        return [(name, message, False) for name, message, _ in _wrong(root)]
    with telling("opening the store", root):
        lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # no file in it need be what it should be
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _put_right(root)
    finally:
        os.close(lock)


def _put_right(root: Path) -> list[Found]:
    found: list[Found] = []
    # What lies in a wrong place hides what lies below it: each round finds less.
    while wrong := [one for one in _wrong(root) if one[0] not in {subject for subject, _, _ in found}]:
        if (root / "leases").is_dir() and living(root):
            raise StoreError(
                f"the store {root} is damaged ({wrong[0][0]}: {wrong[0][1]}), and other processes use it",
                hint="End all builds, then run `dockc doctor --fix` again.",
            )
        for name, message, repair in wrong:
            with telling(f"mending {name}", root):
                repair()
            found.append((name, message, True))
    return found


_Wrong = tuple[str, str, "Callable[[], object]"]
"""(subject, message, what puts it right)"""
_DIRECTORIES = (
    *FOLDERS,
    *(f"content/{name}" for name in ("blobs", "blobs/sha256", "ingest", "images")),
    "history",
    "spare",
)
_OWN = (*OWN_FOLDERS, *(f"content/{name}" for name in ("blobs", "blobs/sha256", "ingest", "images")), "spare")
_DATABASES = ("store.db", "cache.db")
_OF_FILES = ("leases", "locks", "spare", "content/ingest", "content/images")
"""Directories in which there are regular files and nothing else."""


def _wrong(root: Path) -> list[_Wrong]:
    wrong: list[_Wrong] = [
        (name, "it is no directory", partial(remove_tree, root / name))
        for name in _DIRECTORIES
        if os.path.lexists(root / name) and not (root / name).is_dir()
    ]
    # What lies in these is removed, so that they must never be somebody else's.
    links = [name for name in _OWN if (root / name).is_symlink() and (root / name).is_dir()]
    wrong += [(name, "it is a link", (root / name).unlink) for name in links]
    names = ["flights.lock", "ballast", "content/oci-layout", "content/index.json"]
    names += [f"{name}{suffix}" for name in _DATABASES for suffix in ("", *_BESIDE)]
    strange = [name for name in names if os.path.lexists(root / name) and not (root / name).is_file()]
    for folder in _OF_FILES:
        own = (root / folder).is_dir() and not (root / folder).is_symlink()
        with os.scandir(root / folder) if own else contextlib.nullcontext(()) as entries:
            strange += [f"{folder}/{entry.name}" for entry in entries if not entry.is_file(follow_symlinks=False)]
    if not (root / "squashed").is_symlink():
        locks = root.glob("squashed/*.lock")
        strange += [f"squashed/{path.name}" for path in locks if path.is_symlink() or not path.is_file()]
    for name in strange:
        repair = partial(_mend_store, root / name) if name == "store.db" else partial(remove_tree, root / name)
        wrong.append((name, f"it is {_kind(root / name)} and no file", repair))
    if any(name.startswith(_DATABASES) for name, _, _ in wrong):
        return wrong  # they can be opened after that
    mends: tuple[tuple[str, Callable[[Path], object]], ...] = (("store.db", _mend_store), ("cache.db", set_aside))
    for name, mend in mends:
        if (root / name).is_file() and (trouble := _trouble(root / name)):
            wrong.append((name, f"the database is damaged: {trouble}", partial(mend, root / name)))
    if not os.path.lexists(root / "store.db") and any(root.glob(f"snapshots/*/{inventory.NAME}")):
        wrong.append(("store.db", "the database is gone", partial(_mend_store, root / "store.db")))
    return wrong


def _kind(path: Path) -> str:
    mode = path.lstat().st_mode
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _trouble(path: Path) -> str:
    """What is wrong with a database file, "" for nothing (a newer format is not for us to judge)."""
    if not path.stat().st_size:
        return (
            "it is empty" if path.name == "store.db" and any(path.parent.glob(f"snapshots/*/{inventory.NAME}")) else ""
        )
    try:
        with contextlib.closing(_connected(path)) as database:
            lines = [str(row[0]) for row in database.execute("PRAGMA integrity_check(3)")]
            if lines != ["ok"]:
                return lines[0]
            if path.name == "store.db" and not database.execute("PRAGMA user_version").fetchone()[0]:
                return "it holds no store"
            if path.name == "cache.db" and database.execute("PRAGMA application_id").fetchone()[0] not in (
                0,
                APPLICATION_ID,
            ):
                return "it holds no build cache"
            if path.name == "store.db":
                return _unsound(database)
            for table in ("links", "results", "records"):
                for row in database.execute(f"SELECT * FROM {table}"):  # noqa: S608
                    if any(isinstance(value, str) and not _is_text(value) for value in row):
                        return f"a row of {table} is no text"
    except sqlite3.OperationalError as error:
        # A busy or unreadable file, or a full disk, is no damage.
        return str(error) if "malformed" in str(error) or "no such table" in str(error) else ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def _unsound(database: sqlite3.Connection) -> str:
    """What rows of a store's database cannot be, "" for nothing: bits that change in a row are no damage to SQLite.

    Raises:
        sqlite3.Error: a table is missing, or cannot be read.
    """
    for table, wanted in (("record", fields_of(Record)), ("blob", _BLOB), ("parent", _PARENT)):
        names = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
        if not names >= set(wanted):
            return f"table {table} has other columns than it had" if names else f"no such table: {table}"
    for table in (*_TABLES, "hold"):
        for row in database.execute(f"SELECT * FROM {table}"):  # noqa: S608
            if any(isinstance(value, str) and not _is_text(value) for value in row):
                return f"a row of {table} is no text"
    kinds = {"kind": (LAYER, MERGE, DIFF), "state": (MUTABLE, COMMITTED), "record_type": tuple(RecordType)}
    for row in _dicts(database, "record"):
        if any(row[name] not in known for name, known in kinds.items()) or not all(
            isinstance(row[name], int if kind == "int" else str) for name, kind in Record.__annotations__.items()
        ):
            return f"record {row['id']!s:.40} is none"
    for row in _dicts(database, "blob"):
        try:
            good = digests.is_valid(row["digest"]) and isinstance(row["size"], int)
            good = good and isinstance(jsontext.parsed(row["annotations"]), dict)
        except (TypeError, ValueError):
            good = False
        if not good:
            return f"the blob of record {row['record']!s:.40} is none"
    return "records stand on each other in a ring" if _has_ring(database) else ""


def _has_ring(database: sqlite3.Connection) -> bool:
    above: dict[str, list[str]] = {}
    left: dict[str, int] = {}
    for record, parent in database.execute("SELECT record, parent FROM parent").fetchall():
        above.setdefault(parent, []).append(record)
        left[record] = left.get(record, 0) + 1
    ready = [parent for parent in above if parent not in left]
    while ready:
        for record in above.get(ready.pop(), ()):
            left[record] -= 1
            if not left[record]:
                del left[record]
                ready.append(record)
    return bool(left)


def _connected(path: Path) -> sqlite3.Connection:
    """A database of which nobody knows whether its texts are any."""
    database = sqlite3.connect(path, timeout=60.0)
    database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return database


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dicts(database: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    cursor = database.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def _mend_store(path: Path) -> None:
    """A new `store.db` of what the old one and the inventories still tell.

    It is made beside the old one, which takes another name only then: a kill, or a disk that is full, loses nothing.
    """
    made = path.with_name(f"{path.name}.mended")
    with contextlib.ExitStack() as undo:
        undo.callback(_remove_database, made)
        _remove_database(made)
        _rebuild(path, made)
        undo.pop_all()
    old = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in (*_BESIDE, ""):
        place = path.with_name(path.name + suffix)
        if place.is_file():
            place.rename(f"{old}{suffix}")
        else:
            remove_tree(place)
    made.rename(path)


def _remove_database(path: Path) -> None:
    for suffix in ("", *_BESIDE):
        remove_tree(f"{path}{suffix}")


def _rebuild(path: Path, made: Path) -> None:
    new = Database(made)
    try:
        with new.transaction(), _read_again(path) as (database, sound):
            caches = _caches(database) if database is not None else set()
            for table, row in _rows(database) if database is not None else ():
                if sound or (table in ("record", "meta") and row.get("id", row.get("record")) in caches):
                    new.take_over(table, row)
            _from_inventories(new, path.parent / "snapshots")
    finally:
        new.close()
    if Path(f"{made}-wal").exists():  # its pages could not be brought into the file
        raise store_error(OSError(errno.ENOSPC, "full"), "making the database anew", path.parent)


@contextlib.contextmanager
def _read_again(old: Path) -> Iterator[tuple[sqlite3.Connection | None, bool]]:
    """A copy of a database with a sound header, if it can be opened, and whether nothing else is wrong with it."""
    copy = old.with_name(f"{old.name}.reading")
    database: sqlite3.Connection | None = None
    sound = False
    try:
        for suffix in ("", "-wal"):
            try:
                shutil.copyfile(f"{old}{suffix}", f"{copy}{suffix}")
            except OSError as error:
                if error.errno in FULL:  # a half of it would tell half
                    raise store_error(error, "reading the database", old.parent) from error
        if copy.exists():
            with copy.open("r+b") as file:
                file.write(_MAGIC)
            database = _connected(copy)
            try:
                sound = database.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
                if database.execute("PRAGMA user_version").fetchone()[0] != VERSION or _unsound(database):
                    sound = False  # of another format, or with rows that cannot be
            except sqlite3.Error:
                sound = False
        yield database, sound
    finally:
        if database is not None:
            database.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _rows(database: sqlite3.Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row that can still be read, with its table."""
    for table in _TABLES:
        with contextlib.suppress(sqlite3.Error):
            cursor = database.execute(f"SELECT * FROM {table}")  # noqa: S608
            names = [column[0] for column in cursor.description]
            while (row := cursor.fetchone()) is not None:
                yield table, dict(zip(names, row, strict=True))


def _caches(database: sqlite3.Connection) -> set[str]:
    """Records of cache directories, which stand on nothing."""
    with contextlib.suppress(sqlite3.Error):
        return {str(row[0]) for row in database.execute("SELECT record FROM meta WHERE key = ?", (CACHE_KEY,))}
    return set()


def _from_inventories(new: Database, snapshots: Path) -> None:
    """Make known the layers whose inventories are there and true, lowest first."""
    if not snapshots.is_dir():
        return
    waiting: dict[str, dict[str, Any]] = {}
    for place in snapshots.iterdir():
        if new.find(place.name) is not None or going_place(snapshots.parent, place.name[1:]).name == place.name:
            continue
        listed = inventory.read(place)
        if listed is not None and not any(inventory.compare(listed, place / "fs", full=True)):
            waiting[place.name] = dict(listed.about)
    others = {name: about for about in waiting.values() for name, about in dict(_others(about)).items()}
    known = {record.id for record in new.records()}
    todo = {**others, **waiting}
    while ready := [name for name, about in todo.items() if name not in known and set(about["parents"]) <= known]:
        for name in ready:
            _make_known(new, name, todo[name], is_layer=name in waiting)
            known.add(name)


def _others(about: dict[str, Any]) -> dict[str, Any]:
    """The merges and differences that a layer's inventory tells of."""
    found = about.get("others")
    return found if isinstance(found, dict) else {}


def _make_known(new: Database, name: str, about: dict[str, Any], *, is_layer: bool) -> None:
    new.delete(name)
    record = Record(
        id=name,
        kind=str(about["kind"]),
        state=COMMITTED,
        retain=0,
        snapshot=int(is_layer),
        diff_id=str(about["diff_id"]),
        chain_id=str(about["chain_id"]),
        size=-1,
        record_type=str(about["record_type"]),
        description=str(about["description"]),
        created_at=int(about["created_at"]),
        last_used_at=int(about["last_used_at"]),
        usage_count=int(about["usage_count"]),
    )
    new.add(record, tuple(map(str, about["parents"])))
    for variant, digest, media_type, size, diff_id, origin in about.get("blobs", ()):
        new.add_blob(Blob(name, variant, Descriptor(media_type, digest, size), diff_id, origin))
    if is_layer and about["kind"] == LAYER and about.get("proven"):
        new.set_meta(name, PROVEN, str(about["proven"]).encode())
