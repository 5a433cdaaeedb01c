"""Text forms that the container ecosystem's tools share: quoted strings and canonical JSON.

Messages of the reference tools quote user input in Go's `%q` form, and image configs and manifests are
digested over the JSON that Go's encoder writes. Both are small, fixed rules, kept here so that every room
prints them alike.
"""

from __future__ import annotations

try:
    from _json import encode_basestring as _json_string  # what the json module is made of, without loading it
except ImportError:
    from json.encoder import encode_basestring as _json_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_ESCAPED = "&<>\u2028\u2029"

_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def quote(text: str) -> str:
    """The string between double quotes, everything unprintable escaped (Go's `strconv.Quote`).

    Bytes that were not UTF-8 arrive as lone surrogates (`surrogateescape`) and print as `\\xNN`.
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quoted_char, text)) + '"'


def _quoted_char(char: str) -> str:
    short = _SHORT.get(char)
    if short is not None:
        return short
    if char.isprintable():
        return char
    point = ord(char)
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x20 or point == 0x7F:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def dump_json(value: Any, *, indent: int | None = None) -> bytes:
    """JSON as Go's encoder writes it: compact (or indented), HTML-safe, keys in the dict's own order.

    Go writes struct fields in declaration order and map keys sorted; the caller says which is which
    by the order of its dicts (`sorted_map` for maps).
    """
    import json

    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent, allow_nan=False)
    # None of these characters can appear outside a string, so replacing in the whole text is safe.
    for char, escape in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        if char in text:
            text = text.replace(char, escape)
    try:
        return text.encode()
    except UnicodeEncodeError:
        clean = "".join("\\ufffd" if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
        return clean.encode()


def sorted_map(mapping: dict[str, Any]) -> dict[str, Any]:
    """The mapping with its keys in byte order, as Go writes maps."""
    return {key: mapping[key] for key in sorted(mapping)}


def dump_strings(values: Sequence[str]) -> str:
    """A JSON list of strings as Go's `encoding/json` writes it, compact, with `<`, `>`, `&` and the two line separators
    escaped.

    Lone surrogates (bytes of the input that were no UTF-8) become the replacement character.
    """
    text = "[" + ",".join(map(_json_string, values)) + "]"
    if not text.isascii():
        text = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    for char in _ESCAPED:
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text
