"""Laws of collection, over stores that hypothesis makes up: nothing that is needed goes, limits hold, a plan is the whole truth."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.base.record import replace
from dockc.runtime.refs.plan import Census, Item, Plan, last_use, matcher, plan
from dockc.runtime.refs.policy import Disk, Rule
from dockc.runtime.refs.types import RecordType, UsageRecord

NOW = 1_000_000
TYPES = list(RecordType)


@st.composite
def censuses(draw: st.DrawFn) -> Census:
    """A store: records on records, blobs of one or several of them, some in use, some images'."""
    count = draw(st.integers(0, 12))
    blobs = {f"sha256:{number}": draw(st.integers(0, 50)) for number in range(draw(st.integers(0, 5)))}
    items: dict[str, Item] = {}
    for number in range(count):
        used = draw(st.integers(0, NOW + 500))
        record = UsageRecord(
            id=f"r{number}",
            record_type=draw(st.sampled_from(TYPES)),
            description=draw(st.sampled_from(["RUN a", "COPY b", ""])),
            size=0,
            created_at=draw(st.integers(0, NOW)),
            last_used_at=draw(st.sampled_from([None, used])),
            usage_count=draw(st.integers(0, 3)),
            in_use=draw(st.integers(0, 5)) == 0,
            mutable=draw(st.booleans()),
            shared=draw(st.integers(0, 7)) == 0,
            lazy=False,
            parents=tuple(
                f"r{draw(st.integers(0, number - 1))}" for _ in range(draw(st.integers(0, 2)) if number else 0)
            ),
        )
        own = tuple(draw(st.lists(st.sampled_from(sorted(blobs)), unique=True, max_size=2))) if blobs else ()
        items[record.id] = Item(record, draw(st.integers(0, 60)), own)
    for name in reversed(list(items)):  # who stands on something keeps it
        record = items[name].usage
        for parent in record.parents:
            below = items[parent]
            items[parent] = replace(
                below,
                usage=replace(
                    below.usage, in_use=below.usage.in_use or record.in_use, shared=below.usage.shared or record.shared
                ),
            )
    named = {digest for item in items.values() for digest in item.blobs}
    return Census(
        items=items, blobs={d: blobs[d] for d in named}, disk=Disk(10_000, draw(st.integers(0, 1_000))), at=NOW
    )


