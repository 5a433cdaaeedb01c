"""Runs rules over a file: one context, all rules that the profile wants, suppressions, order.

source -> parse -> context -> rules ┐
                -> BuildKit's checks ├-> suppress -> severities -> sort -> report
                -> ShellCheck        ┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from dockc.base.pattern import pattern
from dockc.compiler.compile import Front, read
from dockc.grammar.diagnostic import Diagnostic, Severity
from dockc.grammar.source import Source, Span
from dockc.linter import pragmas as pragma_comments
from dockc.linter.checked import DROPPED
from dockc.linter.checks import check
from dockc.linter.context import Context
from dockc.linter.finding import FileReport, Finding
from dockc.linter.options import STRICT, LintOptions
from dockc.linter.registry import codes, get_rule
from dockc.linter.rule import Hit, Rule
from dockc.linter.table import CHECKS, NEEDS, OFF, STRICT_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.errors import CompileError
    from dockc.linter.memory import Memory

SYNTAX = "DL1000"
_BUILD_ERROR = "build-error"
#: How the error begins that `# check=error=true` makes of warnings; they are errors themselves then.
_VIOLATION = "check-failed"
#: Errors that may be only about what a base image or a build argument without default would say.
_OF_IMAGES = frozenset(
    {"unset-variable", "too-large", "blank-base", "bad-image-name", "blank-platform", "bad-platform"}
)
_PREFIX = pattern(r"[A-Z]{2}[0-9]*")
#: Faults of a file that hadolint does not see.
_PEER_READS = frozenset(["no-instructions", "duplicate-directive", "missing-equals", "json-not-strings"])


def lint_source(
    source: Source | Front, options: LintOptions | None = None, *, path: str = "", memory: Memory | None = None
) -> FileReport:
    """All findings of one file, in the profile's order. A file that does not parse has findings too.

    Args:
        source: the file, or what has been read of it.
        options: how to lint it.
        path: what the report calls the file.
        memory: what an earlier run over an earlier version of the same file has left.
    """
    options = options or LintOptions()
    front = read(source)
    run = _Run(front, options, memory)
    return FileReport(path=path or front.source.name, source=front.source, findings=run.findings())


class _Run:
    """One file under one set of options."""

    def __init__(self, front: Front, options: LintOptions, memory: Memory | None = None) -> None:
        self.front = front
        self.source = front.source
        self.options = options
        self.folded = front.source.text.lower()
        self.context = Context(front, options.settings, parity=options.profile == "hadolint", memory=memory)
        self.order = {code: index for index, code in enumerate(codes())}
        self.pragmas = pragma_comments.read(self.context)
        #: The file has an error, so that later findings are missing.
        self.stopped = options.profile == "dockc" and bool(front.result.diagnostics)

    def findings(self) -> tuple[Finding, ...]:
        match self.options.profile:
            case "buildkit":
                found = list(self.checks())
                return tuple(self.kept(found, pragmas=False))
            case "hadolint":
                if self.context.peer is None and (unreadable := self.unreadable()):
                    return tuple(self.syntax_errors(unreadable[:1]))
                scripts = self.shellcheck()
                found = [*self.rules(), *scripts]
            case _:
                scripts = self.shellcheck()
                found = [
                    *self.syntax_errors(self.front.result.diagnostics),
                    *self.checks(),
                    *self.rules(),
                    *scripts,
                ]
                found = self.without_twins(found)
        kept = list(self.kept(found, pragmas=self.options.pragmas))
        if self.options.profile == "dockc":
            kept += self.kept(list(self.unused_pragmas()), pragmas=False)
        own = self.options.profile == "dockc"
        kept.sort(
            key=lambda f: (f.line, f.span.start if own else 0, self.order.get(f.code, len(self.order)), f.span.start)
        )
        return tuple(map(self.linked, kept))

    def linked(self, finding: Finding) -> Finding:
        """With the address of its rule's page, where the configuration says one and the finding has none."""
        if finding.url or not self.options.settings.rule_pages or finding.code not in self.order:
            return finding
        from dockc.base.record import replace

        url = self.options.settings.page_of(get_rule(finding.code).name, finding.code)
        return replace(finding, url=url)

    # --- where findings come from

    def unreadable(self) -> Sequence[Diagnostic]:
        """Faults of the file that hadolint would not read it with either."""
        found = [d for d in self.front.parsed.diagnostics if d.code not in _PEER_READS]
        if not found and any(d.code == "unknown-instruction" for d in self.front.result.diagnostics):
            return self.front.result.diagnostics
        return found

    def syntax_errors(self, diagnostics: Sequence[Diagnostic]) -> Iterator[Finding]:
        """What keeps the file from being read or, in dockc's own profile, what no instruction may be."""
        for d in diagnostics:
            lines = d.lines or self.source.lines_of(d.span)
            if self.options.profile == "dockc":
                lines = (max(lines[0], 1), max(lines[1], 1))  # the reference counts from 0 in an empty file
            yield Finding(
                code=SYNTAX,
                name="syntax-error",
                message=d.message,
                severity=Severity.ERROR,
                span=d.span,
                lines=lines,
                column=self.source.position(d.span.start).column + 1,
                help=d.help,
                fix=d.fix,
            )

    def checks(self) -> Iterator[Finding]:
        """BuildKit's checks, in their own order, and the error that ends the build."""
        result = check(self.front, self.options)
        error = result.error
        strict = error is not None and error.error_code == _VIOLATION and self.options.profile == "dockc"
        for warning in result.warnings:
            lines = (warning.lines[0], warning.lines[-1]) if warning.lines else (1, 1)
            found = self.enriched(
                Finding(
                    code=warning.rule,
                    message=warning.message,
                    severity=Severity.ERROR if strict else Severity.WARNING,
                    span=self.span_of(lines),
                    lines=lines,
                    url=warning.url,
                    description=warning.description,
                )
            )
            if found is not None:
                yield found
        if error is None or strict or (self.options.profile == "dockc" and self.front.result.diagnostics):
            return  # syntax errors have been reported with more detail
        self.stopped = True
        ranges = next(filter(None, error.locations), ((1, 1),))
        lines = (ranges[0][0] or 1, ranges[-1][1] or 1)
        yield from self.build_errors(error, lines)

    def build_errors(self, error: CompileError, lines: tuple[int, int]) -> Iterator[Finding]:
        """The error that ends the build; in dockc's own profile those behind it too, and all on their exact words."""
        found: tuple[Diagnostic, ...] = ()
        if self.options.profile == "dockc":
            from dockc.compiler.diagnose import diagnose_all

            found = diagnose_all(error, self.front, self.next_error)
        if not found:
            span = self.span_of(lines)
            found = (Diagnostic(_BUILD_ERROR, error.message, span, help=error.hint, lines=lines),)
        for d in found:
            if self.options.profile == "dockc" and d.code in _OF_IMAGES and "$" in self.source.slice(d.span):
                continue  # only a base image or a build argument can tell
            exact = len(found) > 1 or d.code != _BUILD_ERROR
            yield Finding(
                code=_BUILD_ERROR,
                name=_BUILD_ERROR,
                message=f"{d.message} (did you mean {d.suggestion}?)" if d.suggestion else d.message,
                severity=Severity.ERROR,
                span=d.span,
                lines=self.source.lines_of(d.span) if exact else lines,
                column=self.source.position(d.span.start).column + 1 if exact else 1,
                help=d.help,
            )

    def next_error(self, rest: Front) -> CompileError | None:
        """The error of what is left of the file, where it is one of the file itself."""
        error = check(rest, self.options).error
        return None if error is None or error.error_code == _VIOLATION else error

    def rules(self) -> Iterator[Finding]:
        """All other rules that are on."""
        for code in self.order:
            if self.context.parity and not code.startswith("DL"):
                continue
            if self.off(code):
                continue
            rule = get_rule(code)
            severity = self.severity(rule)
            if severity is None or rule.check is Rule.check:
                continue
            seen: set[tuple[tuple[int, int] | None, str]] = set()
            for hit in rule().check(self.context):
                if self.context.parity:  # hadolint says a thing once an instruction
                    if (hit.lines, hit.message) in seen:
                        continue
                    seen.add((hit.lines, hit.message))
                found = self.finding(rule, hit, hit.severity or severity)
                if not hit.strict or self.options.strict or self.context.parity:
                    yield found
                else:
                    self.suppressed(found)  # a comment for it is in use all the same

    def shellcheck(self) -> Iterator[Finding]:
        """ShellCheck's findings where it is installed; it works from now on, and is waited for when they are asked
        for.
        """
        if self.options.checker is None:
            return iter(())
        from dockc.linter.shellcheck import findings

        return findings(self.context, self.pragmas, self.options)

    def unused_pragmas(self) -> Iterator[Finding]:
        """Suppressions that suppressed nothing."""
        if "DK0001" not in self.order or self.stopped or not self.options.pragmas:
            return
        rule = get_rule("DK0001")
        severity = self.severity(rule)
        if severity is None:
            return
        hit: Callable[..., Hit] = rule().hit  # type: ignore[attr-defined]
        for pragma, left in self.pragmas.unused():
            ran = frozenset(code for code in left if self.ran(code))
            if ran and pragma.kind != "own":
                ran = frozenset(code for code in ran if not self.peer_needs(pragma, code))
            if ran:
                found = hit(self.context, pragma, ran)
                yield self.finding(rule, found, found.severity or severity)

    def peer_needs(self, pragma: pragma_comments.Pragma, code: str) -> bool:
        """Whether hadolint reports what one of its comments suppresses: it finds more, and less exactly."""
        first, last = pragma.first, max(pragma.last, pragma.line + 1)
        return any(f.code == SYNTAX or (f.code == code and first <= f.line <= last) for f in self.peer_findings)

    @cached_property
    def peer_findings(self) -> tuple[Finding, ...]:
        """What hadolint would find if it had no suppressing comments."""
        from dockc.base.record import replace

        options = self.options
        peer = replace(
            LintOptions(profile="hadolint", pragmas=False, checker=options.checker, shellcheck=options.shellcheck),
            settings=options.settings,
        )
        return lint_source(self.front, peer).findings

    def ran(self, code: str) -> bool:
        """Whether a rule could have found something in this run."""
        if code in self.options.ignored or (
            self.options.select and not self.selected(code) and STRICT not in self.options.select
        ):
            return False
        if code in self.order:
            rule = get_rule(code)
            return rule.check is Rule.check or self.severity(rule) is not None
        return code.startswith("SC") and self.options.checker is not None

    # --- what becomes of them

    def off(self, code: str) -> bool:
        """Whether a rule does not run, as far as can be said without loading it."""
        options = self.options
        if code in CHECKS or (options.profile == "hadolint" and not code.startswith("DL")):
            return True
        if options.select and not self.selected(code) and STRICT not in options.select:
            return True
        named = (
            code in options.extend
            or code in options.severities
            or code in options.select
            or (options.strict and code in STRICT_RULES)
        )
        if options.profile != "dockc":
            return False
        needed = NEEDS.get(code)
        unneeded = needed is not None and not any(word in self.folded for word in needed)
        return unneeded or (code in OFF and not named)

    def severity(self, rule: type[Rule]) -> Severity | None:
        """The severity that a rule has before configuration; None if it does not run at all."""
        options = self.options
        severity = rule.hadolint_severity if options.profile == "hadolint" else rule.severity
        if options.profile == "hadolint" and not rule.code.startswith("DL"):
            return None
        if rule.code in options.severities:
            return options.severities[rule.code]
        if severity is None and (
            rule.code in options.extend or rule.code in options.select or (options.strict and rule.code in STRICT_RULES)
        ):
            return rule.hadolint_severity or Severity.WARNING
        return severity

    def finding(self, rule: type[Rule], hit: Hit, severity: Severity) -> Finding:
        lines = hit.lines or self.source.lines_of(hit.span)
        column = 1 if self.context.parity else self.source.position(hit.span.start).column + 1
        return Finding(
            code=rule.code,
            name=rule.name,
            message=hit.message,
            severity=severity,
            span=hit.span,
            lines=lines,
            column=column,
            help=hit.help,
            fix=hit.fix,
            description=rule.summary,
            strict=hit.strict or rule.code in STRICT_RULES,
        )

    def enriched(self, finding: Finding) -> Finding | None:
        """A check's finding with the exact words and the fix that its rule knows; None where the rule takes it back.

        What ends the build, by `# check=error=true`, is never taken back nor made milder.
        """
        if finding.code not in self.order:
            return finding
        rule = get_rule(finding.code)
        locate = getattr(rule(), "locate", None)
        if self.options.profile != "dockc" or locate is None:
            return finding
        hit: Hit | None = locate(self.context, finding)
        fatal = finding.severity is Severity.ERROR
        if hit is DROPPED or (hit is not None and hit.strict and not self.options.strict):
            return finding if fatal else None
        if hit is None:
            return finding
        return Finding(
            code=finding.code,
            name=rule.name,
            message=hit.message,
            severity=finding.severity if fatal else hit.severity or rule.severity or finding.severity,
            span=hit.span,
            lines=hit.lines or finding.lines,
            column=self.source.position(hit.span.start).column + 1,
            url=finding.url,
            help=hit.help,
            fix=hit.fix,
            description=finding.description,
            strict=hit.strict,
        )

    def without_twins(self, found: list[Finding]) -> list[Finding]:
        """One finding where two rules say the same of a line. What no build comes over is dropped only for one that is
        reported itself.
        """
        replaced = {
            (twin, line)
            for f in found
            if f.code in self.order
            for twin in get_rule(f.code).replaces
            if twin not in (_BUILD_ERROR, SYNTAX) or any(self.kept([f], pragmas=self.options.pragmas))
            for line in range(f.lines[0], f.lines[1] + 1)
        }
        return [f for f in found if (f.code, f.line) not in replaced]

    def kept(self, found: list[Finding], *, pragmas: bool) -> Iterator[Finding]:
        options = self.options
        for finding in found:
            if finding.code in options.ignored or (options.select and not self.chosen(finding)):
                continue
            if pragmas and finding.code != SYNTAX and self.suppressed(finding):
                continue
            if finding.code in options.severities:
                severity = options.severities[finding.code]
                if severity is None:
                    continue
                finding = _with_severity(finding, severity)
            yield finding

    def suppressed(self, finding: Finding) -> bool:
        """Whether a comment suppresses a finding, by its code or, for BuildKit's checks, by that of hadolint's rule for
        the same.
        """
        found = self.pragmas.suppress(finding.code, finding.line)
        if not self.context.parity and finding.code in self.order and not finding.code.startswith(("DL", "DK", "SC")):
            for other in get_rule(finding.code).equivalents:
                tool, _, code = other.partition(":")
                found |= tool == "hadolint" and self.pragmas.suppress(code, finding.line)
        return found

    def chosen(self, finding: Finding) -> bool:
        """Whether `select` names a finding: its code, or the set that it belongs to."""
        return self.selected(finding.code) or (finding.strict and STRICT in self.options.select)

    def selected(self, code: str) -> bool:
        """Whether `select` names a code, wholly or by the beginning of a numbered one."""
        return any(
            code == wanted or (_PREFIX.fullmatch(wanted) and code.startswith(wanted)) for wanted in self.options.select
        )

    def span_of(self, lines: tuple[int, int]) -> Span:
        """The text of some lines, without surrounding space."""
        count = len(self.source.line_starts)
        first, last = min(max(lines[0], 1), count), min(max(lines[1], 1), count)
        start, end = self.source.line_span(first).start, self.source.line_span(last).end
        text = self.source.text[start:end]
        return Span(start + len(text) - len(text.lstrip()), max(start, start + len(text.rstrip())))


def _with_severity(finding: Finding, severity: Severity) -> Finding:
    from dockc.base.record import replace

    return replace(finding, severity=severity)
