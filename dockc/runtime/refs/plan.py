"""What a run of rules would take, and why the rest stays. Pure: the same census and rules are the same plan.

Records go from the outside in: one on which others stand only after these. Within a rule that goes as far as space
demands, what was used longest ago and least often goes first: each record has a rank among those that may go by the
time of its last use, and one by how often it was used; the smaller sum goes first, as in BuildKit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from dockc.base.record import Record
from dockc.golang import filters
from dockc.runtime.refs.policy import Disk, Rule
from dockc.runtime.refs.types import RecordType, UsageRecord

HIDDEN = (RecordType.INTERNAL, RecordType.FRONTEND)
"""Types of records that go only by rules that say `all`."""


class Item(Record):
    """A record with what it takes on the disk.

    Attributes:
        usage: the record as `dockc du` shows it.
        directory: bytes of its directory.
        blobs: digests of its blobs that are here; others may have them too.
    """

    usage: UsageRecord
    directory: int
    blobs: tuple[str, ...] = ()


class Guests(Protocol):
    """Directories beside a store that are counted and collected with it. Calls may block and come from any thread."""

    def items(self) -> Mapping[str, Item]:
        """What there is, by id, oldest first."""
        ...

    def remove(self, name: str) -> int:
        """Remove one; the bytes that came free, -1 where it is in use or not there."""
        ...


class Census(Record, kw_only=True):
    """What a store holds at one moment. Sizes are blocks of the disk.

    Attributes:
        items: by id of the record, oldest first.
        blobs: bytes of each blob that records have.
        loose: bytes of blobs that no record has, such as manifests.
        rest: bytes of everything else: databases, history, the reserve, combined layers.
        disk: the disk it is on.
        at: nanoseconds since the epoch.
    """

    items: Mapping[str, Item]
    blobs: Mapping[str, int]
    loose: int = 0
    rest: int = 0
    disk: Disk
    at: int

    @property
    def records(self) -> list[UsageRecord]:
        """The records, oldest first."""
        return [item.usage for item in self.items.values()]

    @property
    def common(self) -> int:
        """Bytes of blobs that several records have: no record's size has them."""
        return self.in_records - sum(item.usage.size for item in self.items.values())

    @property
    def in_records(self) -> int:
        """Bytes of all records, each blob once."""
        return sum(item.directory for item in self.items.values()) + sum(self.blobs.values())

    @property
    def total(self) -> int:
        """Bytes of the whole store."""
        return self.in_records + self.loose + self.rest


class Taken(Record):
    """A record that a run takes.

    Attributes:
        id: of the record.
        rule: number of the rule, from 0.
        size: bytes that come free with it, blobs included that it is the last to have.
    """

    id: str
    rule: int
    size: int


