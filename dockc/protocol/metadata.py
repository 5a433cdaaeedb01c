"""Lists of any text in the metadata of a call, which carries plain text alone (BuildKit, `session/filesync`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

_ENCODED = "-encoded"


def encoded(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Metadata of a list; percent-encoded where a value is no plain text, or has space around it."""
    if all(value.isascii() and value.isprintable() and value == value.strip() for value in values):
        return [(name, value) for value in values]
    return [(name + _ENCODED, "1"), *((name, quote(value, errors="surrogateescape")) for value in values)]


def decoded(metadata: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Metadata with all values of a key, percent-decoded where they are encoded."""
    found: dict[str, list[str]] = {}
    for key, value in metadata:
        found.setdefault(key, []).append(value)
    for key in [one for one in found if one.endswith(_ENCODED)]:
        plain = key.removesuffix(_ENCODED)
        if found[key] == ["1"] and plain in found:
            found[plain] = [unquote(value, errors="surrogateescape") for value in found[plain]]
    return found
