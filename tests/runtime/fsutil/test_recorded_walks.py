"""What a filtered walk finds, against the reference (`tests/golden/runtime/files/walks`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.walk import Filter, follow_links, walk
from tests.golden.collect import recorded
from tests.runtime import file_trees

RECORDED = recorded("runtime/files", "walks")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    file_trees.need_root()
    base = tmp_path_factory.mktemp("walks")
    return [file_trees.build(base / str(n), rows) for n, rows in enumerate(RECORDED["trees"])]


@pytest.mark.root
@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: ascii(case[:5])[:70])
def test_as_recorded(case: list[object], trees: list[Path]) -> None:
    tree, operation, include, exclude, follow, expected = case
    assert isinstance(tree, int)
    assert isinstance(include, list)
    assert isinstance(exclude, list)
    assert isinstance(follow, list) or follow is None
    if operation == "follow":
        with Root(trees[tree]) as root:
            assert (follow_links(root, follow or ()) or None) == (expected or None)
        return
    chosen = Filter(tuple(include), tuple(exclude), None if follow is None else tuple(follow))
    found = [[entry.path, entry.link or entry.same_as] for entry in walk(trees[tree], chosen)]
    assert found == expected
