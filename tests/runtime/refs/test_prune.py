"""Collection on real stores: sizes, plans that come true, others at work, kills, clocks, and twenty thousand records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dockc.base.record import replace
from dockc.runtime.content.locks import try_lock
from dockc.runtime.refs import database, prune, usage
from dockc.runtime.refs.core import Core, now
from dockc.runtime.refs.database import Database
from dockc.runtime.refs.manager import RefManager, Rule
from dockc.runtime.refs.policy import Disk
from dockc.runtime.refs.ref import fresh_record
from dockc.runtime.refs.types import UsageRecord
from dockc.runtime.store.doctor import examine
from tests.runtime.refs.test_refs import Far, far_layer, step
from tests.runtime.store_helpers import Row, make_tar, write

HOUR = 3600 * 10**9


def du(path: Path) -> int:
    return int(
        subprocess.run(["du", "-s", "--block-size=1", path], check=True, capture_output=True, text=True).stdout.split()[
            0
        ]
    )


def filled(size: int) -> Any:
    return lambda root: (root / "f").write_bytes(os.urandom(size))


def ids(records: Any) -> list[str]:
    return [one.id for one in records]


def test_sizes_are_what_the_disk_says(refs: RefManager) -> None:
    def odd(root: Path) -> None:
        (root / "big").write_bytes(os.urandom(700_000))
        for number in range(5):
            os.link(root / "big", root / f"link{number}")
        with (root / "sparse").open("wb") as file:
            file.truncate(50_000_000)
        for number in range(300):
            (root / f"d{number}").mkdir()
            (root / f"d{number}/small").write_text("x")

    base = step(refs, None, odd, name="odd")
    top = step(refs, base, filled(500_000), name="top")
    top.remote()
    far = Far({})
    image = refs.from_layers([far_layer(make_tar([Row(f"f{n}", os.urandom(4000)) for n in range(99)]), far)])
    image.prefetch()
    with top.mount(), refs.cache_dir("c") as place:
        (place / "f").write_bytes(bytes(300_000))
    refs.content.put(os.urandom(200_000))  # no record's
    refs.census()
    refs.core.db.compact()  # between the two looks the journal must not change
    found = refs.census()
    assert found.total == pytest.approx(du(refs.root), rel=0.01)
    assert found.loose >= 200_000
    assert found.items[base.id].directory < 5_000_000, "a hard link counts once, a hole not at all"
    (cache,) = [one for one in found.records if one.mutable]
    assert cache.size >= 300_000, "measured after it was used"
    with refs.cache_dir("c") as place:
        (place / "g").write_bytes(bytes(400_000))
        refs.census()
    (cache,) = [one for one in refs.usage() if one.mutable]
    assert cache.size >= 700_000, "what was measured while it was used does not last"


def test_a_blob_of_several_records_counts_once_and_goes_with_the_last(refs: RefManager) -> None:
    one, two = (step(refs, None, filled(400_000), name=name) for name in "ab")
    shared = one.remote().layers[0]
    blob = refs.core.db.blobs(one.id)[0]
    refs.core.db.add_blob(replace(blob, record=two.id))
    one.release()
    two.release()
    refs.census()
    refs.core.db.compact()  # between the two looks the journal must not change
    found = refs.census()
    assert found.total == pytest.approx(du(refs.root), rel=0.01)
    assert found.common >= 400_000
    assert all(400_000 <= each.size < 600_000 for each in found.records)
    plan = refs.planned()
    assert sorted(taken.size > 700_000 for taken in plan.taken) == [False, True]
    before = du(refs.root)
    assert refs.prune().size == plan.size == found.in_records
    assert not refs.content.has(shared.descriptor.digest)
    assert before - du(refs.root) == pytest.approx(plan.size, abs=65_536), "but for the database's journal"


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(max_used_space=700_000),
        Rule(filters=("description~=[05]",)),
        Rule(keep_duration=HOUR),
        Rule(all=True, reserved_space=1),
    ],
)
def test_a_plan_comes_true(store: RefManager, rule: Rule) -> None:
    parent = None
    for number in range(6):
        ref = step(store, parent, filled(150_000 + 9_000 * number), name=f"s{number}")
        if parent is not None:
            parent.release()
        parent = ref if number % 3 else None
        if parent is None:
            ref.release()
    if parent is not None:
        parent.release()
    store.core.db.update(store.usage()[0].id, last_used_at=now() - 2 * HOUR)
    plan = store.planned([rule])
    done = store.prune([rule])
    assert ids(done.records) == ids(plan.taken)
    assert [one.size for one in done.records] == [one.size for one in plan.taken]
    assert sorted(ids(store.usage())) == sorted(plan.kept)
    assert store.planned([rule]).taken == ()
    assert store.prune([rule]).records == ()


def test_what_another_process_uses_stays_with_what_it_stands_on(refs: RefManager) -> None:
    base = step(refs, None, write(a="1"), name="base")
    top = step(refs, base, write(b="1"), name="top")
    with RefManager(refs.root) as other:
        theirs = other.get(top.id)
        base.release()
        top.release()
        found = {one.description: one for one in refs.usage()}
        assert found["base"].in_use and found["top"].in_use
        assert found["top"].held_by == (f"process {os.getpid()}",)
        assert found["base"].held_by == ("a record in use stands on it",)
        everything = [Rule(all=True)]
        assert refs.planned(everything).kept == {
            base.id: "a record in use stands on it",
            top.id: f"process {os.getpid()}",
        }
        assert refs.prune(everything).records == ()
        with theirs.mount() as root:
            assert (root / "a").read_text() == "1"
        theirs.release()
    assert ids(refs.prune(everything).records) == [top.id, base.id]


def test_what_somebody_takes_in_the_meantime_stays(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the plan and the removal another process begins to use one: it stays, others go for it."""
    made = [step(store, None, filled(200_000), name=str(number)) for number in range(4)]
    for ref in made:
        ref.release()
    with RefManager(store.root) as other:
        remove = Core.remove
        held: list[object] = []

        def removing(core: Core, record_id: str) -> int:
            if not held:
                held.append(other.get(record_id))
            return remove(core, record_id)

        monkeypatch.setattr(Core, "remove", removing)
        done = store.prune([Rule(max_used_space=450_000)])
    assert ids(done.records) == [made[1].id, made[2].id]
    assert sum(one.size for one in store.usage()) <= 450_000


