"""Cache configs: what is written comes back, and whatever comes from elsewhere is harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.oci import digest as digests
from dockc.runtime.remotecache import config as configs
from dockc.runtime.remotecache.chains import ordered
from dockc.runtime.remotecache.config import (
    BadCacheConfig,
    CacheConfig,
    CacheInput,
    CacheLayer,
    CacheRecord,
    CacheResult,
)
from dockc.runtime.remotecache.keys import ImportedKeys
from dockc.solver.cache.storage.base import CacheLink
from dockc.solver.core.cachekey import root_key


def name(text: str) -> str:
    return digests.from_bytes(text.encode())


A, B, C = name("a"), name("b"), name("c")


def _parse(layers: list[Any], records: list[Any]) -> CacheConfig:
    return configs.parse(json.dumps({"layers": layers, "records": records}).encode())


def test_a_config_of_buildkit() -> None:
    """A missing parent is the first layer, -1 none; links may go forwards."""
    found = _parse(
        [{"blob": A, "parent": -1}, {"blob": B}, {"blob": C, "parent": 1}],
        [
            {"layers": [{"layer": 2, "createdAt": "2024-01-02T03:04:05.000000006Z"}], "digest": B, "inputs": [[{"selector": "/x", "link": 1}]]},
            {"digest": A},
            {"digest": C, "chains": [{"layers": [0, 2], "createdAt": "2024-01-02T03:04:05Z"}]},
        ],
    )
    first, second, third = found.records
    assert (first.digest, first.inputs) == (A, ())
    assert second.inputs == ((CacheInput(0, "/x"),),)
    assert second.results == (CacheResult((0, 1, 2), 1704164645000000006),)
    assert third.results[0].layers == (0, 2)


@pytest.mark.parametrize(
    ("layers", "records", "left"),
    [
        ([], [{"digest": A, "inputs": [[{"link": 0}]]}], 0),
        ([], [{"digest": A, "inputs": [[{"link": 1}]]}, {"digest": B, "inputs": [[{"link": 0}]]}], 0),
        ([], [{"digest": A, "inputs": [[{"link": 7}]]}, {"digest": B}], 1),
        ([], [{"digest": A, "inputs": [[]]}, {"digest": B}], 1),
        ([], [{"digest": "nonsense"}, {"digest": B, "inputs": [[{"link": 0}]]}], 0),
        ([], [{"digest": A}, {"digest": A}], 2),
        ([], ["x", None, 3, {"digest": A, "inputs": "x", "layers": 3}], 1),
        ([{"blob": A, "parent": 0}], [{"digest": A, "layers": [{"layer": 0}]}], 1),
        ([{"blob": A, "parent": 5}], [{"digest": A, "layers": [{"layer": 0}, {"layer": -4}, {"layer": True}]}], 1),
        ([], [{"digest": A, "inputs": [[{"link": 0}, {"link": 1}]]}, {"digest": B}], 2),
    ],
)
def test_what_cannot_be_is_left_out(layers: list[Any], records: list[Any], left: int) -> None:
    found = _parse(layers, records)
    assert len(found.records) == left
    assert all(not record.results for record in found.records)
    ImportedKeys(found, lambda at: True)


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{", b'{"layers": ' + b"[" * 100_000])
def test_no_config(data: bytes) -> None:
    with pytest.raises(BadCacheConfig):
        configs.parse(data)


def test_too_many() -> None:
    with pytest.raises(BadCacheConfig, match="more than"):
        configs.of_lists([], [{}] * (configs.MOST + 1))


def test_a_long_chain_takes_no_stack() -> None:
    count = 20_000
    records = [{"digest": name(str(n)), **({"inputs": [[{"link": n + 1}]]} if n + 1 < count else {})} for n in range(count)]
    found = _parse([], records)
    assert len(found.records) == count
    assert found.records[0].digest == name(str(count - 1))


@st.composite
def some_config(draw: st.DrawFn) -> CacheConfig:
    layers = [
        CacheLayer(name(f"l{draw(st.integers(0, 9))}{at}"), draw(st.integers(-1, at - 1)), "t", name(f"d{at}"), at)
        for at in range(draw(st.integers(0, 5)))
    ]
    chains: list[tuple[int, ...]] = []
    for at, layer in enumerate(layers):
        chains.append((*(chains[layer.parent] if layer.parent != -1 else ()), at))
    records: list[CacheRecord] = []
    for at in range(draw(st.integers(0, 6))):
        links = st.builds(CacheInput, st.integers(0, max(at - 1, 0)), st.sampled_from(["", "/a", name("sel")]))
        inputs = draw(st.lists(st.lists(links, min_size=1, max_size=3, unique=True).map(tuple), max_size=3).map(tuple)) if at else ()
        results = tuple(CacheResult(chain, 5) for chain in draw(st.lists(st.sampled_from(chains), max_size=2))) if chains else ()
        records.append(CacheRecord(name(f"r{at}"), inputs, results))
    return CacheConfig(tuple(layers), tuple(records))


def _meaning(config: CacheConfig) -> object:
    """What a config says, whatever the order of its lists."""
    done: list[object] = []
    for record in config.records:
        inputs = tuple(frozenset((config.records[one.link].digest, one.selector) for one in names) for names in record.inputs)
        results = frozenset(tuple(config.layers[place].blob for place in result.layers) for result in record.results)
        done.append((record.digest, inputs, results))
    return frozenset(done)


@given(some_config())
def test_what_is_written_comes_back(config: CacheConfig) -> None:
    sorted_one = ordered(config)
    data = configs.dump(sorted_one, annotated=True)
    again = configs.parse(data)
    assert _meaning(again) == _meaning(config)
    assert [layer.diff_id for layer in again.layers] == [layer.diff_id for layer in sorted_one.layers]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([A, B]), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["layers", "records", "digest", "inputs", "link", "layer", "blob", "parent", "chains"]), inner, max_size=4)))
def test_any_json_is_harmless(value: Any) -> None:
    try:
        found = configs.parse(json.dumps(value).encode())
    except BadCacheConfig:
        return
    ImportedKeys(found, lambda at: True)


def test_keys_are_found_by_the_way_a_build_spells_them() -> None:
    operation = name("operation")
    config = _parse([{"blob": A, "parent": -1}], [{"digest": root_key(A, 0)}, {"digest": root_key(operation, 1), "inputs": [[{"link": 0, "selector": "/s"}]], "layers": [{"layer": 0}]}])
    keys = ImportedKeys(config, lambda at: True)
    link = CacheLink(0, 1, operation, "/s")
    (target,) = keys.links(root_key(A, 0), link)
    assert keys.links(root_key(A, 0), CacheLink(0, 0, operation, "/s")) == ()
    assert [result.id for result in keys.results(target)] == ["1.0"] or keys.results(target)
    assert keys.backlinks(target) == ((root_key(A, 0), link),)
    assert ImportedKeys(config, lambda at: False).results(target) == ()


def test_layers_on_top_of_each_other_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small document whose results would, each with all layers below it, fill the memory."""
    digests_ = [f"sha256:{number:064x}" for number in range(200)]
    document = {
        "layers": [{"blob": digest, "parent": at - 1} for at, digest in enumerate(digests_)],
        "records": [{"digest": digest, "layers": [{"layer": at}]} for at, digest in enumerate(digests_)],
    }
    data = json.dumps(document).encode()
    assert sum(len(result.layers) for record in configs.parse(data).records for result in record.results) == 200 * 201 // 2
    monkeypatch.setattr(configs, "MOST_PLACES", 20_000)
    with pytest.raises(configs.BadCacheConfig, match="more than 20000 layers"):
        configs.parse(data)


def test_results_without_some_blobs() -> None:
    """What stands on a blob goes with it, keys stay, and positions do."""
    layers = (CacheLayer(A), CacheLayer(B, 0), CacheLayer(C))
    records = (CacheRecord(name("k"), (), (CacheResult((0,), 1), CacheResult((0, 1), 2), CacheResult((2,), 3))),)
    config = CacheConfig(layers, records, configs.MountsAt(C, 3))
    assert configs.without(config, set()) is config
    left = configs.without(config, {B})
    assert left.records[0].results == (CacheResult((0,), 1), CacheResult((2,), 3))
    assert (left.layers, left.mounts) == (layers, config.mounts)
    assert configs.without(config, {A, C}) == CacheConfig(layers, (CacheRecord(name("k")),))
