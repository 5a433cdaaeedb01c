"""Foreign bytes made fit for a terminal.

Logs and names come from programs and files that nobody vouches for. What is shown of them is text without any
control character: no escape sequence moves a cursor, sets a title or hides a line.
"""

from __future__ import annotations

from dockc.base.pattern import pattern

MAX_LINE = 16 * 1024
"""Longer lines are shown as several."""

_SEQUENCES = pattern(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    "|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\|$)"  # OSC, DCS, SOS, PM, APC: titles, links, with their text
    "|\x1b[ -/]*[0-~]?"  # two-character sequences
    "|\x9b[0-?]*[ -/]*[@-~]"  # CSI as one C1 character
)
_CONTROLS = {c: None for c in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if c != 0x09}
_BIDI = dict.fromkeys((*range(8234, 8239), *range(8294, 8298), 8206, 8207, 8232, 8233), 65533)
_TABLE = {**_CONTROLS, **_BIDI}


def clean_text(text: str) -> str:
    """`text` in one line without escape sequences and control characters; line ends become spaces."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
    return _SEQUENCES.sub("", text).translate(_TABLE)


def clean_line(line: bytes) -> str:
    """One line of output as a terminal would end up showing it: what follows the last carriage return."""
    text = line.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    parts = [part for part in text.split("\r") if part.strip()]
    return _SEQUENCES.sub("", parts[-1]).translate(_TABLE) if parts else ""


class Lines:
    """Cuts a stream of chunks into lines. Mutable state: the unfinished line, at most `MAX_LINE` bytes."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes; lines that are too long are cut."""
        *whole, rest = (self._rest + data).split(b"\n")
        out: list[str] = []
        for line in whole:
            out += [clean_line(line[at : at + MAX_LINE]) for at in range(0, max(len(line), 1), MAX_LINE)]
        while len(rest) > MAX_LINE:
            out.append(clean_line(rest[:MAX_LINE]))
            rest = rest[MAX_LINE:]
        self._rest = rest
        return out

    @property
    def unfinished(self) -> str:
        """The line so far."""
        return clean_line(self._rest)

    def finish(self) -> list[str]:
        """The last line, if it did not end with a line end."""
        rest, self._rest = self._rest, b""
        return [clean_line(rest)] if rest else []
