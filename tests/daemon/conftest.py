"""A registry of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.registry_servers import real_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address.replace("127.0.0.1", "localhost")
