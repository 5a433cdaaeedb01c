"""What a completion is, wherever in a file it is for."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.grammar.source import Span


class Item(Record):
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
