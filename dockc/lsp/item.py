"""What a completion is, wherever in a file it is for."""

from __future__ import annotations

from dataclasses import dataclass

from dockc.grammar.source import Span


@dataclass(frozen=True, slots=True)
class Item:
    """A completion: `text` takes the place of `span`.

    Attributes:
        kind: `keyword`, `flag`, `stage`, `variable`, `image`, `file` or `value`.
        detail: a few words; doc: Markdown.
    """

    text: str
    kind: str
    span: Span
    detail: str = ""
    doc: str = ""
