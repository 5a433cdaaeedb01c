"""Edits of a text: apply those that do not overlap, and say where things went."""

from __future__ import annotations

from bisect import bisect_right

from dockc.base.record import Record
from dockc.grammar.diagnostic import Edit
from dockc.grammar.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class OverlapError(ValueError):
    """Two edits touch the same characters, or lie outside of the text."""


class Applied(Record):
    """A text after its edits.

    Attributes:
        text: the new text.
        edits: what was applied, in order of place.
        skipped: edits left out since they overlap with one before them.
    """

    text: str
    edits: tuple[Edit, ...]
    skipped: tuple[Edit, ...] = ()

    def offset(self, old: int) -> int:
        """Where the character at an old offset is now; one that was replaced maps into its replacement."""
        starts = [edit.span.start for edit in self.edits]
        shift = 0
        for edit in self.edits[: bisect_right(starts, old)]:
            size = edit.span.end - edit.span.start
            if old < edit.span.end:
                return edit.span.start + shift + min(old - edit.span.start, len(edit.text))
            shift += len(edit.text) - size
        return old + shift

    def span(self, old: Span) -> Span:
        """Where the characters of an old span are now."""
        start = self.offset(old.start)
        if old.end <= old.start:
            return Span(start, start)
        return Span(start, max(start, self.offset(old.end - 1) + 1))


def ordered(edits: Iterable[Edit]) -> list[Edit]:
    """By place; insertions at one place keep their order and come before a replacement that begins there."""
    return sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))


def with_line_ends(edits: Iterable[Edit], text: str) -> list[Edit]:
    """Edits whose new lines end as all lines of the text do."""
    found = list(edits)
    if "\r\n" not in text or text.count("\r\n") != text.count("\n"):
        return found
    return [Edit(edit.span, edit.text.replace("\r\n", "\n").replace("\n", "\r\n")) for edit in found]


def overlap(first: Edit, second: Edit) -> bool:
    """Whether two edits want the same characters. Edits that only touch do not; two equal insertions do not."""
    return first.span.start < second.span.end and second.span.start < first.span.end


def apply(text: str, edits: Iterable[Edit]) -> Applied:
    """Apply all edits at once; spans count in `text`. Equal replacements count once.

    Raises:
        OverlapError: two of them overlap, or one lies outside of the text.
    """
    result = apply_what_fits(text, edits)
    if result.skipped:
        raise OverlapError(f"edits overlap at offset {result.skipped[0].span.start}")
    return result


def apply_what_fits(text: str, edits: Iterable[Edit]) -> Applied:
    """Apply edits in order of place and leave out those that overlap with one before them.

    Raises:
        OverlapError: one lies outside of the text.
    """
    out: list[str] = []
    taken: list[Edit] = []
    skipped: list[Edit] = []
    at = 0
    for edit in ordered(edits):
        start, end = edit.span
        if not 0 <= start <= end <= len(text):
            raise OverlapError(f"edit of {start}..{end} is outside of a text of {len(text)} characters")
        if taken and taken[-1] == edit and end > start:
            continue
        if start < at:
            skipped.append(edit)
            continue
        out += (text[at:start], edit.text)
        taken.append(edit)
        at = end
    out.append(text[at:])
    return Applied("".join(out), tuple(taken), tuple(skipped))
