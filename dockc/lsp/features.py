"""Answers about places in a Dockerfile, as data: hover, definition, references, rename, symbols, folding.

Nothing here knows the protocol or reads files. Offsets are characters of the text; `places` turns them into positions.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from dockc.base.record import Record
from dockc.compiler.compile import Front, read
from dockc.compiler.explain.instructions import INSTRUCTIONS, InstructionDoc
from dockc.compiler.syntax import ast
from dockc.errors import DockcError, UsageError
from dockc.grammar.diagnostic import Edit
from dockc.grammar.parser import Lines
from dockc.grammar.source import Source, Span
from dockc.linter.context import Context, Entry
from dockc.linter.finding import Finding
from dockc.lsp.names import PLATFORM_ARGS, Names, Site, is_stage_name, is_variable_name

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{3,}")
_STEERS = re.compile(r"\b(?:hadolint|dockc|check\s*=)", re.I)


class Hover(Record):
    """Markdown about a stretch of text."""

    text: str
    span: Span


class Symbol(Record):
    """A stage, or an instruction of one.

    Attributes:
        name: short; detail: more of it.
        kind: `stage`, `variable` or `instruction`.
        span: all of it; name_span: the part to jump to.
    """

    name: str
    detail: str
    kind: str
    span: Span
    name_span: Span
    children: tuple[Symbol, ...] = ()


class Fold(Record):
    """Lines that can be folded away, from 1: the first stays visible. `comment` for rows of comments."""

    first: int
    last: int
    comment: bool = False


class Document:
    """One version of a Dockerfile with everything that is asked about it. Facts are worked out when first asked for."""

    def __init__(
        self,
        text: str,
        name: str = "Dockerfile",
        build_args: Mapping[str, str] | None = None,
        lines: Lines | None = None,
    ) -> None:
        self.source = Source.from_text(text, name)
        self.front: Front = read(self.source, lines)
        self.context = Context(self.front)
        self.names = Names(self.context)
        self._build_args = dict(build_args or {})
        self._values: dict[int, Mapping[str, str]] = {}

    @property
    def text(self) -> str:
        """The text."""
        return self.source.text

    def entry_at(self, offset: int) -> Entry | None:
        """The instruction that covers an offset, its last line's end included."""
        for entry in self.context.entries:
            if entry.node.span.start <= offset <= max(entry.node.span.start, entry.node.span.end - 1):
                return entry
        last = self.context.entries[-1] if self.context.entries else None
        return last if last is not None and offset == last.node.span.end == len(self.text) else None

    # --- definition, references, rename ---------------------------------------------------------------

    def definition(self, offset: int) -> tuple[Span, ...]:
        """Where the stage or variable at a place is defined; for a stage without a name, its FROM."""
        site = self.names.at(offset)
        if site is None:
            return ()
        if site.kind == "stage":
            found = [s.span for s in self.names.stage_sites if s.defines and s.target == site.target]
            return tuple(found) or (self.names.froms[site.target][0].node.span,)
        if site.defines:
            behind = self.names.defined(site.name, site.entry + 1) if site.entry + 1 < len(self.context.entries) else ()
            return tuple(s.span for s in behind) or (site.span,)
        return tuple(s.span for s in self.names.defined(site.name, site.entry))

    def references(self, offset: int, *, definitions: bool) -> tuple[Span, ...]:
        """All places of the stage or variable at a place."""
        site = self.names.at(offset)
        if site is None:
            return ()
        return tuple(s.span for s in self.names.same(site) if definitions or not s.defines)

    def renameable(self, offset: int) -> Span | None:
        """The name at a place if it can be renamed: one that this file defines."""
        site = self.names.at(offset)
        if site is None or site.numeric or not any(s.defines for s in self.names.same(site)):
            return None
        return site.span

    def rename(self, offset: int, new: str) -> tuple[Edit, ...]:
        """Edits that give the stage or variable at a place another name.

        Raises:
            UsageError: there is nothing to rename, or the new name cannot be used.
        """
        site = self.names.at(offset)
        if site is None or self.renameable(offset) is None:
            raise UsageError("there is no stage or variable of this file here")
        self._check_new_name(site, new)
        return tuple(Edit(s.span, new) for s in self.names.same(site) if not s.numeric)

    def _check_new_name(self, site: Site, new: str) -> None:
        if site.kind == "stage":
            if not is_stage_name(new):
                raise UsageError(f"{new!r} cannot be the name of a stage")
            taken = [
                s for s in self.names.stage_sites if s.defines and s.name == new.lower() and s.target != site.target
            ]
            if taken:
                raise UsageError(f"there is a stage {new} already")
            return
        if not is_variable_name(new):
            raise UsageError(f"{new!r} cannot be the name of a variable")
        if site.name in PLATFORM_ARGS:
            raise UsageError(f"{site.name} is given by the builder")
        if new != site.name and any(s.name == new for s in self.names.definitions):
            raise UsageError(f"there is a variable {new} already")

    # --- hover ----------------------------------------------------------------------------------------

    def hover(self, offset: int, findings: tuple[Finding, ...] = ()) -> Hover | None:
        """What is under a place: a stage, a variable with its value, a flag, an instruction, a rule."""
        return (
            self._hover_name(offset)
            or self._hover_instruction(offset)
            or self._hover_comment(offset)
            or self._hover_finding(offset, findings)
        )

    def _hover_name(self, offset: int) -> Hover | None:
        site = self.names.at(offset)
        if site is None:
            return self._hover_platform(offset)
        if site.kind == "stage":
            return Hover(self._about_stage(site), site.span)
        return Hover(self._about_variable(site), site.span)

    def _about_stage(self, site: Site) -> str:
        entry, instruction = self.names.froms[site.target]
        members = [e for e in self.context.entries if e.stage == site.target]
        code = instruction.code if instruction is not None else self.source.slice(entry.node.span).strip()
        text = f"```dockerfile\n{code}\n```\n\nStage {site.target}"
        if instruction is not None and instruction.stage_name:
            text += f" `{instruction.stage_name}`"
        count = len(members) - 1
        text += f", line {entry.line}, {count} instruction{'s' * (count != 1)}."
        if instruction is not None and instruction.doc_comment:
            text += f"\n\n{instruction.doc_comment}"
        return text

    def _about_variable(self, site: Site) -> str:
        found = (site,) if site.defines else self.names.defined(site.name, site.entry)
        values = self.values_after(site.entry) if site.defines else self.values(site.entry)
        value = values.get(site.name)
        shown = json.dumps(value, ensure_ascii=False) if value is not None else "not known here"
        text = f"`{site.name}` = `{shown}`" if value is not None else f"`{site.name}`: value {shown}"
        for one in found:
            entry = self.context.entries[one.entry]
            text += f"\n\n{entry.keyword} of line {self.source.line_at(one.span.start)}"
            instruction = entry.instruction
            if isinstance(instruction, ast.Arg):
                pair = next((p for p in instruction.pairs if p.key.text == site.name), None)
                if pair is not None and pair.doc_comment:
                    text += f": {pair.doc_comment}"
        if site.name in PLATFORM_ARGS:
            text += f"\n\n{PLATFORM_ARGS[site.name]}"
        return text

    def _hover_platform(self, offset: int) -> Hover | None:
        for match in re.finditer(r"\$\{?([A-Z]+)\}?", self.source.line_text(self.source.line_at(offset))):
            start = self.source.line_starts[self.source.line_at(offset) - 1]
            if start + match.start() <= offset <= start + match.end() and match[1] in PLATFORM_ARGS:
                return Hover(
                    f"`{match[1]}`: {PLATFORM_ARGS[match[1]]}", Span(start + match.start(), start + match.end())
                )
        return None

    def _hover_instruction(self, offset: int) -> Hover | None:
        entry = self.entry_at(offset)
        if entry is None:
            return None
        for command in entry.node.commands:
            doc = INSTRUCTIONS.get(command.keyword.value.upper())
            if doc is None:
                continue
            span = entry.node.logical.span(command.keyword.start, command.keyword.end)
            if span.start <= offset <= span.end:
                return Hover(instruction_markdown(doc), span)
            for flag in command.flags:
                span = entry.node.logical.span(flag.token.start, flag.token.end)
                name = flag.text.partition("=")[0]
                if span.start <= offset <= span.end and name in doc.flags:
                    return Hover(f"**{doc.keyword} {name}**\n\n{doc.flags[name]}", span)
        return None

    def _hover_comment(self, offset: int) -> Hover | None:
        """A rule that a comment names."""
        from dockc.linter.registry import find_rule

        for item in self.front.parsed.file.items:
            if not item.span.start <= offset < item.span.end:
                continue
            text = self.source.slice(item.span)
            if not text.lstrip().startswith("#") or not _STEERS.search(text):
                return None
            for match in _CODE.finditer(text):
                if item.span.start + match.start() <= offset <= item.span.start + match.end():
                    try:
                        rule = find_rule(match[0])
                    except UsageError:
                        return None
                    span = Span(item.span.start + match.start(), item.span.start + match.end())
                    return Hover(
                        f"**{rule.code} {rule.name}**: {rule.summary}\n\n{inspect.cleandoc(rule.__doc__ or '')}", span
                    )
        return None

    def _hover_finding(self, offset: int, findings: tuple[Finding, ...]) -> Hover | None:
        from dockc.linter.registry import find_rule

        parts = []
        span: Span | None = None
        for finding in findings:
            if not finding.span.start <= offset <= finding.span.end:
                continue
            try:
                page = inspect.cleandoc(find_rule(finding.code).__doc__ or "")
            except UsageError:
                page = finding.description
            parts.append(f"**{finding.code}**: {finding.message}\n\n{page}".rstrip())
            span = span or finding.span
        return Hover("\n\n---\n\n".join(parts), span) if span is not None else None

    # --- values ---------------------------------------------------------------------------------------

    def values(self, entry: int) -> Mapping[str, str]:
        """Values of the variables that an instruction sees, as far as they can be known; base images are made up."""
        return self._valued(self.context.entries[entry], after=False)

    def values_after(self, entry: int) -> Mapping[str, str]:
        """Values after an instruction."""
        return self._valued(self.context.entries[entry], after=True)

    def _valued(self, entry: Entry, *, after: bool) -> Mapping[str, str]:
        number = entry.line * 2 + after
        if number not in self._values:
            self._values[number] = self._computed(entry, after=after)
        return self._values[number]

    def _computed(self, entry: Entry, *, after: bool) -> Mapping[str, str]:
        from dockc.compiler.explain.trace import trace
        from dockc.compiler.imagine import PLATFORM, made_up
        from dockc.compiler.options import CompileOptions
        from dockc.compiler.questions import converse
        from dockc.oci.platform import normalize, parse

        attrs = {f"build-arg:{name}": value for name, value in self._build_args.items()}
        options = CompileOptions.from_attrs(attrs, build_platforms=(normalize(parse(PLATFORM)),))
        try:
            found = converse(trace(self.front, options, entry.line), made_up)
        except DockcError:
            return {}
        if entry.stage < 0 or entry.keyword == "FROM":
            infos = found.lowered.stages[0].outline.args if found.lowered.stages else {}
            return {name: info.value for name, info in infos.items()}
        step = found.steps[-1] if found.steps else None
        if step is None:
            return {}
        return (step.after if after else step.before).env

    # --- outline --------------------------------------------------------------------------------------

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """ARGs before the first FROM, then stages with their instructions."""
        found = [self._symbol(e) for e in self.context.entries if e.stage < 0]
        for index, members in enumerate(self.context.stages):
            first = members[0]
            instruction = first.instruction
            span = Span(first.node.span.start, _end(self.source, members[-1].node.span))
            name, detail, name_span = (
                f"stage {index}",
                _one_line(self.source.slice(first.node.span)),
                _shown(self.source, first),
            )
            if isinstance(instruction, ast.From):
                detail = instruction.base.text
                if instruction.stage_name_word is not None:
                    name, name_span = instruction.stage_name_word.text, instruction.stage_name_word.span
            children = tuple(self._symbol(entry) for entry in members[1:])
            found.append(Symbol(name, detail, "stage", span, name_span, children))
        return tuple(found)

    def _symbol(self, entry: Entry) -> Symbol:
        instruction = entry.instruction
        shown = _shown(self.source, entry)
        span = Span(entry.node.span.start, _end(self.source, entry.node.span))
        if isinstance(instruction, ast.Arg | ast.Env):
            names = ", ".join(pair.key.text for pair in instruction.pairs)
            return Symbol(f"{entry.keyword} {names}", "", "variable", span, shown)
        text = _one_line(instruction.code if instruction is not None else self.source.slice(span))
        keyword, _, rest = text.partition(" ")
        return Symbol(f"{keyword} {rest}"[:60].rstrip() or entry.keyword, "", "instruction", span, shown)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """Stages, instructions of several lines, heredocs, rows of comments."""
        return tuple(sorted(self._folds(), key=lambda fold: (fold.first, -fold.last)))

    def _folds(self) -> Iterator[Fold]:
        for members in self.context.stages:
            last = members[-1].node.lines[1]
            if last > members[0].line:
                yield Fold(members[0].line, last)
        for entry in self.context.entries:
            node = entry.node
            if node.logical.last > node.logical.first and entry.keyword != "FROM":
                yield Fold(node.logical.first, node.logical.last)
            for document in node.heredocs:
                first = self.source.line_at(document.body.start) - 1
                last = self.source.line_at(max(document.end.start, document.body.start))
                if last > first:
                    yield Fold(first, last)
        begin = last = 0
        for line, _ in (*self.context.comments, (0, None)):
            if line == last + 1 and begin:
                last = line
                continue
            if last > begin:
                yield Fold(begin, last, comment=True)
            begin = last = line


def instruction_markdown(doc: InstructionDoc) -> str:
    """An instruction's page."""
    forms = "\n".join(doc.syntax)
    text = f"```dockerfile\n{forms}\n```\n\n{doc.summary}\n\n{doc.text}"
    if doc.flags:
        text += "\n\n" + "\n".join(f"- `{name}`: {meaning}" for name, meaning in sorted(doc.flags.items()))
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shown(source: Source, entry: Entry) -> Span:
    """The keyword."""
    keyword = entry.node.command.keyword
    return entry.node.logical.span(keyword.start, keyword.end)


def _end(source: Source, span: Span) -> int:
    """The end without the line end."""
    return span.start + len(source.text[span.start : span.end].rstrip("\r\n"))
