"""Diagnostics as plain text: where, what, the lines with carets under the exact words, and what to do.

error[unknown-instruction]: unknown instruction: COPPY
  --> Dockerfile:2:1
   |
 2 | COPPY a /b
   | ^^^^^
   |
   = help: did you mean COPY?
"""

from __future__ import annotations

import unicodedata

from dockc.errors import without_credentials
from dockc.grammar.diagnostic import Diagnostic, Label
from dockc.grammar.edits import apply
from dockc.grammar.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TAB = 4
_MAX_LINES = 6
_MAX_WIDTH = 160


def render(diagnostic: Diagnostic, source: Source) -> str:
    """One diagnostic, its excerpt included; ends with a line end."""
    at = source.position(diagnostic.span.start)
    out = [f"{diagnostic.severity.value}[{diagnostic.code}]: {_printable(diagnostic.message)}"]
    width = len(str(max(source.lines_of(span)[1] for span in _spans(diagnostic))))
    gutter = " " * width
    out.append(f"{gutter}--> {source.name}:{at.line}:{at.column + 1}")
    out.append(f"{gutter} |")
    marks = [(Label(diagnostic.span, ""), "^"), *((label, "-") for label in diagnostic.labels)]
    out += _excerpt(source, marks, width)
    notes = []
    if diagnostic.help:
        notes.append(f"help: {diagnostic.help}")
    if diagnostic.suggestion and diagnostic.suggestion not in diagnostic.help:
        notes.append(f"help: did you mean {diagnostic.suggestion}?")
    if diagnostic.fix is not None and not diagnostic.suggestion:
        notes.append(f"fix: {diagnostic.fix.title} ({diagnostic.fix.applicability.value})")
    if notes:
        out.append(f"{gutter} |")
        out += [f"{gutter} = {_printable(note)}" for note in notes]
    return "\n".join(out) + "\n"


def render_all(diagnostics: Iterable[Diagnostic], source: Source) -> str:
    """Several diagnostics with an empty line between them."""
    return "\n".join(render(diagnostic, source) for diagnostic in diagnostics)


def render_fix(diagnostic: Diagnostic, source: Source) -> str:
    """The fix of a diagnostic as a unified diff, or "" where it has none."""
    if diagnostic.fix is None:
        return ""
    import difflib

    after = apply(source.text, diagnostic.fix.edits).text
    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), after.splitlines(keepends=True), source.name, source.name
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _spans(diagnostic: Diagnostic) -> list[Span]:
    return [diagnostic.span, *(label.span for label in diagnostic.labels)]


def _excerpt(source: Source, marks: list[tuple[Label, str]], width: int) -> list[str]:
    """The marked lines in order, each with its marks below; gaps are shown by dots."""
    wanted: dict[int, list[tuple[Label, str]]] = {}
    for label, sign in marks:
        first, last = source.lines_of(label.span)
        for line in _some(first, last):
            wanted.setdefault(line, []).append((label, sign))
    out: list[str] = []
    before = 0
    for line in sorted(wanted):
        if before and line > before + 1:
            out.append("." * width + "..")
        text, starts = _shown(source.line_text(line))
        text, starts, moved = _window(text, starts, min(_columns(source, line, m[0].span)[0] for m in wanted[line]))
        out.append(f"{line:>{width}} | {text}".rstrip())
        for label, sign in wanted[line]:
            begin, end = _columns(source, line, label.span)
            left = max(starts[min(begin, len(starts) - 1)] - moved, 0)
            right = max(min(starts[min(end, len(starts) - 1)] - moved, max(cells(text), left + 1)), left + 1)
            last = source.lines_of(label.span)[1]
            note = f" {_printable(label.text)}" if label.text and line == last else ""
            out.append(f"{' ' * width} | {' ' * left}{sign * (right - left)}{note}")
        before = line
    return out


def _some(first: int, last: int) -> list[int]:
    """The lines to show of a span: all, or its beginning and end."""
    if last - first < _MAX_LINES:
        return list(range(first, last + 1))
    half = _MAX_LINES // 2
    return [*range(first, first + half), *range(last - half + 1, last + 1)]


def _columns(source: Source, line: int, span: Span) -> tuple[int, int]:
    """The part of a span that is on a line, as columns, without the space around it."""
    start, _ = source.line_span(line)
    text = source.line_text(line)
    begin = min(max(span.start - start, 0), len(text))
    end = min(max(span.end - start, begin), len(text))
    if span.start < start:  # a later line of the span: do not underline its indentation
        while begin < end and text[begin] in " \t":
            begin += 1
    while end > begin + 1 and text[end - 1] in " \t":
        end -= 1
    return begin, end


def _shown(text: str) -> tuple[str, list[int]]:
    """A line as a terminal can show it, and the column at which each character begins (and the end)."""
    text = without_credentials(text, same_width=True)
    out: list[str] = []
    starts: list[int] = []
    column = 0
    for char in text:
        starts.append(column)
        shown = " " * _TAB if char == "\t" else _printable(char)
        out.append(shown)
        column += cells(shown)
    starts.append(column)
    return "".join(out), starts


def _window(text: str, starts: list[int], column: int) -> tuple[str, list[int], int]:
    """A line cut to what can be read, around a column; and by how much it was moved to the left."""
    if len(text) <= _MAX_WIDTH:
        return text, starts, 0
    at = max(0, min(column, len(starts) - 1) - _MAX_WIDTH // 4)
    moved = starts[at]
    cut = text[moved : moved + _MAX_WIDTH] if starts[-1] == len(text) else text[at : at + _MAX_WIDTH]
    return cut, starts, moved


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    cells = 0
    for char in text:
        if unicodedata.combining(char):
            continue
        cells += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return cells


def _printable(text: str) -> str:
    """Control characters and broken bytes as U+FFFD, so that no file can talk to the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == " " else "\ufffd" for char in text)
