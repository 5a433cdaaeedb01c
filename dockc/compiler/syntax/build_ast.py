"""CST to AST, with the reference's own messages.

    result = build_ast(parse(source))          # never raises for bad input
    result.dockerfile                          # Dockerfile, or None where result.error is set
    result.warnings                            # facts found up to the error, in emission order
    result.error                               # errors.SyntaxFailure with locations, or None
    result.diagnostics                         # everything wrong in the file, with spans
    build_ast_or_raise(parsed) -> Dockerfile   # the same, raising result.error
    parse_trigger(text) -> Instruction         # one instruction of an ONBUILD trigger; raises SyntaxFailure

Source: BuildKit's frontend/dockerfile/instructions/parse.go.
"""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import Record
from dockc.compiler.syntax.ast import Arg, Directive, Dockerfile, From, Instruction, LintFact, Stage, Word
from dockc.compiler.syntax.instructions import UTF_16, build
from dockc.compiler.syntax.request import Rejected
from dockc.errors import Fault, SyntaxFailure
from dockc.grammar.cst import File, InstructionNode
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.parser import Parsed, parse
from dockc.grammar.source import Source, Span

Location = tuple[tuple[int, int], ...]


class AstResult(Record):
    """What became of a file: a tree or the first error, the lint facts on the way, and all errors as diagnostics.

    `outcomes` has for each instruction that the grammar could read, in order, what became of it.
    """

    dockerfile: Dockerfile | None
    warnings: tuple[LintFact, ...]
    error: SyntaxFailure | None
    diagnostics: tuple[Diagnostic, ...] = ()
    outcomes: tuple[Instruction | Rejected, ...] = ()


def location(lines: tuple[int, int]) -> Location:
    """Lines as the reference reports them: one range for each line."""
    return tuple((line, line) for line in range(lines[0], max(lines) + 1))


def _fault(diagnostic: Diagnostic) -> Fault:
    return Fault(diagnostic.code, Word("", diagnostic.span))


def build_ast(parsed: Parsed) -> AstResult:
    """Read all instructions of a file. Never raises for bad input."""
    file = parsed.file
    error: SyntaxFailure | None = None
    facts: list[LintFact] = []
    if parsed.diagnostics:
        first = parsed.diagnostics[0]
        error = SyntaxFailure(
            first.message, fault=_fault(first), locations=(location(first.lines or (0, 0)),), hint=first.help
        )
        nodes = [node for node in file.instructions if all(c.fault is None for c in node.commands)]
    else:
        nodes = list(file.instructions)
        facts = [_empty_continuation(node) for node in nodes if node.logical.empty_continuation]
    builder = _Builder(file, facts, error)
    for node in nodes:
        builder.add(node)
    diagnostics = tuple(sorted((*parsed.diagnostics, *builder.diagnostics), key=lambda d: d.span.start))
    if builder.error is not None:
        return AstResult(None, tuple(builder.facts), builder.error, diagnostics, tuple(builder.outcomes))
    return AstResult(builder.finish(), tuple(builder.facts), None, diagnostics, tuple(builder.outcomes))


def build_ast_or_raise(parsed: Parsed) -> Dockerfile:
    """The tree of a file. Raises SyntaxFailure."""
    result = build_ast(parsed)
    if result.dockerfile is None:
        raise result.error or SyntaxFailure("file with no instructions", fault=Fault("no-stage"))
    return result.dockerfile


def parse_trigger(text: str) -> Instruction:
    """The one instruction of an ONBUILD trigger. Raises SyntaxFailure, mostly without location."""
    parsed = parse(Source.from_text(text, "ONBUILD"))
    if parsed.diagnostics:
        first = parsed.diagnostics[0]
        raise SyntaxFailure(first.message, fault=_fault(first), locations=(location(first.lines or (0, 0)),))
    nodes = list(parsed.file.instructions)
    if len(nodes) != 1:
        raise SyntaxFailure("onbuild trigger should be a single expression", fault=Fault("bad-trigger"))
    try:
        instruction = build(nodes[0], [])
    except Rejected as rejected:
        raise rejected.failure() from None
    if isinstance(instruction, From):
        raise SyntaxFailure("*instructions.Stage is not a command type", fault=Fault("bad-trigger"))
    return instruction