class Plan(Record):
    """What a run takes, in this order, and why each other record stays.

    Attributes:
        taken: what goes.
        used: bytes that rules count as used after it: all but what images with a name hold.
        kept: by id: a few words.
    """

    taken: tuple[Taken, ...]
    used: int
    kept: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes that come free."""
        return sum(one.size for one in self.taken)


def matcher(texts: Sequence[str]) -> Callable[[UsageRecord], bool]:
    """Whether a record fits any of these filters; each fits where there are none.

    Raises:
        FilterError: a text that is no filter (`policy.check_filters` tells that in words).
    """
    parsed = tuple(filters.parse(text) for text in texts)
    if not parsed:
        return lambda record: True
    return lambda record: any(all(_holds(one, record) for one in conditions) for conditions in parsed)


def _holds(condition: filters.Condition, record: UsageRecord) -> bool:
    name = ".".join(condition.path)
    truth = _truth(record, name)
    if truth is not None:  # bare, as BuildKit has it; `inuse==false` too, which its clients can be asked for
        if not condition.operator:
            return truth
        return condition.holds("true" if truth else "false")
    if name == "parents":
        joined = ";".join(record.parents) or None
        if condition.operator == "==" and condition.value in record.parents:
            return True
        return condition.holds(joined)
    text = {"id": record.id, "type": str(record.record_type), "description": record.description}[name]
    return condition.holds(text or None)


def _truth(record: UsageRecord, name: str) -> bool | None:
    found = {
        "inuse": record.in_use,
        "mutable": record.mutable,
        "immutable": not record.mutable,
        "shared": record.shared,
        "private": not record.shared,
        "lazy": record.lazy,
    }
    return found.get(name)


def last_use(record: UsageRecord) -> int:
    """When a record was last used, or made."""
    return record.last_used_at or record.created_at


def may_go(record: UsageRecord, rule: Rule, now: int, fits: Callable[[UsageRecord], bool]) -> bool:
    """Whether a rule gives a record up, as long as nothing stands on it and there is need.

    What a clock says to be used in the future counts as used now.
    """
    if record.in_use or record.shared or (record.record_type in HIDDEN and not rule.all):
        return False
    if rule.keep_duration and now - last_use(record) < rule.keep_duration:
        return False
    return fits(record)


def plan(census: Census, rules: Sequence[Rule], busy: Collection[str] = ()) -> Plan:
    """What the rules take, one after the other.

    Args:
        census: what there is.
        rules: in their order.
        busy: records that stay whatever rules say.

    Raises:
        FilterError: a rule's filter is none.
    """
    state = _State(census)
    taken: list[Taken] = []
    for number, rule in enumerate(rules):
        keep = rule.keeps(state.used, state.free)
        if keep is not None and state.used <= keep:
            continue
        fits = matcher(rule.filters)
        able = {one.id for one in state.alive() if one.id not in busy and may_go(one, rule, census.at, fits)}
        rank = _ranks([census.items[name].usage for name in able])
        queue = [rank[name] for name in able if not state.children[name]]
        heapq.heapify(queue)
        while queue and (keep is None or state.used > keep):
            name = heapq.heappop(queue)[-1]
            taken.append(Taken(name, number, state.take(name)))
            for parent in state.bared(name):
                if parent in able:
                    heapq.heappush(queue, rank[parent])
    return Plan(tuple(taken), state.used, _reasons(census, rules, state))


class _State:
    """The store as it would be. Mutable: everything."""

    def __init__(self, census: Census) -> None:
        self._items = census.items
        self._sizes = census.blobs
        self.free = census.disk.free
        self._left = dict.fromkeys(census.items)
        self.children = dict.fromkeys(census.items, 0)
        self._users: dict[str, int] = {}
        fixed: set[str] = set()
        for item in census.items.values():
            for parent in set(item.usage.parents):
                if parent in self.children:
                    self.children[parent] += 1
            for digest in set(item.blobs):
                self._users[digest] = self._users.get(digest, 0) + 1
                if item.usage.shared:
                    fixed.add(digest)
        self._fixed = fixed
        self.used = sum(item.directory for item in census.items.values() if not item.usage.shared)
        self.used += sum(self._sizes[digest] for digest in self._users if digest not in fixed)

    def alive(self) -> Iterable[UsageRecord]:
        return (self._items[name].usage for name in self._left)

    def is_left(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> int:
        """Remove a record; bytes that come free."""
        item = self._items[name]
        del self._left[name]
        freed = item.directory
        for digest in set(item.blobs):
            self._users[digest] -= 1
            if not self._users[digest]:
                freed += self._sizes[digest]
        self.used -= freed
        self.free += freed
        return freed

    def bared(self, name: str) -> list[str]:
        """Parents of a record that was taken on which nothing stands any more."""
        found = []
        for parent in set(self._items[name].usage.parents):
            if parent in self.children:
                self.children[parent] -= 1
                if not self.children[parent]:
                    found.append(parent)
        return found


_Rank = tuple[float, int, int, str]


def _ranks(records: Sequence[UsageRecord]) -> dict[str, _Rank]:
    times = _places(last_use(one) for one in records)
    uses = _places(one.usage_count for one in records)
    most_times, most_uses = max(len(times), 1), max(len(uses), 1)
    return {
        one.id: (
            times[last_use(one)] / most_times + uses[one.usage_count] / most_uses,
            last_use(one),
            one.created_at,
            one.id,
        )
        for one in records
    }


def _places(values: Iterable[int]) -> dict[int, int]:
    return {value: place for place, value in enumerate(sorted(set(values)), 1)}


def _reasons(census: Census, rules: Sequence[Rule], state: _State) -> dict[str, str]:
    fits = [matcher(rule.filters) for rule in rules]
    found = {}
    for one in state.alive():
        found[one.id] = _reason(one, census.at, state, list(zip(rules, fits, strict=True)))
    return found


def _reason(
    one: UsageRecord, now: int, state: _State, rules: Sequence[tuple[Rule, Callable[[UsageRecord], bool]]]
) -> str:
    if one.in_use or one.shared:
        return "; ".join(one.held_by) or "in use"
    if one.record_type in HIDDEN and not any(rule.all for rule, _ in rules):
        return f"{one.record_type}: only `all` takes it"
    fitting = [rule for rule, fits in rules if fits(one) and (rule.all or one.record_type not in HIDDEN)]
    if not fitting:
        return "no rule is about it"
    if not any(may_go(one, rule, now, lambda _: True) for rule in fitting):
        return "used too recently"
    if state.children[one.id]:
        return f"{state.children[one.id]} record{'s' * (state.children[one.id] > 1)} on top of it stay"
    return "within the limits"
