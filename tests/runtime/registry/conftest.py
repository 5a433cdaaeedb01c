from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.runtime.content.store import ContentStore
from dockc.runtime.registry.client import Client
from dockc.runtime.registry.transport import Limits
from tests.runtime.registry_servers import real_registry

FAST = Limits(connect=5, read=2, attempts=3, backoff=0.01, patience=0.05, window=0.5, document=0.5)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with basic authentication."""
    with real_registry(tmp_path_factory.mktemp("locked"), auth="htpasswd") as address:
        yield address


@pytest.fixture
def client() -> Iterator[Client]:
    with_limits = Client(limits=FAST)
    yield with_limits
    with_limits.close()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> ContentStore:
    """Where images come from."""
    return ContentStore(tmp_path / "source")
