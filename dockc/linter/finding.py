"""What a rule found, with all that a report may want to say about it."""

from __future__ import annotations

from dockc.base.record import Record
from dockc.grammar.diagnostic import Fix, Severity
from dockc.grammar.source import Source, Span

#: The rule whose findings are secrets themselves.
COVERED = "DK0101"

__all__ = ["COVERED", "FileReport", "Finding", "Fix", "Severity"]


class Finding(Record, kw_only=True):
    """One finding.

    Attributes:
        code: the rule's code, such as `DL3008`, `StageNameCasing` or `DK0103`.
        name: the rule's name in kebab case.
        message: one line.
        severity: after configuration.
        span: the exact words.
        lines: first and last line it is reported for, from 1. Profiles compare the first.
        column: from 1.
        url: where the rule is explained, or "".
        help: what to do, or "".
        fix: how to mend it, or None.
        description: the rule in one sentence.
        strict: it is there because the set `strict` was asked for. Counts while findings are chosen, and is not kept
            with them.
    """

    code: str
    message: str
    severity: Severity
    span: Span
    lines: tuple[int, int]
    name: str = ""
    column: int = 1
    url: str = ""
    help: str = ""
    fix: Fix | None = None
    description: str = ""
    strict: bool = False

    @property
    def line(self) -> int:
        """The first line."""
        return self.lines[0]


class FileReport(Record, kw_only=True):
    """All findings of one file, sorted as the profile wants them.

    Attributes:
        path: as the user named it.
        source: its text.
        findings: what was found.
        failed: why the file could not be read at all, or "".
    """

    path: str
    source: Source
    findings: tuple[Finding, ...]
    failed: str = ""

    def shown(self) -> Source:
        """The text for people to see, under the report's path: secrets that were found are covered up, at equal
        length.
        """
        text = self.source.text
        for finding in self.findings:
            if finding.code == COVERED:
                start, end = finding.span
                text = text[:start] + "".join(c if c in "\r\n" else "*" for c in text[start:end]) + text[end:]
        if text == self.source.text and self.path == self.source.name:
            return self.source
        return Source.from_text(text, self.path)
