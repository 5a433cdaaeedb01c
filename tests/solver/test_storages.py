"""The key graph on disk is the one in memory, whatever is done with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.solver.cache.storage.base import CacheKeyStorage, CacheLink, CacheResult, KeyRecord
from dockc.solver.cache.storage.memory import MemoryKeyStorage
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage

KEYS, RESULTS = "abcde", "xyz"
LINKS = [CacheLink(0, 0, "d"), CacheLink(1, 0, "d"), CacheLink(0, 0, "e", "s")]
KEY, RESULT, LINK = st.sampled_from(KEYS), st.sampled_from(RESULTS), st.sampled_from(LINKS)
RECORDS = st.builds(
    lambda key, name, digest, at: KeyRecord(key, digest, 0, "v", name, {"k": [1, {"b": "c"}]}, ({"keys": [["a", ""]], "content": ""},), at),
    KEY, st.sampled_from("nm"), st.sampled_from("dq"), st.integers(1, 1 << 62),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add_result"), KEY, st.builds(CacheResult, RESULT, st.integers(1, 1 << 62))),
        st.tuples(st.just("release"), RESULT),
        st.tuples(st.just("add_link"), KEY, LINK, KEY),
        st.tuples(st.just("remember"), RECORDS),
        st.tuples(st.just("flush")),
    ),
    max_size=25,
)


def told(storage: CacheKeyStorage) -> object:
    """All that it says, in an order of its own."""
    keys = [
        (key, storage.exists(key), sorted((one.id, one.created_at) for one in storage.results(key)), sorted(storage.backlinks(key)), storage.recall(key)) for key in KEYS
    ]
    links = [(key, link, sorted(storage.links(key, link)), [storage.has_link(key, link, target) for target in KEYS]) for key in KEYS for link in LINKS]
    results = [(result, sorted(storage.keys_by_result(result))) for result in RESULTS]
    similar = [{record.key for record in storage.recall_similar(name, digest)} for name in "nm" for digest in "dq"]
    return sorted(storage.keys()), sorted(storage.result_ids()), keys, links, results, similar


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(STEPS)
def test_both_say_the_same_after_any_steps(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]) -> None:
    path: Path = tmp_path_factory.mktemp("storage") / "keys.db"
    memory, disk = MemoryKeyStorage(), SqliteKeyStorage(path)
    try:
        for name, *arguments in steps:
            for storage in (memory, disk):
                getattr(storage, str(name))(*arguments)
        assert told(disk) == told(memory)
    finally:
        disk.close()
    again = SqliteKeyStorage(path)
    try:
        assert told(again) == told(memory)
    finally:
        again.close()