def test_images_keep_their_records(refs: RefManager) -> None:
    base = step(refs, None, filled(100_000), name="base")
    top = step(refs, base, filled(100_000), name="top")
    digest = top.remote().descriptors[1].digest
    base.release()
    top.release()
    keep = {digest: "image app:latest"}
    found = {one.description: one for one in refs.usage(keep)}
    assert found["base"].shared and found["top"].shared
    assert found["top"].held_by == ("image app:latest",)
    assert refs.prune([Rule(all=True)], keep).records == ()
    assert refs.planned([Rule(max_used_space=1)], keep).used == 0, "what images have is no cache"
    assert len(refs.prune([Rule()]).records) == 2


def test_images_that_get_their_names_while_a_store_is_pruned_keep_what_they_have(refs: RefManager) -> None:
    """A build that uses what it finds, names its image and ends, all between the plan and the removal."""
    made = [step(refs, None, filled(100_000 + number), name=str(number)) for number in range(3)]
    layers = [one.remote().descriptors[0].digest for one in made]
    names = [one.id for one in made]
    for one in made:
        one.release()
    document = refs.core.content.put(b"the manifest of an image")
    named: dict[str, str] = {}

    def told(record: UsageRecord) -> None:
        """By now the plan is made; the other build works as fast as that."""
        if not named:
            used = next(name for name in names if name != record.id)
            refs.get(used).release()
            named.update({layers[names.index(used)]: "image app:latest", document: "image app:latest"})

    gone = [one.id for one in refs.prune([Rule(all=True)], lambda: dict(named), told).records]
    (left,) = set(names) - set(gone)
    assert layers[names.index(left)] in named
    assert refs.core.content.has(document)
    assert refs.prune([Rule(all=True)], lambda: dict(named)).records == ()


