"""Times of image documents: RFC 3339 with nanoseconds and the offset they were written with.

`datetime` stops at microseconds, and an image config must not change when it is read and written back.
"""

from __future__ import annotations

import datetime
import functools
import re

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.errors import DockcError

_RFC3339 = pattern(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?(?:Z|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_EPOCH = datetime.datetime(1970, 1, 1)
_YEAR_LAST = 253_402_300_799
"""The last second of the year 9999, as late as RFC 3339 can tell."""
_YEAR_ONE = -62135596800
_YEAR_ZERO = -62167219200
# The calendar repeats after so many years and seconds.
_PERIOD = (400, 12622780800)


class InvalidTime(DockcError):
    """A text that is no RFC 3339 time."""


@functools.total_ordering
class Time(Record):
    """A moment.

    Attributes:
        seconds: since the Unix epoch.
        nanos: nanoseconds within the second.
        offset: minutes east of UTC that the text carries; no part of equality.
    """

    seconds: int
    nanos: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Time:
        """Read an RFC 3339 time; `InvalidTime` when it is none."""
        match = _RFC3339.fullmatch(text)
        if match is None:
            raise InvalidTime(f"not an RFC 3339 time: {text!r}")
        numbers = [int(part) for part in match.groups()[:6]]
        try:
            moment = datetime.datetime(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])
        except ValueError as error:
            raise InvalidTime(f"not an RFC 3339 time: {text!r}: {error}") from None
        sign, hours, minutes = match.group(8), match.group(9), match.group(10)
        offset = 0
        if sign:
            if int(hours) > 24 or int(minutes) >= 60:
                raise InvalidTime(f"not an RFC 3339 time: {text!r}")
            offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1)
        nanos = int((match.group(7) or "0")[:9].ljust(9, "0"))
        return cls((moment - _EPOCH) // datetime.timedelta(seconds=1) - offset * 60, nanos, offset)

    @classmethod
    def from_ns(cls, nanoseconds: int) -> Time:
        """The moment that many nanoseconds after the Unix epoch, in UTC."""
        return cls(*divmod(nanoseconds, 1_000_000_000))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        return (self.seconds, self.nanos) == (other.seconds, other.nanos)

    def __lt__(self, other: Time) -> bool:
        return (self.seconds, self.nanos) < (other.seconds, other.nanos)

    def __hash__(self) -> int:
        return hash((self.seconds, self.nanos))

    def __str__(self) -> str:
        """RFC 3339 with the fraction only as long as needed."""
        seconds = min(max(self.seconds + self.offset * 60, _YEAR_ZERO), _YEAR_LAST)
        years, shift = _PERIOD if seconds < _YEAR_ONE else (0, 0)
        local = _EPOCH + datetime.timedelta(seconds=seconds + shift)
        fraction = f".{self.nanos:09d}".rstrip("0") if self.nanos else ""
        zone = "Z"
        if self.offset:
            hours, minutes = divmod(abs(self.offset), 60)
            zone = f"{'-' if self.offset < 0 else '+'}{hours:02d}:{minutes:02d}"
        return f"{local.year - years:04d}{local:-%m-%dT%H:%M:%S}{fraction}{zone}"
