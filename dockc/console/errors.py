"""Errors as people read them."""

from __future__ import annotations

from dockc.errors import CompileError, DockcError, without_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.style import Style


def render_error(error: DockcError) -> str:
    """The message, the lines of the Dockerfile it speaks of where they are known, and the hint."""
    parts = []
    if isinstance(error, CompileError):
        if error.details:
            parts.append(f"{_said_once(error.details, error.message)}\n")
        elif error.locations and error.source is not None:
            parts.append(excerpt(*error.source, error.locations[0]))
    parts += [excerpt(*place) for place in getattr(error, "places", ())]
    parts.append(f"error: {error.context}{error.message}\n")
    if isinstance(error, CompileError) and error.suggestion and error.suggestion not in error.message:
        parts.append(f"  help: did you mean {error.suggestion}?\n")
    if error.hint and error.hint not in "".join(parts):
        parts.append(f"  help: {error.hint}\n")
    return visible("".join(parts))


def told(text: str, style: Style) -> str:
    """What is said beside a result, in colours where they are wanted."""
    if not style.color:
        return text
    from dockc.console import paint

    return paint.error(text, style)


def _said_once(details: str, message: str) -> str:
    """Details that do not say in full what the error's last line says: `error[code]` and the place are enough."""
    head, _, rest = details.partition("\n")
    label, colon, text = head.partition(": ")
    once = colon and text and message.endswith(text) and "\nerror[" not in rest
    return f"{label}\n{rest}" if once else details


def excerpt(filename: str, text: str, ranges: tuple[tuple[int, int], ...]) -> str:
    """The lines around `ranges` (1-based, inclusive), those in them marked with `>>>`, in the very form in which
    BuildKit's client shows them.

    Two lines before and after a single line, one before and after several; "" where the text has no such lines.
    """
    lines = text.split("\n")
    if not ranges:
        return ""
    start, end = min(first for first, _ in ranges), max(max(pair) for pair in ranges)
    if not 1 <= start <= len(lines):
        return ""
    end = min(end, len(lines))
    context = 2 if start == end else 1
    out = [f"{filename}:{start}", "-" * 20]
    for number in range(max(start - context, 1), min(end + context, len(lines)) + 1):
        mark = ">>>" if any(first <= number <= max(first, last) for first, last in ranges) else "   "
        out.append(f" {number:>3} | {mark} {_printable(lines[number - 1])}")
    return "\n".join([*out, "-" * 20, ""])


def visible(text: str) -> str:
    """Text that a terminal can take, whatever a hostile file put into it: no control characters, no bytes that are no
    characters.

    Nor does it tell what URLs carry to log in.
    """
    text = without_credentials(text)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c in "\t\n" or c.isprintable() else "\ufffd" for c in text)


def _printable(line: str) -> str:
    return visible(line.rstrip("\r"))