def test_what_a_build_that_has_ended_has_named_is_looked_up_last(refs: RefManager) -> None:
    """Its document was there when the blobs were counted, and nobody works any more: only the name tells."""
    documents = [refs.core.content.put(b"one"), refs.core.content.put(b"two")]
    asked: list[int] = []

    def keep() -> dict[str, str]:
        asked.append(len(asked))
        return {documents[0]: "image app:latest"} if len(asked) > 1 else {}

    refs.prune([Rule()], keep)
    assert [refs.core.content.has(one) for one in documents] == [True, False]


def test_collection_is_quick_where_there_is_nothing_to_do(store: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        step(store, None, filled(200_000), name=str(number)).release()
    asked: list[object] = []

    def counted(*args: Any, **more: Any) -> Any:
        asked.append(args)
        return usage.census(*args, **more)

    monkeypatch.setattr(prune, "census", counted)
    roomy = [
        Rule(filters=("type==source.local",), keep_duration=HOUR),
        Rule(keep_duration=HOUR),
        Rule(max_used_space=1_000_000),
    ]
    assert store.collect(roomy).records == ()
    assert store.collect([]).records == ()
    assert not asked
    with_lock = try_lock(store.root / "locks" / "prune")
    assert with_lock is not None
    assert store.collect([Rule(max_used_space=500_000)]).records == (), "another one is at it"
    os.close(with_lock)
    assert len(store.collect([*roomy, Rule(max_used_space=500_000)]).records) == 2
    assert asked


def test_clocks_that_were_wrong(store: RefManager) -> None:
    """What was used in a future that never came counts as used now, and ages from then on."""
    refs = [step(store, None, filled(100_000), name=str(number)) for number in range(3)]
    for ref in refs:
        ref.release()
    ahead = now() + 400 * 24 * HOUR
    store.core.db.update(refs[0].id, last_used_at=ahead, created_at=ahead)
    assert ids(store.prune([Rule(keep_duration=HOUR)]).records) == []
    found = store.core.db.find(refs[0].id)
    assert found is not None and max(found.last_used_at, found.created_at) <= now()
    store.core.db.update(refs[0].id, last_used_at=ahead)
    gone = store.collect([Rule(max_used_space=120_000)]).records
    assert ids(gone) == [refs[1].id, refs[2].id], "it was used last"


KILLED = """
import os, signal, sys
from pathlib import Path
from dockc.runtime.refs import core
from dockc.runtime.refs.manager import RefManager, Rule
refs = RefManager(Path(sys.argv[1]), snapshotter_name="native")
at, name = int(sys.argv[2]), sys.argv[3]
calls = [0]
owner = {"remove": core.Core, "discard": core.Core, "delete": type(refs.core.db)}.get(name) or type(refs.content)
name = "remove" if name == "blob" else name
real = getattr(owner, name)
def dying(self, *args):
    calls[0] += 1
    if calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *args)
setattr(owner, name, dying)
refs.prune([Rule(all=True)])
"""


@pytest.mark.parametrize(
    ("at", "where"), [(1, "remove"), (3, "remove"), (2, "delete"), (2, "blob"), (1, "discard"), (4, "discard")]
)
def test_a_killed_prune_leaves_a_sound_store(tmp_path: Path, at: int, where: str) -> None:
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        parent = None
        for number in range(5):
            ref = step(refs, parent, filled(5_000), name=str(number))
            ref.remote()
            if parent is not None:
                parent.release()
            parent = ref
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "s", str(at), where], check=False)
    assert killed.returncode == -signal.SIGKILL
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        assert examine(refs).healthy
        left = refs.usage()
        assert len(left) < 5 or at == 1
        assert ids(refs.prune([Rule(all=True)]).records) == ids(reversed(left))
        assert list((tmp_path / "s/snapshots").iterdir()) == []
        assert list(refs.content.digests()) == []


BUILDING = """
import sys
from pathlib import Path
from dockc.runtime.refs.manager import RefManager
refs = RefManager(Path(sys.argv[1]), snapshotter_name="native")
print("go", flush=True)
for number in range(25):
    with refs.new_mutable(description=f"a{number}") as made:
        with made.mount() as root:
            (root / "f").write_bytes(bytes(20_000))
        low = made.commit()
    with refs.new_mutable(low, description=f"b{number}") as made:
        with made.mount() as root:
            assert (root / "f").stat().st_size == 20_000
            (root / "g").write_bytes(bytes(20_000))
        top = made.commit()
    top.remote()
    with refs.cache_dir("c") as place:
        (place / "f").write_bytes(bytes(1000))
        assert (place / "f").exists()
    with top.mount() as root:
        assert sorted(p.name for p in root.iterdir()) == ["f", "g"]
    low.release()
    top.release()
refs.close()
"""


