"""JSON of strangers."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parsed(text: str | bytes) -> Any:
    """What a document says.

    Raises:
        ValueError: it is no JSON, or nested more deeply than this can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
