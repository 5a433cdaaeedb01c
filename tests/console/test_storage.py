"""The store's space as people and programs read it."""

from __future__ import annotations

import json

import pytest

from dockc.console.storage import (
    fates,
    formatted,
    planned_table,
    sums,
    usage_details,
    usage_table,
    usage_tree,
)
from dockc.errors import UsageError
from dockc.runtime.refs.plan import Census, Item, plan
from dockc.runtime.refs.policy import Disk, Rule
from dockc.runtime.refs.types import RecordType, UsageRecord

S = 1_000_000_000
NOW = 2_000_000_000 * S


def record(name: str, size: int, **more: object) -> UsageRecord:
    fields = {
        "id": name,
        "record_type": RecordType.REGULAR,
        "description": f"RUN {name}",
        "size": size,
        "created_at": NOW - 7200 * S,
        "last_used_at": NOW - 90 * S,
        "usage_count": 3,
        "in_use": False,
        "mutable": False,
        "shared": False,
        "lazy": False,
    }
    return UsageRecord(**{**fields, **more})  # type: ignore[arg-type]


def test_usage() -> None:
    records = [
        record("small", 1200, last_used_at=None),
        record("large", 5_000_000, shared=True),
        record("held", 10, in_use=True, record_type=RecordType.EXEC_CACHE_MOUNT, description="x" * 80),
    ]
    assert usage_table(records, NOW) + sums(records) == (
        "ID      TYPE              RECLAIMABLE      SIZE   LAST USED      DESCRIPTION\n"
        "large   regular           true          5.00MB*   1 minute ago   RUN large\n"
        "small   regular           true           1.20kB   never          RUN small\n"
        f"held    exec.cachemount   false             10B   1 minute ago   {'x' * 57}...\n"
        "Shared:      5.00MB\n"
        "Private:     1.21kB\n"
        "Reclaimable: 1.20kB\n"
        "Total:       5.00MB\n"
    )


def test_usage_of_an_empty_store() -> None:
    headers = "ID   TYPE   RECLAIMABLE   SIZE   LAST USED   DESCRIPTION\n"
    assert usage_table([], NOW) + sums([]) == headers + "Reclaimable: 0B\nTotal:       0B\n"


def test_usage_fits_the_terminal() -> None:
    one = record("a" * 25, 10_000_000, description="[stage 3/4] RUN make all of it and then a little more of it")
    for shown in (usage_table([one], NOW, width=80), usage_tree([one], NOW, width=80)):
        assert max(map(len, shown.splitlines())) <= 80
        assert "[stage 3/4] RUN make all of it" in shown


def test_usage_in_full() -> None:
    one = record("a", 10, parents=("p", "q"), lazy=True, in_use=True, held_by=("process 7", "image app:latest"))
    text = usage_details([one], NOW, {"a": "not now: process 7"})
    assert text == (
        "ID:          a\n"
        "Parents:     p, q\n"
        "Type:        regular\n"
        "Mutable:     false\n"
        "Reclaimable: false\n"
        "Shared:      false\n"
        "Lazy:        true\n"
        "Size:        10B\n"
        "Created:     2 hours ago\n"
        "Last used:   1 minute ago\n"
        "Usage count: 3\n"
        "Held by:     process 7; image app:latest\n"
        "Collected:   not now: process 7\n"
        "Description: RUN a\n"
        "\n"
    )


def test_the_whole_store() -> None:
    one, two = record("a", 100), record("b", 50)
    items = {"a": Item(one, 100, ("sha256:x",)), "b": Item(two, 50, ("sha256:x",))}
    census = Census(items=items, blobs={"sha256:x": 1000}, loose=7, rest=20_000, disk=Disk(0, 0), at=NOW)
    assert sums(census.records, census) == (
        "Reclaimable: 150B\nRecords:     150B\nIn several:  1.00kB\nDocuments:   7B\nDatabases:   20.00kB\nTotal:       21.16kB\n"
    )


