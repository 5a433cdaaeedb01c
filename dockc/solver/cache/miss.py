"""Why a step had to run: its key compared with the nearest one that is known.

Data in, data out; the sentences are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dockc.solver.cache.storage.base import KeyRecord
from dockc.solver.keydiff import Change, KeyDiff, MissReason
from dockc.solver.run.runner import Miss

_MAX_CHANGES = 50


def explain(miss: Miss) -> KeyDiff:
    """Compare a step that ran with the nearest key that was known by then.

    The nearest is that with the fewest differences; of equals, the newest.
    """
    diffs = [_compare(miss.record, earlier) for earlier in miss.earlier]
    if not diffs:
        return KeyDiff(miss.vertex, miss.record.name, MissReason.UNKNOWN)
    changes, inputs, nearest = min(diffs, key=lambda diff: (len(diff[0]), len(diff[1]), -diff[2].created_at))
    if changes:
        reason = MissReason.OPERATION
    elif not inputs:
        reason = MissReason.RESULT
    elif any(_content(miss.record, i) for i in inputs):
        reason = MissReason.CONTENT
    else:
        reason = MissReason.INPUT
    return KeyDiff(miss.vertex, miss.record.name, reason, nearest, changes, inputs)


def _compare(new: KeyRecord, old: KeyRecord) -> tuple[tuple[Change, ...], tuple[int, ...], KeyRecord]:
    changes: tuple[Change, ...] = ()
    if new.digest != old.digest:
        changes = tuple(changes_of("", old.preimage, new.preimage))[:_MAX_CHANGES]
        if not changes:
            changes = (Change("digest", old.digest, new.digest),)
    count = max(len(new.inputs), len(old.inputs))
    return changes, tuple(i for i in range(count) if not same_input(new, old, i)), old


def _content(record: KeyRecord, i: int) -> object:
    return record.inputs[i].get("content", "") if i < len(record.inputs) else ""


def same_input(new: KeyRecord, old: KeyRecord, i: int) -> bool:
    """Whether an input is the same to two keys: by content where both know it, else by a name that they share."""
    if i >= len(new.inputs) or i >= len(old.inputs):
        return False
    if _content(new, i) and _content(old, i):
        return _content(new, i) == _content(old, i)
    return bool(_keys(new, i) & _keys(old, i))


def _keys(record: KeyRecord, i: int) -> frozenset[tuple[object, ...]]:
    keys = record.inputs[i].get("keys", ())
    return frozenset(tuple(key) for key in keys) if isinstance(keys, Sequence) else frozenset()


def changes_of(path: str, old: object, new: object) -> Iterator[Change]:
    """Differences of two JSON values, by path. Lists are compared by their common head and tail."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from changes_of(f"{path}.{name}" if path else str(name), old.get(name), new.get(name))
    elif _is_list(old) and _is_list(new):
        assert isinstance(old, Sequence)
        assert isinstance(new, Sequence)
        head = 0
        while head < min(len(old), len(new)) and old[head] == new[head]:
            head += 1
        tail = 0
        while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        olds, news = old[head : len(old) - tail], new[head : len(new) - tail]
        for n in range(max(len(olds), len(news))):
            yield from changes_of(
                f"{path}[{head + n}]", olds[n] if n < len(olds) else None, news[n] if n < len(news) else None
            )
    elif old != new:
        yield Change(path, old, new)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
