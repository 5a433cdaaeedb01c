from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.runtime.refs.manager import RefManager
from tests.runtime.store_helpers import need_mounts


@pytest.fixture(params=["overlay", "native"])
def refs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RefManager]:
    """A store, once for each snapshotter."""
    need_mounts()
    with RefManager(tmp_path / "store", snapshotter_name=request.param) as manager:
        yield manager


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RefManager]:
    """A store with overlayfs."""
    need_mounts()
    with RefManager(tmp_path / "store", snapshotter_name="overlay") as manager:
        yield manager
