"""How progress looks, as BuildKit's clients let the environment say it.

BUILDKIT_COLORS=run=green:warning=yellow:error=red:cancel=255,165,0     names, or red, green and blue from 0 to 255
BUILDKIT_TTY_LOG_LINES=20     lines of a running step's log on a terminal
TTY_DISPLAY_RATE=500          milliseconds between two pictures
PROGRESS_NO_TRUNC=0           plain progress cuts names of steps after 72 characters
"""

from __future__ import annotations

from collections.abc import Mapping

from dockc.base.record import Record

_NAMES = ("black", "blue", "cyan", "green", "magenta", "red", "white", "yellow")
_KINDS = ("run", "warning", "error", "cancel")
_CUT = 72
_SLOWEST = 60_000


class Look(Record, kw_only=True):
    """How progress looks.

    Attributes:
        run, warning, error, cancel: styles of lines that are done, warn, failed, were cancelled.
        tail: lines of a step's log that a terminal shows.
        rate: milliseconds between two pictures.
        cut: characters of a step's name in plain progress, 0 for all.
        troubles: what could not be understood, a sentence each.
    """

    run: str = "blue"
    warning: str = "yellow"
    error: str = "red"
    cancel: str = "yellow"
    tail: int = 6
    rate: int = 125
    cut: int = 0
    troubles: tuple[str, ...] = ()


def look_of(environ: Mapping[str, str]) -> Look:
    """The look that variables ask for; what cannot be understood is told, and nothing is lost by it."""
    troubles: list[str] = []
    styles: dict[str, str] = {}
    for field in filter(None, environ.get("BUILDKIT_COLORS", "").split(":")):
        kind, _, value = field.partition("=")
        style = _style(value)
        if kind in _KINDS and style:
            styles[kind] = style
        else:
            troubles.append(
                f"BUILDKIT_COLORS: cannot understand {field!r}: expected {'|'.join(_KINDS)}=NAME or RED,GREEN,BLUE"
            )

    def number(name: str, default: int, low: int, high: int) -> int:
        text = environ.get(name, "")
        if not text:
            return default
        if text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high:
            return int(text)
        troubles.append(f"{name}: expected a number from {low} to {high}, not {text!r}")
        return default

    plain = Look()
    tail = number("BUILDKIT_TTY_LOG_LINES", plain.tail, 0, 1000)
    rate = number("TTY_DISPLAY_RATE", plain.rate, 1, _SLOWEST)
    cut = _CUT if environ.get("PROGRESS_NO_TRUNC") == "0" else 0
    return Look(**styles, tail=tail, rate=rate, cut=cut, troubles=tuple(troubles))


def shortened(name: str, cut: int) -> str:
    """A step's name, cut after so many characters."""
    return f"{name[:cut]}..." if 0 < cut < len(name) else name


def _style(text: str) -> str:
    """A style of rich's, or ""."""
    if text.lower() in _NAMES:
        return text.lower()
    parts = text.split(",")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        return "rgb({},{},{})".format(*map(int, parts))
    return ""
