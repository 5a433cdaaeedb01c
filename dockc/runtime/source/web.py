"""Words of the web that both the HTTP source and its probe need: file names, dates, entity tags."""

from __future__ import annotations

import posixpath
import unicodedata
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

_DEFAULT = "download"


def safe_name(text: str) -> str:
    """The last component of a name from outside, or `download` when it cannot name a file."""
    name = posixpath.basename(text.strip().rstrip("/"))
    if name in ("", ".", "..") or any(unicodedata.category(char) == "Cc" for char in name):
        return _DEFAULT
    return name


def file_name(url: str, wanted: str = "", disposition: str = "") -> str:
    """What a download is called: as wanted, else as the server says, else as the URL ends."""
    if wanted:
        return safe_name(wanted)
    if disposition:
        message = Message()
        message["Content-Disposition"] = disposition
        said = message.get_filename()
        if said and not said.endswith("/"):
            return safe_name(said)
    return safe_name(unquote(urlsplit(url).path))


def parse_date(text: str) -> datetime | None:
    """An HTTP date in UTC, or None when it is none."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def http_date(moment: datetime) -> str:
    """A moment as HTTP writes it."""
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return (
        f"{days[moment.weekday()]}, {moment.day:02d} {months[moment.month - 1]} {moment.year:04d} {moment:%H:%M:%S} GMT"
    )


def etag(header: str) -> str:
    """An entity tag without its weakness mark, for comparison."""
    return header.removeprefix("W/")
