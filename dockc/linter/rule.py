"""What a lint rule is: a class that carries its own page, examples, and check.

A rule lives in a file of its own below `rules/`, in its family's folder, named like the rule. Its docstring is its page
in the reference, with these
headings: `What it does`, `Why`, optionally `Known problems`, `Options`, `Fix`, `See also`. `bad` and `good` are whole
    Dockerfiles:
tests make sure that the rule fires on the first and not on the second, and that fixing `bad` gives `fixed`.
"""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.record import Record
from dockc.grammar.diagnostic import Fix, Severity
from dockc.grammar.source import Span
from dockc.linter.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

__all__ = ["Fix", "Hit", "Rule", "Severity"]


class Hit(Record):
    """What a rule reports: where, in which words, how to mend it.

    Attributes:
        lines: first and last line it is reported for; None takes them from the span.
        severity: overrides the rule's.
        strict: right, but not worth everybody's while: left out unless the set `strict` is asked for.
    """

    span: Span
    message: str
    lines: tuple[int, int] | None = None
    fix: Fix | None = None
    help: str = ""
    severity: Severity | None = None
    strict: bool = False


class Rule:
    """Base of all rules.

    Class attributes:
        code: `DL3008`, `StageNameCasing`, `DK0103`: what configuration and comments name.
        name: kebab case, unique.
        summary: one sentence.
        severity: in dockc's own profile; `hadolint_severity` in hadolint's where it differs; None is off.
        equivalents: codes in other tools, as `tool:code`.
        replaces: codes that are not reported again for a line where this rule has fired (dockc's own profile only).
        fixable: whether there is a fix, and how safe: "safe", "unsafe" or "".
        changes: what a safe fix may change in what the file compiles to; a name in `dockc.linter.fixes.CHANGES`. "" is
            nothing.
        status: `stable`; `preview` for a rule that is new and may still change what it reports; `superseded` where
            another one says the same.
        since: the first version that has it.
        bad, good: example Dockerfiles; `fixed`: `bad` after all of this rule's fixes, or "".
    """

    code: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str]
    severity: ClassVar[Severity | None] = Severity.WARNING
    hadolint_severity: ClassVar[Severity | None] = None
    equivalents: ClassVar[tuple[str, ...]] = ()
    replaces: ClassVar[tuple[str, ...]] = ()
    fixable: ClassVar[str] = ""
    changes: ClassVar[str] = ""
    status: ClassVar[str] = "stable"
    since: ClassVar[str] = "0.1.0"
    bad: ClassVar[str]
    good: ClassVar[str]
    fixed: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def family(cls) -> str:
        """The folder that the rule is in: `packages`, `security`, …; for rules of third parties the name of their
        package.
        """
        parts = cls.__module__.split(".")
        return parts[-2] if parts[:3] == ["dockc", "linter", "rules"] and len(parts) > 4 else parts[0]

    def check(self, context: Context) -> Iterator[Hit]:
        """All findings of this rule in one file."""
        raise NotImplementedError
