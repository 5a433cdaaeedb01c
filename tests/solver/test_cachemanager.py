"""Looking up, saving and losing results by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dockc.solver.cache.cachemanager import LocalCache, Provenance
from dockc.solver.cache.combined import CombinedCache
from dockc.solver.cache.storage.base import NotFound
from dockc.solver.cache.storage.memory import MemoryKeyStorage, MemoryResultStorage
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
from dockc.solver.core.cachekey import content_key, derived_key, root_key
from dockc.solver.core.events import KeyRef, KeySpec, Record
from tests.solver.world import Value, digest_of

FOO, BAR, BAZ = digest_of("foo"), digest_of("bar"), digest_of("baz")
ABOUT = Provenance("sha256:vertex", "RUN x", {"args": ["x"]}, {0: "sha256:content"})


@pytest.fixture(params=["memory", "sqlite"])
def new_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], LocalCache]:
    made = iter(range(100))

    def make() -> LocalCache:
        if request.param == "memory":
            return LocalCache(MemoryKeyStorage(), MemoryResultStorage())
        keys = SqliteKeyStorage(tmp_path / f"cache-{next(made)}.db")
        request.addfinalizer(keys.close)
        return LocalCache(keys, MemoryResultStorage())

    return make


@pytest.fixture
def cache(new_cache: Callable[[], LocalCache]) -> LocalCache:
    return new_cache()


def save(
    cache: LocalCache | CombinedCache, value: str, digest: str, output: int = 0, *deps: tuple[KeyRef, ...], at: int = 1
) -> str:
    return cache.save(KeySpec(digest, output, deps), Value(value, "id-" + value), at, ABOUT)


def values(cache: LocalCache | CombinedCache, *keys: str) -> list[str]:
    return sorted(str(cache.load(record).value) for record in cache.records(keys))


def test_roots_and_one_level(cache: LocalCache) -> None:
    foo, bar = save(cache, "foo", FOO), save(cache, "bar", BAR)
    assert cache.query(FOO, 0, -1, ()) == (foo,) == (root_key(FOO, 0),)
    assert cache.query(FOO, 1, -1, ()) == ()
    assert values(cache, foo) == ["foo"]
    baz = save(cache, "baz", BAZ, 1, (KeyRef(foo),), (KeyRef(bar),))
    assert cache.query(BAZ, 1, -1, ()) == ()
    assert cache.query(BAZ, 0, 0, [KeyRef(foo)]) == ()
    assert cache.query(BAZ, 1, 1, [KeyRef(foo)]) == ()
    assert cache.query(BAZ, 1, 0, [KeyRef(foo)]) == (baz,) == cache.query(BAZ, 1, 1, [KeyRef(bar)])
    assert values(cache, baz) == ["baz"]
    # The same key once more, known by one of its inputs alone: two results under it.
    assert save(cache, "again", BAZ, 1, (KeyRef(foo),)) == baz
    assert values(cache, baz) == ["again", "baz"]
    # An input with two names.
    top = save(cache, "top", digest_of("top"), 0, (KeyRef(foo), KeyRef(baz)), (KeyRef(bar),))
    for index, key in ((0, foo), (0, baz), (1, bar)):
        assert cache.query(digest_of("top"), 0, index, [KeyRef(key)]) == (top,)


def test_selectors(cache: LocalCache) -> None:
    foo = save(cache, "foo", FOO)
    content = content_key(digest_of("second"))
    bar = save(cache, "bar", BAR, 0, (KeyRef(foo, "sel0"), KeyRef(content, content=True)))
    assert cache.query(BAR, 0, 0, [KeyRef(foo)]) == ()
    assert cache.query(BAR, 0, 0, [KeyRef(foo, "other")]) == ()
    assert cache.query(BAR, 0, 0, [KeyRef(foo, "sel0")]) == (bar,)
    assert cache.query(BAR, 0, 0, [KeyRef(content)]) == (bar,)


def test_names_are_linked_to_keys_that_fit_all_inputs(cache: LocalCache) -> None:
    """A look-up writes nothing; what was found through every input is linked for every name of every input."""
    foo, bar = save(cache, "foo", FOO), save(cache, "bar", BAR)
    content = KeyRef(content_key(digest_of("content0")), content=True)
    key = save(cache, "res", BAZ, 0, (KeyRef(foo, "sel0"), content))
    assert cache.query(BAZ, 0, 0, [KeyRef(bar, "sel0"), content]) == (key,)
    assert cache.query(BAZ, 0, 0, [KeyRef(bar, "sel0")]) == ()
    cache.link(BAZ, 0, [key], [(0, (KeyRef(bar, "sel0"), content, KeyRef("random:x")))])
    assert cache.query(BAZ, 0, 0, [KeyRef(bar, "sel0")]) == (key,)
    assert cache.query(BAZ, 0, 0, [KeyRef("random:x")]) == ()
    other = save(cache, "other", digest_of("other"))
    cache.link(BAZ, 0, [key], [(1, (KeyRef(other), KeyRef(foo)))])
    assert cache.query(BAZ, 0, 1, [KeyRef(other)]) == (key,)
    assert cache.query(BAZ, 0, 0, [KeyRef(other)]) == ()


def test_release_of_a_parent(cache: LocalCache) -> None:
    foo = save(cache, "foo", FOO)
    bar = save(cache, "bar", BAR, 0, (KeyRef(foo),))
    cache.keys.release("id-foo")
    assert cache.query(FOO, 0, -1, ()) == (foo,)
    assert cache.records([foo]) == ()
    assert cache.query(BAR, 0, 0, [KeyRef(foo)]) == (bar,)
    assert values(cache, bar) == ["bar"]
    cache.keys.release("id-bar")
    assert cache.query(FOO, 0, -1, ()) == ()


def test_results_lost_elsewhere_are_forgotten(cache: LocalCache) -> None:
    foo = save(cache, "foo", FOO)
    bar = save(cache, "bar", BAR, 0, (KeyRef(foo),))
    results = cache.results
    assert isinstance(results, MemoryResultStorage)
    results.remove("id-foo")
    assert cache.records([foo]) == ()
    assert cache.keys.result_ids() == ("id-bar",)
    results.remove("id-bar")
    assert not cache.has(KeySpec(BAR, 0, ((KeyRef(foo),),)))
    with pytest.raises(NotFound):
        cache.load(Record(bar, "id-bar"))
    assert cache.release_unreferenced() == 1
    assert list(cache.keys.keys()) == []


def test_ids_do_not_depend_on_who_makes_them(new_cache: Callable[[], LocalCache]) -> None:
    one, two = new_cache(), new_cache()
    content = KeyRef(content_key(BAR), content=True)
    a = save(one, "a", BAZ, 0, (KeyRef("sha256:k1", "s"), content))
    b = save(two, "b", BAZ, 0, (content, KeyRef("sha256:k2")))
    assert a == b == derived_key(KeySpec(BAZ, 0, ((content,),)))


def test_random_keys_are_not_kept(cache: LocalCache) -> None:
    local = save(cache, "local", "random:abc")
    assert local == "random:abc"
    assert save(cache, "top", BAR, 0, (KeyRef(local),)).startswith("random:")
    assert list(cache.keys.keys()) == []
    content = KeyRef(content_key(FOO), content=True)
    key = save(cache, "copy", BAR, 0, (KeyRef(local), content))
    assert cache.query(BAR, 0, 0, [content]) == (key,)
    assert cache.query(BAR, 0, 0, [KeyRef(local)]) == ()


def test_what_is_remembered(cache: LocalCache) -> None:
    key = save(cache, "x", BAR, 0, (KeyRef("sha256:k", "s"), KeyRef(content_key(FOO), content=True)), at=5)
    (record,) = cache.similar("RUN x", "sha256:nothing")
    assert record.key == key
    assert record.preimage == {"args": ["x"]}
    assert record.inputs == ({"keys": [["sha256:k", "s"]], "content": "sha256:content"},)
    assert record.created_at == 5
    assert cache.similar("other", BAR) == (record,)
    assert cache.similar("other", "other") == ()


def test_combined(new_cache: Callable[[], LocalCache]) -> None:
    main, other = new_cache(), new_cache()
    both = CombinedCache(main, [other])
    foo = save(other, "foo", FOO)
    bar = save(other, "bar", BAR, 0, (KeyRef(foo, "s"),))
    old = save(main, "old", BAZ)
    assert both.query(FOO, 0, -1, ()) == (foo,)
    assert both.query(BAR, 0, 0, [KeyRef(foo, "s")]) == (bar,)
    (record,) = both.records([bar])
    assert record.source == 1
    assert not both.has(KeySpec(BAR, 0, ((KeyRef(foo, "s"),),)))
    assert both.load(record).value == "bar"
    # Now the main cache has it, and finds it from the root on.
    assert main.query(BAR, 0, 0, [KeyRef(foo, "s")]) == (bar,)
    assert main.query(FOO, 0, -1, ()) == (foo,)
    assert [r.source for r in both.records([bar])] == [0]
    assert main.similar("RUN x", "")
    assert values(both, old) == ["old"]
    assert save(both, "new", digest_of("new"))
    assert other.keys.result_ids() == ("id-foo", "id-bar") or set(other.keys.result_ids()) == {"id-foo", "id-bar"}
