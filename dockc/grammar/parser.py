"""Text to CST: the scanner's lines, each read by the rules of `dockerfile.lark`.

A fault spoils its own instruction only: reading goes on at the next one, so a file gives all its errors at once.
"""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.golang.strings import SPACES, lower
from dockc.grammar import forms
from dockc.grammar.cst import (
    BlankLine,
    Command,
    CommentLine,
    DirectiveLine,
    Fault,
    File,
    HeredocNode,
    InstructionNode,
    Item,
    Logical,
    Token,
)
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.forms import EMPTY, Form
from dockc.grammar.scanner import MAX_LINE, Blank, Comment, Problem, Scanner
from dockc.grammar.source import Source, Span, decode, encode
from dockc.grammar.word import WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Keyword to form of arguments.
FORMS: dict[str, Callable[[str, int, int, str], Form]] = {
    "ADD": forms.json_or_words,
    "ARG": forms.names,
    "CMD": forms.json_or_line,
    "COPY": forms.json_or_words,
    "ENTRYPOINT": forms.json_or_line,
    "ENV": lambda text, start, end, escape: forms.assignments(text, start, end, escape, "ENV"),
    "EXPOSE": forms.words,
    "FROM": forms.words,
    "HEALTHCHECK": forms.healthcheck,
    "LABEL": lambda text, start, end, escape: forms.assignments(text, start, end, escape, "LABEL"),
    "MAINTAINER": forms.line,
    "RUN": forms.json_or_line,
    "SHELL": forms.json_or_line,
    "STOPSIGNAL": forms.line,
    "USER": forms.line,
    "VOLUME": forms.json_or_words,
    "WORKDIR": forms.line,
}
KEYWORDS = frozenset({*FORMS, "ONBUILD"})
WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
#: Reading flags beyond ASCII copies the rest of the line, so a chain of ONBUILD with such flags is read this deep.
#: (Any chain is an error in the end.)
_MAX_VIEWS = 100
_UNKNOWN = Form("unknown", (), ("",))


class Parsed(NamedTuple):
    """A source read.

    Attributes:
        file: the tree.
        diagnostics: what is wrong, in order of place. The first is the one that the reference reports.
    """

    file: File
    diagnostics: tuple[Diagnostic, ...]


#: Instructions by their logical line and the escape character: what an editor's next run need not read again.
Lines = dict[tuple[str, str], tuple[Command, ...]]


def parse(source: Source, lines: Lines | None = None) -> Parsed:
    """Read a source. Never raises for bad input.

    Args:
        source: the text.
        lines: what was read before, by an earlier run over a similar text; what is read anew is added.
    """
    return _Reader(source, lines).read()