class _Builder:
    """Sorts instructions into stages. Its state: stages so far, facts, errors; facts stop at the first error."""

    def __init__(self, file: File, facts: list[LintFact], error: SyntaxFailure | None) -> None:
        self.file = file
        self.facts = facts
        self.error = error
        self.diagnostics: list[Diagnostic] = []
        self.outcomes: list[Instruction | Rejected] = []
        self.meta_args: list[Arg] = []
        self.stages: list[tuple[From, list[Instruction]]] = []
        self.lost_from = False  # a FROM was refused, or its lack was reported

    def add(self, node: InstructionNode) -> None:
        """Read one instruction and put it in its place."""
        facts: list[LintFact] = [] if self.error is not None else self.facts
        try:
            instruction = build(node, facts)
        except Rejected as rejected:
            self.outcomes.append(rejected)
            first = node.lines[0]
            if rejected.help == UTF_16:
                if self.error is not None and self.error.hint == UTF_16:
                    return  # every line is: say it once
            elif rejected.code == "unknown-instruction" and self._continues(node):
                rejected.help = "does the line above lack its continuation, an escape character at the very end?"
            failure = rejected.failure(f"dockerfile parse error on line {first}: ", location(node.lines))
            self.fail(failure, rejected.diagnostic(node.lines))
            self.lost_from = self.lost_from or node.command.name == "FROM"
            return
        self.outcomes.append(instruction)
        if isinstance(instruction, From):
            self.stages.append((instruction, []))
        elif self.stages:
            self.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            self.meta_args.append(instruction)
        elif not self.lost_from:
            self.lost_from = True  # say it once
            message = "no build stage in current context"
            help_ = "only ARG may stand before the first FROM"
            fault = Fault("no-stage", Word("", instruction.name_span))
            failure = SyntaxFailure(message, fault=fault, locations=(location(node.lines),), hint=help_)
            self.fail(failure, Diagnostic("no-stage", message, instruction.name_span, help=help_, lines=node.lines))

    def _continues(self, node: InstructionNode) -> bool:
        """Whether an instruction looks like the rest of the line above: indented, or after an operator of the shell."""
        text, start = self.file.source.text, node.span.start
        above = text[max(start - 200, 0) : start].rstrip()
        return text[start : start + 1] in (" ", "\t") or above.endswith(("&&", "|", ";", ","))

    def fail(self, failure: SyntaxFailure, diagnostic: Diagnostic) -> None:
        """Note an error; the first one is what the reference reports."""
        self.diagnostics.append(diagnostic)
        if self.error is None:
            self.error = failure

    def finish(self) -> Dockerfile:
        file = self.file
        return Dockerfile(
            source=file.source,
            escape=file.escape,
            directives=MappingProxyType({d.name: Directive(d.name, d.value, d.line, d.span) for d in file.directives}),
            meta_args=tuple(self.meta_args),
            stages=tuple(_stage(from_, instructions) for from_, instructions in self.stages),
            warnings=tuple(self.facts),
        )


def _stage(from_: From, instructions: list[Instruction]) -> Stage:
    return Stage(
        name=from_.stage_name,
        base=from_.base,
        platform=from_.platform,
        orig_cmd=from_.name,
        code=from_.code,
        lines=from_.lines,
        span=from_.span,
        comments=from_.comments,
        doc_comment=from_.doc_comment,
        from_=from_,
        instructions=tuple(instructions),
    )


def _empty_continuation(node: InstructionNode) -> LintFact:
    last = node.logical.last
    return LintFact("NoEmptyContinuation", "Empty continuation line", (last, last))


__all__ = ["AstResult", "Span", "build_ast", "build_ast_or_raise", "location", "parse_trigger"]
