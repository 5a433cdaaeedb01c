"""Shell patterns in substitutions: `${x#p}`, `${x%p}`, `${x/p/r}`.

`*` is any run of characters, `?` any one character, neither crosses a line end; backslash takes the meaning from
`*`, `?` and itself. There are no brackets. Matching is by search for the fixed pieces between the stars, so the time
is linear in the value for any number of stars.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dockc.base.record import NamedTuple
from dockc.golang.strings import NUMBER_LIKE, runes


class BadPattern(ValueError):
    """A backslash before a character that needs none."""


class Pattern(NamedTuple):
    """A pattern cut at its stars.

    Attributes:
        pieces: what stands before, between and after the stars, as regular expressions of fixed length.
        sizes: characters that each piece takes.
    """

    pieces: tuple[re.Pattern[str], ...]
    sizes: tuple[int, ...]


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Pattern:
    """Read a pattern. Raises BadPattern with the reference's words."""
    pattern = runes(pattern).removeprefix("\ufeff")
    pieces: list[str] = []
    sizes: list[int] = []
    out: list[str] = []
    size = at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            pieces.append("".join(out))
            sizes.append(size)
            out, size = [], 0
            continue
        if char == "?":
            out.append(".")
        elif char == "\\":
            following = pattern[at : at + 1]
            if following in ("}", "/"):
                continue
            if following not in ("*", "?", "\\") or not following:
                raise BadPattern(f"invalid escape '\\{following or chr(0xFFFD)}'")
            out.append(re.escape(following))
            at += 1
        else:
            out.append(re.escape(char))
        size += 1
    pieces.append("".join(out))
    sizes.append(size)
    return Pattern(tuple(re.compile(piece) for piece in pieces), tuple(sizes))


def match_prefix(pattern: Pattern, value: str, greedy: bool, start: int = 0) -> int:
    """End of the shortest or longest match that begins at `start`, or -1."""
    pieces, sizes = pattern
    if not pieces[0].match(value, start):
        return -1
    at = start + sizes[0]
    last = len(pieces) - 1
    for index in range(1, last + 1):
        line_end = _line_end(value, at)
        piece, size = pieces[index], sizes[index]
        if index == last and greedy:
            return _last_end(piece, size, value, at, line_end)
        found = piece.search(value, at, min(len(value), line_end + size))
        if not found:
            return -1
        at = found.end()
    return at


def _line_end(value: str, at: int) -> int:
    end = value.find("\n", at)
    return len(value) if end < 0 else end


def _last_end(piece: re.Pattern[str], size: int, value: str, at: int, line_end: int) -> int:
    """End of the last occurrence that begins within [at, line_end], or -1."""
    if size == 0:
        return line_end
    limit = min(len(value), line_end + size)
    for begin in range(limit - size, at - 1, -1):
        if piece.match(value, begin):
            return begin + size
    return -1


def replace(pattern: Pattern, value: str, replacement: str, every: bool, limit: int) -> str:
    """`value` with the first match, or all of them, replaced; matches are leftmost and longest.

    With `every`, `$name`, `${name}` and `$$` in the replacement are read as Go's regexp templates read them.

    Raises:
        OverflowError: the result would have more than about `limit` characters.
    """
    out: list[str] = []
    last_end = at = size = 0
    while at <= len(value):
        found = _find(pattern, value, at)
        if found is None:
            break
        begin, end = found
        out.append(value[last_end:begin])
        if not every:
            return "".join([*out, replacement, value[end:]])
        if end > last_end or begin == 0:
            out.append(_template(replacement, value[begin:end]))
            size += len(out[-1])
            if size > limit:
                raise OverflowError
        last_end = end
        at = max(end, at + 1)
    out.append(value[last_end:])
    return "".join(out)


def _find(pattern: Pattern, value: str, at: int) -> tuple[int, int] | None:
    """The leftmost longest match at or after `at`."""
    first, size = pattern.pieces[0], pattern.sizes[0]
    while at <= len(value):
        found = first.search(value, at)
        if not found:
            return None
        begin = found.start()
        end = match_prefix(pattern, value, True, begin)
        if end >= 0:
            return begin, end
        # What follows the first piece is not on this line: no later start on the same line can do better.
        line_end = value.find("\n", begin + size)
        if line_end < 0:
            return None
        at = max(begin + 1, line_end - size + 1)
    return None


_NAME = rf"(?:(?![{NUMBER_LIKE}])\w)+"
_TEMPLATE = re.compile(rf"\$(?:\$|\{{({_NAME})\}}|({_NAME}))?")


def _template(replacement: str, whole: str) -> str:
    """Go's Regexp.Expand for an expression without groups: `$0` is the match, other names are empty."""
    if "$" not in replacement:
        return replacement

    def put(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name is None:
            return "$"
        return whole if name == "0" else ""

    return _TEMPLATE.sub(put, replacement)
