"""Text in columns of tabs, as BuildKit's clients print tables.

A cell ends with a tab; cells that stand below each other in consecutive lines are as wide as the widest of them and one
more, rounded up to full tab stops. What follows a line's last tab is no cell.

Source: Go's text/tabwriter, as `NewWriter(out, 1, 8, 1, '\\t', 0)` sets it up.
"""

from __future__ import annotations

from collections.abc import Sequence

_STOP = 8


def aligned(text: str) -> str:
    """The text with its columns filled up by tabs; it ends with a line end."""
    lines = [line.split("\t") for line in text.split("\n")[:-1]]
    out = [line[-1] for line in lines]
    done = [""] * len(lines)
    _column(lines, 0, len(lines), 0, done)
    return "".join(f"{left}{last}\n" for left, last in zip(done, out, strict=True))


def _column(lines: Sequence[list[str]], begin: int, end: int, column: int, done: list[str]) -> None:
    """Write a column of lines that all have the ones before it, block by block, then the columns behind it."""
    at = begin
    while at < end:
        if len(lines[at]) - 1 <= column:
            at += 1
            continue
        first = at
        while at < end and len(lines[at]) - 1 > column:
            at += 1
        widest = max(len(line[column]) for line in lines[first:at]) + 1
        width = (widest + _STOP - 1) // _STOP * _STOP
        for number in range(first, at):
            cell = lines[number][column]
            done[number] += cell + "\t" * ((width - len(cell) + _STOP - 1) // _STOP)
        _column(lines, first, at, column + 1, done)
