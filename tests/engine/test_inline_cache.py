"""Images carry their cache where that is asked for, and nowhere else: it is part of their digest."""

from __future__ import annotations

import pytest

from dockc.engine.caches import is_inline
from dockc.engine.request import BuildRequest


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, False), ("", False), ("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_only_where_it_is_asked_for(value: str | None, wanted: bool) -> None:
    attrs = {} if value is None else {"build-arg:BUILDKIT_INLINE_CACHE": value}
    assert is_inline(BuildRequest(attrs=attrs)) is wanted
