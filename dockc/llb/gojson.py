"""JSON as Go's `encoding/json` writes it: some source attributes hold lists in exactly these bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SURROGATE = "[\ud800-\udfff]"
_ESCAPED = "[&<>\u2028\u2029]"


def strings(values: Sequence[str]) -> str:
    """A JSON list of strings, compact, with `<`, `>`, `&` and the two line separators escaped.

    Lone surrogates (bytes of the input that were no UTF-8) become the replacement character.
    """
    import json

    text = json.dumps([re.sub(_SURROGATE, "\ufffd", v) for v in values], ensure_ascii=False, separators=(",", ":"))
    return re.sub(_ESCAPED, lambda m: f"\\u{ord(m.group()):04x}", text)