def test_building_while_another_process_prunes(tmp_path: Path) -> None:
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        builder = subprocess.Popen(
            [sys.executable, "-c", BUILDING, tmp_path / "s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert builder.stdout is not None
        builder.stdout.readline()
        removed = 0
        while builder.poll() is None:
            removed += len(refs.prune([Rule(all=True)]).records)
            removed += len(refs.collect([Rule(max_used_space=50_000)]).records)
            time.sleep(0.01)
        _, errors = builder.communicate()
        assert builder.returncode == 0, errors.decode()
        removed += len(refs.prune([Rule(all=True)]).records)
        assert removed >= 51
        assert refs.usage() == []
        assert examine(refs).healthy


def many(refs: RefManager, count: int) -> None:
    """Chains of ten records."""
    with refs.core.db.transaction():
        for number in range(count):
            made = fresh_record(
                f"r{number:06}",
                kind=database.LAYER,
                state=database.COMMITTED,
                record_type="regular",
                description=f"RUN {number}",
            )
            made = replace(made, last_used_at=made.created_at - number, usage_count=number % 7)
            refs.core.db.add(made, (f"r{number - 1:06}",) if number % 10 else ())


def test_many_records_take_time_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    for name in ("_all", "_run"):
        real = getattr(Database, name)

        def counted(self: Database, sql: str, *values: object, real: Any = real) -> Any:
            queries.append(sql)
            return real(self, sql, *values)

        monkeypatch.setattr(Database, name, counted)
    seen = []
    for count in (200, 400):
        with RefManager(tmp_path / f"s{count}", snapshotter_name="native") as refs:
            many(refs, count)
            queries.clear()
            refs.usage()
            looked = len(queries)
            assert len(refs.prune([Rule(all=True)]).records) == count
            seen.append((looked, len(queries) - looked))
            for sql in set(queries):
                steps = refs.core.db._connection.execute(f"EXPLAIN QUERY PLAN {sql}", [""] * sql.count("?")).fetchall()
                if sql.startswith("DELETE") or "LIMIT 1" in sql or "COUNT" in sql:
                    assert not any("SCAN" in step[3] for step in steps if "last_used_at" not in sql), sql
    assert seen[0][0] == seen[1][0], "the store is told in so many queries whatever it holds"
    assert seen[1][1] <= 2 * seen[0][1]


def test_twenty_thousand_records(tmp_path: Path) -> None:
    with RefManager(tmp_path / "s", snapshotter_name="native") as refs:
        many(refs, 20_000)
        found = refs.usage()
        assert len(found) == 20_000
        plan = refs.planned([Rule(filters=("description~=0$",)), Rule(all=True)])
        assert len(plan.taken) == 20_000
        assert not plan.kept


def test_who_prunes_hears_of_each(store: RefManager) -> None:
    made = step(store, None, filled(100_000), name="one")
    made.release()
    told: list[UsageRecord] = []
    done = store.prune([Rule()], told=told.append)
    assert told == list(done.records)
    assert done.rules == (0,)


def test_the_free_space_of_the_disk() -> None:
    found = Disk.of(Path("/"))
    state = os.statvfs("/")
    assert found.total == state.f_frsize * state.f_blocks
    assert Disk.of(Path("/no/such/place")) == Disk(0, 0)


def test_a_use_is_from_the_first_hold_to_the_last(refs: RefManager) -> None:
    made = step(refs, None, write(a="1"), name="one")

    def seen() -> tuple[int, int | None]:
        (one,) = refs.usage()
        return one.usage_count, one.last_used_at

    assert seen() == (0, None), "it is in use for the first time"
    more = made.clone()
    with more.mount(), more.mount():
        made.release()
    before = now()
    more.release()
    assert seen()[0] == 1
    assert before <= (seen()[1] or 0) <= now()
    with RefManager(refs.root) as other:
        other.get(made.id)  # and ends with it
    assert seen()[0] == 2
