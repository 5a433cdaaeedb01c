"""Why steps of a build that was ran: as it was found then, or compared with another build of the history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import Record, replace
from dockc.engine import history
from dockc.engine.earlier import earlier, like
from dockc.engine.listings import FileListings
from dockc.engine.told import Step, Told
from dockc.engine.why import Comparison
from dockc.errors import StoreError, UsageError
from dockc.solver.keydiff import Missed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockc.engine.history import BuildRecord


class Explained(Record):
    """The misses of a build, in the order of its steps, and what its Dockerfile is called."""

    record: BuildRecord
    misses: tuple[Missed, ...]
    filename: str


def misses(root: Path, ref: str, *, step: str = "", against: str = "") -> Explained:
    """Why the steps of a build ran.

    Args:
        root: the store.
        ref: the build, as `history.find` takes it.
        step: one step; "" for all that ran.
        against: another build, `last` for the one before of the same Dockerfile; "" for what was found nearest then.

    Raises:
        UsageError: there is no such build or step, or nobody knows what its keys were made of.
        StoreError: the history cannot be read.
    """
    record = history.find(root, ref)
    now = history.told_of(record)
    if not record.keys_at:
        raise UsageError(
            f"nothing is known of the keys of the build {record.ref}",
            hint="It still runs, was interrupted, or was made by another builder, which keeps its own history.",
        )
    chosen = find(record, now, step) if step else list(now.steps.values())
    ran = [one for one in chosen if one.ran and not one.is_local]
    if against:
        before = [_other(root, record, against)]
    elif all(one.why is not None for one in ran):
        before = []
    else:
        before = earlier(root, record.options, but=record.ref, before=record.began)
    with _removals(root) as removal:
        comparison = Comparison(now, before, FileListings(root / history.FOLDER), removal, strict=bool(against))
        found = []
        for one in ran:
            diff = one.why if one.why is not None and not against else comparison.explain(one)
            found.append(Missed(diff, _is_first(one, now.steps), one.line or _line_of_user(one, now.steps)))
    return Explained(record, tuple(found), str(record.options.get("file") or "Dockerfile"))


def _is_first(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether nothing that it reads has run."""
    below = (steps.get(one.vertex) for one in step.key.inputs)
    return not any(one is not None and one.ran and not one.is_local for one in below)


def _line_of_user(step: Step, steps: Mapping[str, Step]) -> int:
    """Where the first step that reads this one is written: a document in the Dockerfile has no line of its own."""
    lines = (one.line for one in steps.values() if any(key.vertex == step.key.vertex for key in one.key.inputs))
    return min((line for line in lines if line), default=0)


def find(record: BuildRecord, told: Told, wanted: str) -> list[Step]:
    """Steps of a build: those that are written on a line, by `line:N`, else one as `history.find_step` takes it.

    Raises:
        UsageError: there is none, or there are several of that name.
    """
    steps = [one for one in told.steps.values() if one.key.kind]
    number = wanted.removeprefix("line:")
    if number != wanted and number.isdecimal():
        found = [one for one in steps if one.line and one.line <= int(number) <= one.line + one.text.count("\n")]
    else:
        digest = history.find_step(record, wanted).step.digest
        found = [one for one in steps if one.key.vertex == digest]
    if not found:
        raise UsageError(
            f"{f'line {number}' if number != wanted else wanted} is no step that has a key in the build {record.ref}",
            hint="`dockc history inspect` shows all steps.",
        )
    return found


def _other(root: Path, record: BuildRecord, ref: str) -> Told:
    """The build to compare with."""
    if ref != "last":
        other = history.find(root, ref)
    else:
        before = [one for one in history.records(root) if one.began < record.began and one.keys_at]
        before.sort(key=lambda one: like(one.options) != like(record.options))
        if not before:
            raise UsageError(f"the history has no build before {record.ref}")
        other = before[0]
    told = history.told_of(other)
    if not told.steps:
        raise UsageError(f"nothing is known of the keys of the build {other.ref}")
    return replace(told, ref=f"{other.ref} ") if other.ref == record.ref else told


@contextmanager
def _removals(root: Path) -> Iterator[Callable[[str], tuple[str, int] | None]]:
    """Tells where results went, as far as the store remembers."""
    path = root / "cache.db"
    if not path.exists():
        yield lambda key: None
        return
    from dockc.solver.cache.storage.sqlite import SqliteKeyStorage

    try:
        keys = SqliteKeyStorage(path)
    except StoreError:  # it is for explanations only
        yield lambda key: None
        return
    try:
        yield keys.removal
    finally:
        keys.close()
