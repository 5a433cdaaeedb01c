"""The reference page names every option."""

from __future__ import annotations

import pytest

from dockc.runtime.exporter.table import KINDS
from tests.conftest import REPO


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_option_is_documented(kind: str) -> None:
    page = (REPO / "docs" / "reference" / "exporters.md").read_text()
    assert f"`{kind}`" in page or f"`type={kind}`" in page
    assert [key for key in sorted(KINDS[kind].options) if f"`{key}`" not in page] == []