def test_a_tree() -> None:
    records = [
        record("base", 10, in_use=True, held_by=("a record in use stands on it",)),
        record("left", 20, parents=("base",)),
        record("top", 30, parents=("left", "right"), in_use=True, held_by=("process 7",), mutable=True),
        record("right", 5, parents=("base",), last_used_at=None, usage_count=0),
        record("alone", 1, parents=("gone",)),
    ]
    lines = [line.rstrip().split("   ")[0] for line in usage_tree(records, NOW).splitlines()]
    assert lines == ["ID", "base", "├─ left", "│  └─ top*", "└─ right", "alone"]
    assert "process 7" in usage_tree(records, NOW)
    assert usage_tree([], NOW) == "ID   TYPE   SIZE   LAST USED   USES   HELD BY   DESCRIPTION\n"
    chain = [record(f"r{n}", 1, parents=(f"r{n - 1}",)) for n in range(3000)]
    assert usage_tree(chain, NOW).count("\n") == 3001
    assert max(map(len, usage_tree(chain, NOW).splitlines())) < 200


def test_formats() -> None:
    records = [record("a", 1200, mutable=True, parents=("p", "q")), record("b", 5, last_used_at=None, shared=True)]
    assert formatted(records, "{{.ID}}: {{.Size}}", NOW) == "a: 1.20kB\nb: 5B\n"
    assert formatted(records, "table {{.ID}}\\t{{.Reclaimable}}\\t{{.Size}}\\t{{.LastUsedAt}}", NOW) == (
        "ID   RECLAIMABLE   SIZE     LAST ACCESSED\na*   true          1.20kB   1 minute ago\nb    true          5B*\n"
    )
    first = json.loads(formatted(records, "json", NOW).splitlines()[0])
    assert first.items() >= {"ID": "a", "Type": "regular", "UsageCount": 3, "Parents": ["p", "q"], "Mutable": True, "Bytes": 1200}.items()
    assert first["CreatedAt"] == "2033-05-18T01:33:20Z"
    assert formatted(records[:1], "{{.CreatedAt}}{{range .Parents}} <{{.}}>{{end}}", NOW) == "2033-05-18 01:33:20 +0000 UTC <p> <q>\n"
    for bad, said in (("{{.Name}}", "field Name"), ("{{.ID", "unclosed"), ("{{frob .ID}}", "frob"), ("{{if .ID}}", "no {{end}}")):
        with pytest.raises(UsageError, match=said):
            formatted(records, bad, NOW)


def test_what_collection_has_in_mind() -> None:
    census = Census(
        items={one.id: Item(one, one.size) for one in (record("old", 60), record("held", 50, in_use=True, held_by=("process 7",)))},
        blobs={}, disk=Disk(0, 0), at=NOW,
    )  # fmt: skip
    rules = (Rule(filters=("type==source.local", "mutable"), keep_duration=48 * 3600 * S), Rule(max_used_space=80, reserved_space=10))
    found = plan(census, rules)
    assert fates(found, rules) == {"old": "next, by rule 2 (beyond 80B, never below 10B)", "held": "not now: process 7"}
    assert planned_table(found, census, rules) == (
        "rule 1: type==source.local or mutable, unused for 48h\n"
        "rule 2: beyond 80B, never below 10B\n"
        "ID     TYPE      SIZE   LAST USED      USES   DESCRIPTION   WHAT HAPPENS\n"
        "old    regular    60B   1 minute ago      3   RUN old       rule 2\n"
        "held   regular    50B   1 minute ago      3   RUN held      stays: process 7\n"
        "Would free:  60B of 1 records\n"
        "Would stay:  50B\n"
    )


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(), "everything"), (Rule(all=True), "internal records too"), (Rule(keep_duration=60 * 24 * 3600 * S), "unused for 60d"),
        (Rule(keep_duration=1_500_000_000), "unused for 1.5s"), (Rule(min_free_space=2_000), "while less than 2.00kB are free"),
    ],
)  # fmt: skip
def test_rules_in_words(rule: Rule, text: str) -> None:
    assert str(rule) == text
