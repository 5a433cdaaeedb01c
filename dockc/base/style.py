"""What a terminal is given besides the words: colours, links, lines cut to its width. Decided here alone, from what the
user says.

    --color=always, never    beat everything
    NO_COLOR                 not empty: no colours                  (no-color.org)
    FORCE_COLOR              not empty: colours, "0": none
    CLICOLOR_FORCE           neither empty nor "0": colours         (bixense.com/clicolors)
    CLICOLOR=0               no colours
    else                     colours on a terminal whose TERM is not `dumb`

    FORCE_HYPERLINK          not empty: links, "0": none
    else                     links where there are colours, on terminals that are known to have them (OSC 8)
"""

from __future__ import annotations

from dockc.base.record import Record
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

WORDS = ("auto", "always", "never")
#: Select Graphic Rendition (ECMA-48) of each kind of text.
_CODES = {
    "error": "1;31", "warning": "1;33", "info": "1;34", "style": "1;36", "strong": "1", "dim": "2", "place": "36",
    "good": "32", "added": "32", "removed": "31", "title": "1;4", "name": "36",
}  # fmt: skip
#: Variables that only terminals with links set, and values of TERM and TERM_PROGRAM that such have.
_MARKS = ("WT_SESSION", "KONSOLE_VERSION", "DOMTERM", "KITTY_WINDOW_ID", "WEZTERM_PANE", "GHOSTTY_RESOURCES_DIR")
_TERMS = ("xterm-kitty", "xterm-ghostty", "foot", "alacritty", "contour", "wezterm", "rio")
_PROGRAMS = frozenset(["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio", "Tabby", "zed"])
#: The first libvte that has links.
_VTE = 5000


class Style(Record):
    """How text is put on one stream.

    Attributes:
        color: with colours.
        links: with links.
        width: columns of the terminal; 0 where the text does not go to one.
    """

    color: bool = False
    links: bool = False
    width: int = 0

    def paint(self, text: str, kind: str) -> str:
        """A text in the colour of its kind."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.color and text else text

    def link(self, text: str, address: str) -> str:
        """A text that leads to an address; what the address may not hold (control characters) makes it none."""
        if not self.links or not address or not (address.isascii() and address.isprintable()):
            return text
        return f"\x1b]8;;{address}\x1b\\{text}\x1b]8;;\x1b\\"


#: Words alone.
PLAIN = Style()


def style_of(stream: TextIO | None, environ: Mapping[str, str], wanted: str = "auto") -> Style:
    """The style of what goes to a stream.

    Args:
        stream: where the text goes; None where that is closed.
        environ: the environment.
        wanted: what the command line says, one of `WORDS`.

    Raises:
        UsageError: `wanted` is none of them.
    """
    if wanted not in WORDS:
        raise UsageError(f"--color cannot be {wanted!r}", hint=f"Choose one of {', '.join(WORDS)}.")
    terminal = _is_terminal(stream)
    color = _colored(terminal, environ) if wanted == "auto" else wanted == "always"
    if not terminal and not color:
        return PLAIN
    return Style(color, _linked(terminal, environ) if color else False, _width(stream, environ) if terminal else 0)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _colored(terminal: bool, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if forced := environ.get("FORCE_COLOR"):
        return forced != "0"
    if environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return terminal and environ.get("CLICOLOR") != "0" and environ.get("TERM") != "dumb"


def _linked(terminal: bool, environ: Mapping[str, str]) -> bool:
    if forced := environ.get("FORCE_HYPERLINK"):
        return forced != "0"
    term = environ.get("TERM", "")
    if not terminal or environ.get("CI") or term.startswith(("screen", "tmux")):
        return False
    version = environ.get("VTE_VERSION", "")
    return (
        any(name in environ for name in _MARKS)
        or term.startswith(_TERMS)
        or environ.get("TERM_PROGRAM") in _PROGRAMS
        or (version.isdecimal() and int(version) >= _VTE)
    )


def _width(stream: TextIO | None, environ: Mapping[str, str]) -> int:
    """Columns, as `COLUMNS` or the terminal says; 80 where neither does."""
    import os

    text = environ.get("COLUMNS", "")
    if text.isdecimal() and int(text):
        return int(text)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        return 80
