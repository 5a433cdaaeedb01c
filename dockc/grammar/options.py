"""Options separated by commas, as in `--mount=type=cache,target=/x`: one record of CSV (RFC 4180)."""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.grammar.lalr import Failure, Parser
from dockc.grammar.source import encode
from dockc.grammar.tables import DOCKERFILE

_PARSERS: list[Parser] = []


class BadOptions(ValueError):
    """Quotes that do not close or stand inside of a field, or nothing at all (`EOF`)."""


class Option(NamedTuple):
    """A field: its text without quotes, and where it stands."""

    text: str
    start: int
    end: int


def options(text: str) -> list[Option]:
    """The fields of a text; one line end after them is allowed. Raises BadOptions."""
    body = text.removesuffix("\n")
    if body != text:
        body = body.removesuffix("\r")
    if not body:
        raise BadOptions("EOF")
    found: list[Option] = []
    at = 0
    if '"' not in body:  # no need for the tables: every comma separates
        for part in body.split(","):
            found.append(Option(part, at, at + len(part)))
            at += len(part) + 1
        return found

    def take(kind: str, value: str, start: int, end: int) -> None:
        nonlocal at
        if kind == "OPTION_COMMA":
            if at == start:  # nothing stood before the comma
                found.append(Option("", start, start))
            at = end
        else:
            quoted = kind == "OPTION_QUOTED"
            found.append(Option(value[1:-1].replace('""', '"') if quoted else value, start, end))
            at = -1

    if not _PARSERS:
        _PARSERS.append(Parser(DOCKERFILE, "\\", True))
    outcome = _PARSERS[0].run("options", body, 0, take)
    stopped = outcome.offset if isinstance(outcome, Failure) else outcome
    if stopped < len(body):
        raise _error(body, stopped)
    if at == len(body):
        found.append(Option("", at, at))
    return found


def _error(text: str, at: int) -> BadOptions:
    """What is wrong with the field that begins at `at`."""
    if text[at] != '"':
        place, what = text.index('"', at), 'bare " in non-quoted-field'
    else:
        what = 'extraneous or missing " in quoted-field'
        place = at + 1
        while True:
            close = text.find('"', place)
            if close < 0:
                break
            if text[close + 1 : close + 2] != '"':
                place = close
                break
            place = close + 2
    return BadOptions(f"parse error on line 1, column {len(encode(text[:place])) + 1}: {what}")
