"""Times of image configs as the reference reads them: a bit more than RFC 3339, and its words for what is not one.

An hour may have one digit, the fraction may begin with a comma, an offset may be as large as 24:60, and a year of 0 is
one; days must exist. The shortest form keeps the offset that was written.
"""

from __future__ import annotations

import calendar

from dockc.base.pattern import pattern
from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class WrongTime(DockcError):
    """No time, in the reference's words."""


_LAYOUT = "2006-01-02T15:04:05Z07:00"
# What comes before each number, its pattern, its place in the layout, its name, and the largest one.
_STEPS = (
    ("", pattern("[0-9]{4}"), "2006", "year", 9999),
    ("-", pattern("[0-9][0-9]"), "01", "month", 12),
    ("-", pattern("[0-9][0-9]"), "02", "day", 99),
    ("T", pattern("[0-9][0-9]?"), "15", "hour", 23),
    (":", pattern("[0-9][0-9]"), "04", "minute", 59),
    (":", pattern("[0-9][0-9]"), "05", "second", 59),
)
_FRACTION = pattern("[.,]([0-9]+)")
_OFFSET = pattern("([+-])([0-9][0-9]):([0-9][0-9])")


def shortest(text: str) -> str:
    """The time in its shortest form.

    Raises:
        WrongTime: the text is no time.
    """
    numbers, rest = [], text
    for before, digits, shown, name, largest in _STEPS:
        if not rest.startswith(before):
            _unreadable(text, rest, before)
        match = digits.match(rest, len(before))
        if match is None:
            _unreadable(text, rest[len(before) :], shown)
        number, rest = int(match.group()), rest[match.end() :]
        if number > largest or (name == "month" and not number):
            _bad(text, f": {name} out of range")
        numbers.append(number)
    fraction = ""
    if match := _FRACTION.match(rest):
        fraction, rest = match.group(1)[:9].rstrip("0"), rest[match.end() :]
    zone, rest = _zone(text, rest)
    if rest:
        _bad(text, f": extra text: {_quoted(rest)}")
    year, month, day, hour, minute, second = numbers
    # The calendar repeats every 400 years, and it knows no year 0.
    if not 1 <= day <= calendar.monthrange(year % 400 + 400, month)[1]:
        _bad(text, ": day out of range")
    dot = "." if fraction else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{dot}{fraction}{zone}"


def _zone(text: str, rest: str) -> tuple[str, str]:
    """The offset in its shortest form, and what follows it."""
    if rest.startswith("Z"):
        return "Z", rest[1:]
    match = _OFFSET.match(rest)
    if match is None:
        _unreadable(text, rest, "Z07:00")
    hours, minutes = int(match.group(2)), int(match.group(3))
    if hours > 24:
        _bad(text, ": time zone offset hour out of range")
    if minutes > 60:
        _bad(text, ": time zone offset minute out of range")
    hours, minutes = divmod(hours * 60 + minutes, 60)
    return (f"{match.group(1)}{hours:02d}:{minutes:02d}" if hours or minutes else "Z"), rest[match.end() :]


def _unreadable(text: str, rest: str, wanted: str) -> NoReturn:
    _bad(text, f" as {_quoted(_LAYOUT)}: cannot parse {_quoted(rest)} as {_quoted(wanted)}")


def _bad(text: str, problem: str) -> NoReturn:
    raise WrongTime(f"parsing time {_quoted(text)}{problem}")


def _quoted(text: str) -> str:
    out = []
    for char in text:
        if char in '"\\':
            out.append(f"\\{char}")
        elif " " <= char < "\x7f":
            out.append(char)
        else:
            out.extend(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    return f'"{"".join(out)}"'
