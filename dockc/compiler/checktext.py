"""Findings of the checks as text, in the form of BuildKit's clients."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.compiler.checks import Warning
    from dockc.grammar.source import Source


def checks_text(warnings: Sequence[Warning], source: Source, *, failed: bool = False) -> str:
    """The findings of a check in BuildKit's form, by line; without findings a sentence, unless the file failed to
    compile.
    """
    if not warnings:
        return "" if failed else "Check complete, no warnings found.\n"
    count = "1 warning has been found!" if len(warnings) == 1 else f"{len(warnings)} warnings have been found!"
    parts = [f"Check complete, {count}\n"]
    for warning in sorted(warnings, key=lambda one: one.lines[:1]):
        address = f" - {warning.url}" if warning.url else ""
        parts += [f"\nWARNING: {warning.rule}{address}\n{warning.message}\n", _context(source, warning.lines)]
    return "".join(parts) + ("\n" if failed else "")


def _context(source: Source, marked: tuple[int, ...]) -> str:
    """The lines around those that are marked: two on each side of one line, one of several, more where one side has
    none.
    """
    lines = source.text.split("\n")
    if not marked or not 1 <= min(marked) <= len(lines):
        return ""
    first, last = min(marked), min(max(marked), len(lines))
    begin = first
    left = 4 if first == last else 2
    while left > 0:
        if first > 1:
            first, left = first - 1, left - 1
        if last < len(lines):
            last, left = last + 1, left - 1
        left -= 1
    rows = [
        f" {number:3} | {'>>>' if number in marked else '   '} {lines[number - 1]}\n"
        for number in range(first, last + 1)
    ]
    return f"{source.name}:{begin}\n{'-' * 20}\n{''.join(rows)}{'-' * 20}\n"
