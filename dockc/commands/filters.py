"""`--filter` in the words of buildctl and of buildx, for commands on a store or a builder."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.base.pattern import pattern
from dockc.errors import UsageError

_PLAIN = pattern(r"([A-Za-z][\w-]*)=(?!=)(.*)", 16)  # buildx's: one key, one value; 16 is re.DOTALL
_AGES = ("until", "unused-for")


def read(texts: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Filters for a builder, and nanoseconds within which a record must not have been used.

    `type==X,description~=Y` is buildctl's: a comma is "and", several filters are alternatives. `type=X` is buildx's: it
    must hold besides whatever else is asked, and `id=X` is an expression. `until=24h` (`unused-for=24h`) is the age.

    Raises:
        UsageError: one that is not understood, or two ages.
    """
    from dockc.runtime.refs.policy import check_filters

    wide: list[str] = []
    narrow: list[str] = []
    ages: list[str] = []
    for text in texts:
        whole: list[str] = []
        for part in _parts(text):
            found = _PLAIN.fullmatch(part.strip())
            if found is None:
                whole.append(part)
            elif found[1] in _AGES:
                ages.append(found[2])
            else:
                narrow.append(_translated(found[1], found[2]))
        if whole:
            wide.append(",".join(whole))
    if len(ages) > 1:
        raise UsageError("only one until= or unused-for= can be given")
    if narrow:
        both = ",".join(narrow)
        wide = [f"{one},{both}" for one in wide] or [both]
    return check_filters(wide), _age(ages[0]) if ages else 0


def _parts(text: str) -> list[str]:
    """The conditions of a filter: commas inside quotes part nothing."""
    parts, quote, begin = [], "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char == '"' or (char in "/|" and text[max(at - 2, 0) : at] == "~="):
            quote = char
        elif char == ",":
            parts.append(text[begin:at])
            begin = at + 1
    return [*parts, text[begin:]]


def _translated(key: str, value: str) -> str:
    if key in {"inuse", "mutable", "immutable", "shared", "private"}:
        opposite = {"mutable": "immutable", "immutable": "mutable", "shared": "private", "private": "shared"}
        if value.lower() in {"true", "1"}:
            return key
        if value.lower() in {"false", "0"}:
            return opposite.get(key, f"{key}==false")
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return f"{key}~={quoted}" if key == "id" else f"{key}=={quoted}"


def _age(text: str) -> int:
    from dockc.base.units import parse_duration

    return parse_duration(text)
