"""Copies of clients' directories on the daemon's side, which later builds bring up to date."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from dockc.base import jsontext
from dockc.base.record import Record, replace
from dockc.base.threads import given_up, waiting
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil.failure import check
from dockc.runtime.refs.plan import Item
from dockc.runtime.refs.types import RecordType, UsageRecord
from dockc.runtime.refs.usage import disk_usage
from dockc.runtime.snapshot.removal import remove_tree

_TURN = 0.2
"""Seconds between two looks whether a build that waits for its turn has been given up."""
_ID = 25  # characters of a record's id
_KEEP_CONTEXTS = 2 * 24 * 3600
"""Seconds after which a client's directory that nobody has built from is forgotten here."""


class _About(Record):
    """What a copy is of, when it was made and last used (nanoseconds since the epoch, 0 where nobody knows), how often."""

    what: str = ""
    created: int = 0
    last: int = 0
    count: int = 0


class Mirrors:
    """Copies of what is read of clients' directories beside the store (Dockerfiles, and directories of which the metadata
    alone is asked for), kept so that the next build moves only what has changed; and the turns of builds that bring one in.

    A copy is locked while it is brought up to date and read. Beside each lies a file that says what it is of and when it
    was used, so that it is counted and collected with the store, as a record of type `source.local` (`plan.Guests`).

    Mutable: locks and sizes by the name of a copy, names by the session that they go with, those whose session has ended,
    and who takes turns.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Each lives as long as somebody has it or waits for it: there is one of a name at a time, and none for ever.
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._owned: dict[str, set[str]] = {}
        self._dropped: set[str] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self._turns: dict[str, tuple[threading.Lock, int]] = {}
        self._guard = threading.Lock()

    @contextmanager
    def locked(self, key: str, owner: str = "", what: str = "") -> Iterator[Path]:
        """The copy for a key, alone.

        Args:
            key: the same for the same files of the same client.
            owner: the session that it goes with; "" keeps it longer.
            what: what the client calls the directory.
        """
        name = _name(key)
        lock = self._lock(name, owner)
        with waiting():
            while not lock.acquire(timeout=_TURN):
                if given_up():
                    raise Cancelled
        try:
            yield self._made(name, what)
        finally:
            lock.release()
            if name in self._dropped:
                self._drop(name)

    @contextmanager
    def unless_busy(self, key: str, what: str = "") -> Iterator[Path | None]:
        """The copy for a key, alone, kept for later; None where somebody has it."""
        name = _name(key)
        lock = self._lock(name)
        if not lock.acquire(blocking=False):
            yield None
            return
        try:
            yield self._made(name, what)
        finally:
            lock.release()

    @contextmanager
    def turn(self, key: str, cancelled: threading.Event | None = None, *, patient: bool = True) -> Iterator[None]:
        """Wait until nobody else is at the same; who is not `patient` goes on at once.

        Raises:
            Cancelled: `cancelled` was set.
        """
        with self._guard:
            lock, users = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = lock, users + 1
        got = False
        try:
            with waiting():
                while not (got := lock.acquire(timeout=_TURN if patient else 0)) and patient:
                    check(cancelled)
            yield
        finally:
            if got:
                lock.release()
            with self._guard:
                lock, users = self._turns.pop(key)
                if users > 1:
                    self._turns[key] = lock, users - 1

    def _lock(self, name: str, owner: str = "") -> threading.Lock:
        """The lock of a copy, which is noted for the session that it goes with."""
        with self._guard:
            if owner:
                self._owned.setdefault(owner, set()).add(name)
            return self._locks.setdefault(name, threading.Lock())

    def _made(self, name: str, what: str) -> Path:
        path = self._root / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(OSError):
            os.utime(path)
        self._note(name, what)
        return path

    def _note(self, name: str, what: str) -> None:
        """Write down that a copy is used."""
        moment, before = time.time_ns(), self._about(name)
        after = {"what": what, "created": before.created or moment, "last": moment, "count": before.count + 1}
        with suppress(OSError):  # a full disk: it is counted as it was
            made = self._root / f"{name}.new"
            made.write_text(json.dumps(after))
            made.replace(self._root / f"{name}.json")

    def _about(self, name: str) -> _About:
        """What is known of a copy."""
        try:
            found = jsontext.parsed((self._root / f"{name}.json").read_bytes())
            return _About(str(found["what"]), int(found["created"]), int(found["last"]), int(found["count"]))
        except (OSError, ValueError, KeyError, TypeError):
            return _About()

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._root) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def items(self) -> Mapping[str, Item]:
        """See `plan.Guests`; what was measured since a copy was last used is not measured again."""
        found: list[Item] = []
        for name in self._names():
            about, lock = self._about(name), self._locks.get(name)
            busy = lock is not None and lock.locked()
            count, size = self._sizes.get(name, (-1, 0))
            if count != about.count:
                size = disk_usage(self._root / name)
                if not busy:
                    self._sizes[name] = about.count, size
            if not about.created:
                with suppress(OSError):
                    changed = (self._root / name).stat().st_mtime_ns
                    about = replace(about, created=changed, last=changed)
            usage = UsageRecord(
                id=name[:_ID],
                record_type=RecordType.LOCAL_SOURCE,
                description=f"local source for {about.what}" if about.what else "local source",
                size=size,
                created_at=about.created,
                last_used_at=about.last,
                usage_count=about.count,
                in_use=busy,
                mutable=True,
                shared=False,
                lazy=False,
                held_by=("a build that reads it",) if busy else (),
            )
            found.append(Item(usage, size))
        return {item.usage.id: item for item in sorted(found, key=lambda item: (item.usage.created_at, item.usage.id))}

    def remove(self, name: str) -> int:
        """See `plan.Guests`."""
        whole = next((one for one in self._names() if one.startswith(name)), "")
        return self._remove(whole) if whole else -1

    def _remove(self, name: str, *, unless: Callable[[Path], bool] = lambda path: False) -> int:
        """Remove a copy that nobody reads, unless something holds."""
        lock = self._lock(name)
        if not lock.acquire(blocking=False):
            return -1
        try:
            return -1 if unless(self._root / name) else self._remove_held(name)
        except OSError:
            return -1
        finally:
            lock.release()

    def _remove_held(self, name: str) -> int:
        """Remove a copy whose lock is held; its bytes, or -1 where it could not be removed."""
        path = self._root / name
        try:
            size = disk_usage(path)
            remove_tree(path)  # a client's files, however deep they lie
            (self._root / f"{name}.json").unlink(missing_ok=True)
        except OSError:
            return -1
        self._sizes.pop(name, None)
        return size

    def drop(self, owner: str) -> None:
        """Remove the copies that go with a session. One that is still read is removed by who reads it: a thread that
        waited here would be one less for the builds that are to end.
        """
        with self._guard:
            names = self._owned.pop(owner, set())
            self._dropped |= names
        for name in names:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Remove a copy whose session has ended, unless somebody has it: then it is asked for again."""
        lock = self._lock(name)
        if lock.acquire(blocking=False):
            try:
                self._dropped.discard(name)
                self._remove_held(name)
            finally:
                lock.release()

    def forget(self, *, older: float = _KEEP_CONTEXTS) -> None:
        """Remove copies that nobody has used for a while (seconds)."""
        for name in self._names():  # what a clock has put far into the future would never be old
            self._remove(name, unless=lambda path: abs(time.time() - path.stat().st_mtime) < older)


def _name(key: str) -> str:
    """A copy's name out of a key, which may hold any bytes."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
