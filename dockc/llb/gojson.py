"""JSON as Go's `encoding/json` writes it: some source attributes hold lists in exactly these bytes."""

from __future__ import annotations

from collections.abc import Sequence

try:
    from _json import encode_basestring as _quote  # what the json module is made of, without loading it
except ImportError:
    from json.encoder import encode_basestring as _quote

_ESCAPED = "&<>\u2028\u2029"


def strings(values: Sequence[str]) -> str:
    """A JSON list of strings, compact, with `<`, `>`, `&` and the two line separators escaped.

    Lone surrogates (bytes of the input that were no UTF-8) become the replacement character.
    """
    text = "[" + ",".join(map(_quote, values)) + "]"
    if not text.isascii():
        text = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    for char in _ESCAPED:
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text
