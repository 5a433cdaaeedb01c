"""What the toolchain has to say about a place in a source: code, words, place, help, fix."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.base.words import Words
from dockc.grammar.source import Span


class Severity(Words):
    """How bad it is, worst first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    STYLE = "style"

    @property
    def rank(self) -> int:
        """0 for the worst; grows as things get milder."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Applicability(Words):
    """How far a fix may be trusted."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    DISPLAY = "display"


class Edit(Record):
    """Replace the text under `span` by `text`; an empty span inserts."""

    span: Span
    text: str


class Fix(Record):
    """A titled set of non-overlapping edits that belong together."""

    title: str
    edits: tuple[Edit, ...]
    applicability: Applicability = Applicability.SAFE


class Label(Record):
    """A second place that helps to understand a diagnostic."""

    span: Span
    text: str


class Diagnostic(Record):
    """One finding.

    Attributes:
        code: stable id, such as `unknown-instruction`.
        message: one line; what is wrong.
        span: the exact words it is about.
        help: what to do, or "".
        fix: edits that would do it, or None.
        labels: further places.
        lines: 1-based lines the reference reports for this finding, where it has a notion of them, else None.
        suggestion: the name that was probably meant ("did you mean"), or "".
    """

    code: str
    message: str
    span: Span
    severity: Severity = Severity.ERROR
    help: str = ""
    fix: Fix | None = None
    labels: tuple[Label, ...] = ()
    lines: tuple[int, int] | None = None
    suggestion: str = ""