class _Reader:
    """One pass over a source. Its state: the items so far, the faults so far, the comments not yet claimed."""

    def __init__(self, source: Source, lines: Lines | None) -> None:
        self.source = source
        self.lines = lines
        self.scanner = Scanner(source)
        self.items: list[Item] = []
        self.diagnostics: list[Diagnostic] = []
        self.comments: list[str] = []
        self.any_instruction = False
        self.last_read = 0  # the last line that a heredoc without end went through

    def read(self) -> Parsed:
        scanner = self.scanner
        while True:
            item = scanner.item()
            if item is None:
                if scanner.too_long is None:
                    break
                self.long_line()
            elif isinstance(item, Blank):
                self.items.append(BlankLine(item.span))
            elif isinstance(item, Comment):
                self.comment(item)
            else:
                self.instruction(item)
        if not self.any_instruction and not self.diagnostics:
            end = len(self.source.text)
            self.problem(
                Problem("no-instructions", "file with no instructions", scanner.line, Span(end, end), "begin with FROM")
            )
        return Parsed(File(self.source, scanner.escape, tuple(self.items)), tuple(self.diagnostics))

    def problem(self, problem: Problem) -> None:
        lines = (problem.line, problem.line)
        self.diagnostics.append(Diagnostic(problem.code, problem.message, problem.span, help=problem.help, lines=lines))

    def long_line(self) -> None:
        """A line that the reference does not read: kept as it is, as an instruction with a fault."""
        scanner = self.scanner
        problem = scanner.too_long
        assert problem is not None
        if not self.any_instruction:
            # The reference looks for instructions first, and finds none.
            problem = problem._replace(code="no-instructions", message="file with no instructions")
        elif problem.line > scanner.line and (fault := self.cut_fault(problem)):
            problem = problem._replace(code=fault.code, message=fault.message)
        self.problem(problem)
        span = scanner.skip_long_line()
        text = self.source.slice(span).rstrip("\r\n")
        line = scanner.line
        fault = Fault(problem.code, problem.message, 0, len(text), problem.help)
        command = Command(text, 0, len(text), Token("KEYWORD", "", 0, 0), "", (), "unknown", (), ("",), False, fault)
        logical = Logical(text, (0,), (span.start,), line, line)
        self.items.append(InstructionNode(span, logical, (command,), (), tuple(self.comments), (line, line)))
        self.comments = []

    def cut_fault(self, problem: Problem) -> Fault | None:
        """What is wrong with the part of a long line that the reference reads when the line before it is continued."""
        escape = self.scanner.escape
        text = decode(encode(self.source.slice(problem.span))[:MAX_LINE]).strip(SPACES)
        if text.startswith("#"):
            return None
        commands = _commands(text.removesuffix(escape), escape)
        fault = next((c.fault for c in reversed(commands) if c.fault is not None), None)
        if fault is None and "<<" in text and _may_have_heredocs(commands):
            from dockc.grammar.heredoc import openers

            if openers(text):
                return Fault("unterminated-heredoc", "unterminated heredoc", 0, len(text))
        return fault

    def comment(self, item: Comment) -> None:
        if item.problem is not None:
            self.problem(item.problem)
        found = item.directive
        if found is not None:
            self.items.append(DirectiveLine(item.span, found.name, found.value, found.line))
            return
        if item.text:
            self.comments.append(item.text)
        else:
            self.comments = []
        self.items.append(CommentLine(item.span, item.text))

    def instruction(self, logical: Logical) -> None:
        self.any_instruction = True
        scanner = self.scanner
        if self.lines is None:
            commands = _commands(logical.text, scanner.escape)
        else:
            key = (logical.text, scanner.escape)
            commands = self.lines.get(key, ())
            if not commands:
                commands = self.lines[key] = _commands(*key)
        first, line = logical.first, scanner.line
        fault = next((c.fault for c in reversed(commands) if c.fault is not None), None)
        heredocs: tuple[HeredocNode, ...] = ()
        if fault is None and "<<" in logical.text and _may_have_heredocs(commands):
            try:
                heredocs, fault = self.heredocs(logical, commands)
            except WordError as error:
                fault = Fault("bad-heredoc", error.message, 0, len(logical.text))
        if fault is not None:
            self.diagnostics.append(
                Diagnostic(
                    fault.code,
                    fault.message,
                    logical.span(fault.start, fault.end),
                    help=fault.help,
                    lines=(first, max(line, self.last_read)),
                )
            )
        source = self.source
        begin = source.line_starts[first - 1]
        end = source.line_starts[scanner.line] if scanner.line < len(source.line_starts) else len(source.text)
        self.last_read = 0
        self.items.append(
            InstructionNode(Span(begin, end), logical, commands, heredocs, tuple(self.comments), (first, scanner.line))
        )
        self.comments = []

    def heredocs(self, logical: Logical, commands: tuple[Command, ...]) -> tuple[tuple[HeredocNode, ...], Fault | None]:
        from dockc.grammar.heredoc import openers  # few files have heredocs

        scanner = self.scanner
        nodes = []
        for opener in openers(logical.text):
            body, end, ended = scanner.heredoc(opener.name, opener.chomp)
            content = self.source.text[body.start : body.end]
            nodes.append(HeredocNode(opener.name, opener.fd, opener.chomp, opener.expand, content, body, end))
            if not ended:
                nodes[-1] = self.recover(nodes[-1], logical.last)
                at, stop = _opener_place(logical.text, len(nodes))
                return tuple(nodes), Fault(
                    "unterminated-heredoc",
                    "unterminated heredoc",
                    at,
                    stop,
                    f"no line of the file is just {opener.name}" + (" (after tabs)" if opener.chomp else ""),
                )
        return tuple(nodes), None

    def recover(self, node: HeredocNode, opener_line: int) -> HeredocNode:
        """After a heredoc without end, go on at the first line that looks like an instruction."""
        import re

        looks_like_instruction = re.compile(rf"(?:{'|'.join(sorted(KEYWORDS))})[ \t]").match
        source = self.source
        self.last_read = self.scanner.line
        for line in range(source.line_at(node.body.start) - 1, len(source.line_starts)):
            if line >= opener_line and looks_like_instruction(source.text, source.line_starts[line]):
                self.scanner.rewind(line)
                at = source.line_starts[line]
                body = Span(node.body.start, at)
                return HeredocNode(node.name, node.fd, node.chomp, node.expand, source.slice(body), body, Span(at, at))
        return node


def _opener_place(text: str, number: int) -> tuple[int, int]:
    """Start and end of the opener with that number, from 1, as far as it can be told without reading the line's
    words.
    """
    import re

    found = list(re.finditer(r"\d*<<-?\s*(?:\"[^\"]*\"|'[^']*'|[^\s<])+", text))
    if not found:
        return max(text.find("<<"), 0), len(text)
    return found[min(number, len(found)) - 1].span()


def _may_have_heredocs(commands: tuple[Command, ...]) -> bool:
    command = commands[0]
    if command.name == "ONBUILD" and len(commands) > 1:
        command = commands[1]
    return command.name in WITH_HEREDOCS and not command.is_json


def _commands(text: str, escape: str) -> tuple[Command, ...]:
    """The instruction of a logical line; after ONBUILD the inner ones too, outermost first."""
    found: list[Command] = []
    text = text.rstrip(SPACES)  # so that the end of each part is the end of the text, and nothing is copied
    start, end = 0, len(text)
    views = 0
    while True:
        start, end = _trim(text, start, end)
        keyword, rest = forms.keyword(text, start, end, escape)
        nodes, args_text, begin, stop = forms.flags(text, rest, end, escape)
        begin, stop = _trim(args_text, begin, stop)
        name = lower(keyword.value).upper()  # the reference compares lower case, which is not the same
        views += bool(nodes) and not text.isascii()
        if name == "ONBUILD" and views <= _MAX_VIEWS:
            form = Form("instruction", (), ()) if begin < stop else EMPTY
        elif name == "ONBUILD":
            form = forms.line(args_text, begin, stop, escape)
        else:
            reader = FORMS.get(name)
            form = _UNKNOWN if reader is None else reader(args_text, begin, stop, escape)
        found.append(
            Command(text, start, end, keyword, name, nodes, form.name, form.args, form.values, form.is_json, form.fault)
        )
        if form.name != "instruction":
            return tuple(found)
        text, start, end = args_text, begin, stop


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in SPACES:
        start += 1
    while end > start and text[end - 1] in SPACES:
        end -= 1
    return start, end
