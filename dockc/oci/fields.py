"""Typed reading of JSON from outside: every field is checked, and an error names the path to it.

Documents that came with a digest are read through this and passed on as the bytes they were.
"""

from __future__ import annotations

import json
from typing import Any

from dockc.errors import DockcError


class InvalidDocument(DockcError):
    """JSON that is broken or not of the expected shape."""


def decode(data: bytes, what: str) -> Fields:
    """Parse a JSON object.

    Args:
        data: the document.
        what: how errors call it, "manifest".

    Raises:
        InvalidDocument: not JSON, nested too deeply, or not an object.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise InvalidDocument(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise InvalidDocument(f"{what}: not valid JSON: {error}") from None
    return Fields(value, what)


class Fields:
    """A JSON object whose fields are read by expected type; missing and null read as the zero value."""

    __slots__ = ("raw", "where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidDocument(f"{where}: expected an object, got {_kind(value)}")
        self.raw: dict[str, Any] = value
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def text(self, name: str) -> str:
        """A string field."""
        value = self._get(name, str)
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        """An integer field of 64 bits."""
        value = self._get(name, int)
        if value is None:
            return 0
        if isinstance(value, bool):
            raise self._wrong(name, "an integer", value)
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidDocument(f"{self.where}: {name}: more than 64 bits")
        return int(value)

    def flag(self, name: str) -> bool:
        """A boolean field."""
        return bool(self._get(name, bool))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self.optional_texts(name) or ())

    def optional_texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or None when the field is missing or null."""
        value = self._get(name, list)
        if value is None:
            return None
        for item in value:
            if not isinstance(item, str):
                raise self._wrong(name, "a list of strings", item)
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        """An object with string values."""
        value = self._get(name, dict)
        for item in (value or {}).values():
            if not isinstance(item, str):
                raise self._wrong(name, "an object of strings", item)
        return dict(value or {})

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys of an object used as a set."""
        return tuple(self._get(name, dict) or ())

    def object(self, name: str) -> Fields:
        """A nested object; empty when missing."""
        return Fields(self._get(name, dict) or {}, f"{self.where}: {name}")

    def optional_object(self, name: str) -> Fields | None:
        """A nested object, or None."""
        value = self._get(name, dict)
        return None if value is None else Fields(value, f"{self.where}: {name}")

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        value = self._get(name, list)
        return [Fields(item, f"{self.where}: {name}[{i}]") for i, item in enumerate(value or ())]

    def _get(self, name: str, kind: type) -> Any:
        value = self.raw.get(name)
        if value is not None and not isinstance(value, kind):
            raise self._wrong(name, _KINDS[kind], value)
        return value

    def _wrong(self, name: str, expected: str, value: Any) -> InvalidDocument:
        return InvalidDocument(f"{self.where}: {name}: expected {expected}, got {_kind(value)}")


_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind in (bool, str, int, list, dict):
        if isinstance(value, kind):
            return _KINDS[kind]
    return "a number"
