"""Which paths lie in which others: the rule on every pair, and no more work than the paths are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dockc.base.folders import Folders, outermost
from tests.tools import calls

_PATHS = st.lists(st.text("/ab.", max_size=6), max_size=8)


@given(_PATHS)
def test_outermost(paths: list[str]) -> None:
    inside = [p for p in paths if any(p != other and p.startswith(other.removesuffix("/") + "/") for other in paths)]
    assert sorted(outermost(paths)) == sorted(set(paths) - set(inside))


@given(_PATHS, st.text("/ab.", max_size=8))
def test_lying_in_one(paths: list[str], path: str) -> None:
    assert (path in Folders(paths)) == any(path.startswith(other.rstrip("/") + "/") for other in paths)


def test_calls_are_linear() -> None:
    def work(n: int) -> None:
        paths = [f"/{k % 7}/{k}" for k in range(n)]
        assert len(outermost(paths)) == n
        folders = Folders(paths)
        assert sum(path in folders for path in paths) == 0

    assert calls(lambda: work(2000)) <= 2.1 * calls(lambda: work(1000))
