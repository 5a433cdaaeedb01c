"""Errors as people read them."""

from __future__ import annotations

from dockc.errors import CompileError, DockcError


def render_error(error: DockcError) -> str:
    """The message, the lines of the Dockerfile it speaks of where they are known, and the hint."""
    parts = []
    if isinstance(error, CompileError):
        if error.details:
            parts.append(f"{error.details}\n")
        elif error.locations and error.source is not None:
            parts.append(excerpt(*error.source, error.locations[0]))
    place = getattr(error, "ranges", ())
    if place:
        parts.append(excerpt(getattr(error, "filename", ""), getattr(error, "text", ""), place))
    parts.append(f"error: {error.message}\n")
    if isinstance(error, CompileError) and error.suggestion and error.suggestion not in error.message:
        parts.append(f"  help: did you mean {error.suggestion}?\n")
    if error.hint and error.hint not in "".join(parts):
        parts.append(f"  help: {error.hint}\n")
    return visible("".join(parts))


def excerpt(filename: str, text: str, ranges: tuple[tuple[int, int], ...], context: int = 3) -> str:
    """The lines around `ranges` (1-based, inclusive), those in them marked with `>>>`."""
    lines = text.split("\n")
    marked = {n for start, end in ranges for n in range(start, max(end, start) + 1)}
    marked = {n for n in marked if 1 <= n <= len(lines)}
    if not marked:
        return ""
    first, last = max(min(marked) - context, 1), min(max(marked) + context, len(lines))
    while last > max(marked) and not lines[last - 1].strip():
        last -= 1
    width = len(str(last))
    out = [f"{filename}:{min(marked)}", "-" * 20]
    out += [
        f"{number:>{width + 1}} | {'>>>' if number in marked else '   '} {_printable(lines[number - 1])}".rstrip()
        for number in range(first, last + 1)
    ]
    return "\n".join([*out, "-" * 20, ""])


def visible(text: str) -> str:
    """Text that a terminal can take, whatever a hostile file put into it: no control characters, no bytes that are no characters."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c in "\t\n" or c.isprintable() else "\ufffd" for c in text)


def _printable(line: str) -> str:
    return visible(line.rstrip("\r"))
