"""`WWW-Authenticate`: what a registry wants to see before it answers.

Source: RFC 9110, section 11; the distribution token specification names the parameters of `Bearer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dockc.base.pattern import pattern
from dockc.base.record import Record, made

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = pattern(rf"\s*({_WORD})(?:\s+|$|(?=,))")
_PARAM = pattern(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}|[^\s,"]+))\s*(?:,|$)')
_LENGTH_MAX = 16 << 10


class Challenge(Record):
    """One way in: a scheme in lower case (`bearer`, `basic`) and its parameters."""

    scheme: str
    params: dict[str, str] = made(dict)


def parse(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the header's lines; what cannot be understood is left out."""
    found: list[Challenge] = []
    for line in lines:
        position = 0
        line = line[:_LENGTH_MAX]
        while position < len(line):
            scheme = _SCHEME.match(line, position)
            if scheme is None:
                break
            position = scheme.end()
            params: dict[str, str] = {}
            while param := _PARAM.match(line, position):
                value = param.group(3) if param.group(2) is None else re.sub(r"\\(.)", r"\1", param.group(2))
                params[param.group(1).lower()] = value
                position = param.end()
            found.append(Challenge(scheme.group(1).lower(), params))
            if not params and line[position : position + 1] == ",":
                position += 1
    return tuple(found)
