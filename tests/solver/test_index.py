"""Finding edges of equal keys."""

from __future__ import annotations

from dockc.solver.core.edge import EdgeState, VertexState
from dockc.solver.core.events import VertexSpec
from dockc.solver.core.index import EdgeIndex


def edge(index: int = 0, *, ignore_cache: bool = False) -> EdgeState:
    return EdgeState(VertexState("v", VertexSpec("v", (), ignore_cache)), index, [])


F0, F0_ = ("", "f0@0"), ("", "f0_@0")
S0, S0_SELECTED, S1, ALT = ("", "s0@0"), ("sel", "s0@0"), ("=", "s1"), ("=", "alt")


def test_index_simple() -> None:
    index = EdgeIndex()
    e1, e2, e3 = edge(), edge(), edge()
    assert index.place(e1, ["foo"], []) is None
    assert index.place(e2, ["bar"], []) is None
    assert index.place(e3, ["bar"], []) is e2
    assert index.place(e3, ["foo"], []) is e1
    assert index.place(edge(), ["baz", "bar"], []) is e2  # by any of its names
    assert index.place(edge(1), ["foo"], []) is None  # another output
    for e in (e1, e2):
        index.remove(e)
    assert index.place(e3, ["foo"], []) is None


def test_index_multi_level() -> None:
    index = EdgeIndex()
    e1, e2 = edge(1), edge(1)
    assert index.place(e1, ["foo"], [{F0}, {S0_SELECTED}]) is None
    assert index.place(e2, ["foo"], [{F0}, {S0_SELECTED}]) is e1
    e2 = edge(1)
    assert index.place(e2, ["foo"], [{F0}, {S0}]) is None  # another selector
    assert index.place(edge(1), ["foo"], [{F0_}, {S0_SELECTED}]) is None  # another first input
    # A further name of the second input becomes known, and is enough by itself then.
    assert index.place(e1, ["foo"], [{F0}, {S0_SELECTED, S1}]) is None
    e3 = edge(1)
    assert index.place(e3, ["foo"], [{F0}, {S1}]) is e1
    # It turns out that e2 reads the same: one of the two is found by the other.
    assert index.place(e2, ["foo"], [{F0}, {S0, S1}]) is e1
    index.transfer(e2, e1)
    assert index.place(edge(1), ["foo"], [{F0}, {S0}]) is e1
    index.remove(e1)
    assert index.place(e3, ["foo"], [{F0}, {S0}]) is None


def test_index_three_levels() -> None:
    index = EdgeIndex()
    low, top, other = edge(), edge(), edge()
    assert index.place(low, ["foo"], [{F0}, {S0}]) is None
    (token,) = low.tokens
    assert index.place(top, ["bar"], [{F0}, {("", token)}]) is None
    assert index.place(top, ["bar"], [{F0}, {("", token), ALT}]) is None
    assert index.place(other, ["bar"], [{F0}, {ALT}]) is top


def test_ignore_cache_has_a_world_of_its_own() -> None:
    index = EdgeIndex()
    normal, fresh = edge(), edge(ignore_cache=True)
    assert index.place(normal, ["foo"], []) is None
    assert index.place(fresh, ["foo"], []) is None  # does not join what may be cached
    assert index.place(edge(ignore_cache=True), ["foo"], []) is fresh
    assert index.place(edge(), ["foo"], []) is fresh  # but others join it
    assert not normal.tokens & fresh.tokens


def test_nothing_is_left() -> None:
    index = EdgeIndex()
    edges = [edge() for _ in range(10)]
    for n, e in enumerate(edges):
        index.place(e, ["op"], [{("", f"dep{n}@0"), ("=", "same" if n % 2 else f"c{n}")}])
    for e in edges:
        index.remove(e)
    assert len(index) == 0
    assert not index._links
    assert not index._made