RULES = st.builds(
    Rule,
    all=st.booleans(),
    filters=st.sampled_from(
        [(), ("type==source.local",), ("type==regular", "description~=^COPY"), ("mutable", "parents")]
    ),
    keep_duration=st.sampled_from([0, 0, 1_000, NOW // 2]),
    reserved_space=st.sampled_from([0, 0, 30]),
    max_used_space=st.sampled_from([0, 0, 40, 100]),
    min_free_space=st.sampled_from([0, 0, 300, 900]),
)


def after(census: Census, done: Plan) -> Census:
    """The store when the plan has been carried out."""
    gone = {one.id for one in done.taken}
    items = {name: item for name, item in census.items.items() if name not in gone}
    named = {digest for item in items.values() for digest in item.blobs}
    blobs = {digest: size for digest, size in census.blobs.items() if digest in named}
    return replace(census, items=items, blobs=blobs, disk=Disk(census.disk.total, census.disk.free + done.size))


def used(census: Census) -> int:
    """What rules count: everything but what images have."""
    fixed = {digest for item in census.items.values() if item.usage.shared for digest in item.blobs}
    own = sum(item.directory for item in census.items.values() if not item.usage.shared)
    return own + sum(size for digest, size in census.blobs.items() if digest not in fixed)


LAWS = settings(max_examples=60, deadline=None)


@LAWS
@given(censuses(), st.lists(RULES, max_size=4))
def test_what_is_needed_stays(census: Census, rules: list[Rule]) -> None:
    done = plan(census, rules)
    gone: set[str] = set()
    for one in done.taken:
        record = census.items[one.id].usage
        rule = rules[one.rule]
        assert not record.in_use and not record.shared
        assert rule.all or record.record_type not in {RecordType.INTERNAL, RecordType.FRONTEND}
        assert not rule.keep_duration or NOW - last_use(record) >= rule.keep_duration
        assert matcher(rule.filters)(record)
        gone.add(one.id)
        standing = [name for name, item in census.items.items() if one.id in item.usage.parents and name not in gone]
        assert not standing, "from the outside in"
    assert len(gone) == len(done.taken)
    assert set(done.kept) == set(census.items) - gone
    assert all(done.kept.values())


@LAWS
@given(censuses(), RULES)
def test_afterwards_the_limits_hold_or_nothing_more_can_go(census: Census, rule: Rule) -> None:
    done = plan(census, [rule])
    left = after(census, done)
    assert census.in_records - left.in_records == done.size
    assert used(left) == done.used == used(census) - done.size
    keep = rule.keeps(done.used, left.disk.free)
    parents = {parent for item in left.items.values() for parent in item.usage.parents}
    fits = matcher(rule.filters)
    more = [
        one.id
        for one in left.records
        if one.id not in parents and not one.in_use and not one.shared and fits(one)
        and (rule.all or one.record_type not in {RecordType.INTERNAL, RecordType.FRONTEND})
        and not (rule.keep_duration and NOW - last_use(one) < rule.keep_duration)
    ]  # fmt: skip
    assert not more or (keep is not None and done.used <= keep)


@LAWS
@given(censuses(), RULES)
def test_a_rule_takes_no_more_than_it_must(census: Census, rule: Rule) -> None:
    done = plan(census, [rule])
    keep = rule.keeps(used(census), census.disk.free)
    if keep is not None and done.taken:
        assert done.used + done.taken[-1].size > keep, "before the last one the limit did not hold"
    if keep is not None and used(census) <= keep:
        assert not done.taken


@LAWS
@given(censuses(), st.lists(RULES, max_size=4), st.randoms(use_true_random=False))
def test_a_second_run_finds_nothing(census: Census, rules: list[Rule], order: random.Random) -> None:
    done = plan(census, rules)
    names = list(census.items)
    order.shuffle(names)
    shuffled = replace(census, items={name: census.items[name] for name in names})
    assert plan(shuffled, rules).taken == done.taken, "the same whatever order the store tells it in"
    if len(rules) == 1:
        assert plan(after(census, done), rules).taken == ()


@LAWS
@given(censuses(), st.lists(RULES, min_size=1, max_size=3))
def test_what_is_busy_stays_with_all_it_stands_on(census: Census, rules: list[Rule]) -> None:
    first = plan(census, rules)
    busy = {one.id for one in first.taken[::2]}
    kept: set[str] = set()
    todo = list(busy)
    while todo:
        name = todo.pop()
        kept.add(name)
        todo += [parent for parent in census.items[name].usage.parents if parent not in kept]
    assert not kept & {one.id for one in plan(census, rules, busy).taken}


def record(name: str, *, last: int, uses: int = 1) -> UsageRecord:
    return UsageRecord(
        name, RecordType.REGULAR, "", 10, 0, last, uses, in_use=False, mutable=False, shared=False, lazy=False
    )


@pytest.mark.parametrize(
    ("records", "order"),
    [
        ([record("old", last=1), record("new", last=2)], ["old", "new"]),
        ([record("rare", last=5), record("frequent", last=5, uses=9)], ["rare", "frequent"]),
        # Ranks: (time 1/3 + uses 3/3), (2/3 + 1/3), (3/3 + 2/3)
        (
            [record("loved", last=1, uses=9), record("once", last=2), record("fresh", last=3, uses=2)],
            ["once", "loved", "fresh"],
        ),
    ],
)
def test_the_order(records: list[UsageRecord], order: list[str]) -> None:
    census = Census(items={one.id: Item(one, 10) for one in records}, blobs={}, disk=Disk(0, 0), at=NOW)
    taken = plan(census, [Rule(max_used_space=1)]).taken
    assert [one.id for one in taken] == order


def test_what_a_wrong_clock_has_said_counts_as_now() -> None:
    ahead = record("ahead", last=NOW * 5)
    census = Census(items={"ahead": Item(ahead, 10)}, blobs={}, disk=Disk(0, 0), at=NOW)
    assert plan(census, [Rule(keep_duration=1)]).kept == {"ahead": "used too recently"}
    assert len(plan(census, [Rule(max_used_space=1)]).taken) == 1
