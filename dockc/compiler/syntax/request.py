"""What the instruction readers share: an instruction as a request, its flags checked, errors on their places.

Source: BuildKit's frontend/dockerfile/instructions (bflag.go, parse.go).
"""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.compiler.suggest import nearest
from dockc.compiler.syntax.ast import Flag, Heredoc, LintFact, Word
from dockc.compiler.syntax.mounts import suggested, ties
from dockc.errors import CompileError, Fault, SyntaxFailure
from dockc.golang.strings import lower, trim
from dockc.grammar.cst import Command, InstructionNode, Token
from dockc.grammar.diagnostic import Applicability, Diagnostic, Edit, Fix
from dockc.grammar.source import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    _Place = Callable[[int, int], Span]

#: Kinds of flags: with true or false, with one value, with any number of values.
BOOL, STRING, STRINGS = "bool", "string", "strings"

#: What to write where the arguments are missing.
USAGE = {
    "ARG": "write ARG NAME, or ARG NAME=DEFAULT",
    "ENV": "write ENV NAME=VALUE",
    "EXPOSE": "write EXPOSE PORT, such as 8080 or 53/udp",
    "HEALTHCHECK": "write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
    "LABEL": "write LABEL name=value",
    "MAINTAINER": "write LABEL org.opencontainers.image.authors=NAME: MAINTAINER is deprecated",
    "ONBUILD": "write ONBUILD and the instruction that the next build is to run",
    "SHELL": 'write SHELL ["program", "argument"]',
    "STOPSIGNAL": "write STOPSIGNAL NAME, such as SIGTERM",
    "USER": "write USER NAME, or USER NAME:GROUP",
    "VOLUME": "write VOLUME /path",
    "WORKDIR": "write WORKDIR /path",
}


class Rejected(Exception):
    """An instruction that the reference refuses.

    Attributes:
        error: message, suggestion, alternatives.
        code, span, help: for a diagnostic.
        fixable: where the span may be replaced by the suggestion: what to write before it; else None.
    """

    def __init__(
        self, error: CompileError | str, span: Span, code: str, help_: str = "", fixable: str | None = None
    ) -> None:
        self.error = error if isinstance(error, CompileError) else CompileError(error, fault=Fault(code))
        super().__init__(self.error.message)
        self.span = span
        self.code = code
        self.help = help_
        self.fixable = fixable

    def failure(self, prefix: str = "", location: tuple[tuple[int, int], ...] | None = None) -> SyntaxFailure:
        """The reference's error."""
        error = self.error
        return SyntaxFailure(
            prefix + error.message,
            fault=Fault(self.code, Word("", self.span)),
            locations=(location,) if location else (),
            suggestion=error.suggestion,
            alternatives=tuple(prefix + message for message in error.alternatives),
            hint=self.help,
        )

    def diagnostic(self, lines: tuple[int, int]) -> Diagnostic:
        """The same for people, on the exact words."""
        error, wanted = self.error, self.error.suggestion
        fix = None
        if wanted and self.fixable is not None:
            fix = Fix(f"write {wanted}", (Edit(self.span, self.fixable + wanted),), Applicability.UNSAFE)
        return Diagnostic(
            self.code,
            error.message.removesuffix(f" (did you mean {wanted}?)"),
            self.span,
            help=self.help or (f"did you mean {self.fixable or ''}{wanted}?" if wanted else ""),
            fix=fix,
            lines=lines,
            suggestion=wanted,
        )


class Request(NamedTuple):
    """What the functions below work from.

    Attributes:
        node, command: of the CST.
        name: keyword in upper case.
        args: the arguments; for ENV and LABEL key, value and delimiter in turn.
        base: fields that all AST classes share.
        facts: where lint facts go.
    """

    node: InstructionNode
    command: Command
    name: str
    args: tuple[Word, ...]
    base: dict[str, Any]
    facts: list[LintFact]

    def reject(self, message: CompileError | str, code: str, span: Span | None = None, help_: str = "") -> Rejected:
        """An error on a span, or on the whole instruction."""
        return Rejected(message, span or self.base["span"], code, help_)

    def fact(self, rule: str, message: str) -> None:
        """Note a lint fact on this instruction."""
        self.facts.append(LintFact(rule, message, self.node.lines, self.node.comments))


# Words, spans, flags


def make_request(node: InstructionNode, command: Command, facts: list[LintFact]) -> Request:
    """The request of an instruction, or of one inside of an ONBUILD."""
    logical = node.logical
    span = logical.span
    keyword = command.keyword
    size = len(logical.text)

    place: _Place = span
    if len(command.text) > size:  # another text than the line's: places are near, and never outside

        def near(start: int, end: int) -> Span:
            return span(min(start, size), min(end, size))

        place = near
    flags = tuple(_flag(flag.text, place(flag.token.start, flag.token.end)) for flag in command.flags)
    whole = place(command.start, command.end)
    heredocs: tuple[Heredoc, ...] = ()
    if node.heredocs:
        heredocs = tuple(Heredoc(h.name, h.content, h.chomp, h.expand, h.fd, h.body) for h in node.heredocs)
        whole = Span(whole.start, max(whole.end, node.heredocs[-1].end.end))
    args = _args(node, command, place)
    base: dict[str, Any] = {
        "name": keyword.value,
        "name_span": place(keyword.start, keyword.end),
        "code": trim(logical.text) if command is node.commands[0] else trim(command.text[command.start :]),
        "lines": node.lines,
        "span": whole,
        "comments": node.comments,
        "flags": flags,
        "args": args,
        "heredocs": heredocs,
    }
    return Request(node, command, command.name, args, base, facts)


def _args(node: InstructionNode, command: Command, place: _Place) -> tuple[Word, ...]:
    """The arguments as the reference's instruction phase sees them."""
    values, tokens = command.values, command.args
    assert values is not None, "an instruction with a fault has no arguments"
    form = command.form
    if form == "words" or form == "line" or form == "names":
        return tuple(Word(v, place(t.start, t.end)) for v, t in zip(values, tokens, strict=True))
    if command.is_json:
        tokens = tuple(t for t in tokens if t.kind == "JSON_STRING" or t.kind == "HEALTH_TYPE")
        return tuple(Word(v, place(t.start, t.end)) for v, t in zip(values, tokens, strict=True))
    if form == "assignments":
        return tuple(_assigned(values, tokens, place))
    if form == "instruction":
        inner = node.commands[node.commands.index(command) + 1 :]
        words = [Word(c.keyword.value, place(c.keyword.start, c.keyword.end)) for c in inner]
        return (*words, *_args(node, inner[-1], place))
    here = place(command.end, command.end)
    spans = [place(t.start, t.end) for t in tokens]
    return tuple(Word(v, spans[at] if at < len(spans) else here) for at, v in enumerate(values))


def _assigned(values: tuple[str, ...], tokens: tuple[Token, ...], place: _Place) -> list[Word]:
    """Key, value and delimiter of each `key=value`."""
    words = []
    for at, token in enumerate(tokens):
        key, value, delimiter = values[3 * at : 3 * at + 3]
        cut = token.start + len(key)
        words.append(Word(key, place(token.start, cut)))
        words.append(Word(value, place(cut + 1, token.end)))
        words.append(Word(delimiter, place(cut, cut + 1)))
    return words


def _flag(text: str, span: Span) -> Flag:
    name, equals, value = text[2:].partition("=")
    if not equals:
        return Flag(text, name, None, span, None)
    return Flag(text, name, value, span, Span(min(span.start + len(name) + 3, span.end), span.end))


class Flags(NamedTuple):
    """Checked flags: values of those that were used, in order of first use."""

    used: Mapping[str, list[str]]

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag."""
        return self.used[name][-1] if name in self.used else default

    def true(self, name: str) -> bool:
        """Whether a flag was given, and not as false."""
        return self.text(name) == "true"

    def maybe(self, name: str) -> bool | None:
        """True or false, or None where the flag was not given."""
        return self.true(name) if name in self.used else None


def check_flags(request: Request, known: Mapping[str, str]) -> Flags:
    """Check the flags of an instruction against the known ones (name to kind). Raises Rejected."""
    used: dict[str, list[str]] = {}
    for flag in request.base["flags"]:
        name, value = flag.name, flag.value
        shown = f"--{name}"
        kind = known.get(name)
        if kind is None:
            options = tuple(sorted(known))
            best = nearest(name, options)
            error = suggested(f"unknown flag: {shown}", best, Fault("unknown-flag"), ties(name, best, options))
            help_ = "" if best or not options else f"{request.name} takes " + ", ".join(f"--{o}" for o in options)
            raise Rejected(error, flag_name_span(flag), "unknown-flag", help_, "--")
        if name in used and kind != STRINGS:
            message = f"duplicate flag specified: {shown}"
            raise request.reject(message, "duplicate-flag", flag_name_span(flag), "keep one of them")
        if (value is None and kind != BOOL) or (value == "" and kind == BOOL):
            help_ = f"write {shown}=VALUE" if kind != BOOL else f"write {shown}, or {shown}=false"
            raise request.reject(f"missing a value on flag: {shown}", "missing-flag-value", flag_name_span(flag), help_)
        if kind == BOOL:
            word = lower(value or "true")
            if word not in ("true", "false"):
                message = f"expecting boolean value for flag {shown}, not: {value}"
                raise request.reject(message, "bad-flag-value", flag.value_span, "write true or false")
            value = word
        used.setdefault(name, []).append(value or "")
    return Flags(used)


def word_part(word: Word, start: int, end: int) -> Span:
    """A part of a word's place; all of it where quotes or continuations were removed and the places are not known."""
    if word.span.end - word.span.start != len(word.text):
        return word.span
    return Span(word.span.start + start, word.span.start + max(end, start + 1))


def flag_name_span(flag: Flag) -> Span:
    """The place of `--name`."""
    return Span(flag.span.start, min(flag.span.start + 2 + len(flag.name), flag.span.end))


def flag_word(request: Request, flags: Flags, name: str) -> Word:
    """The value of a flag with its place, or an empty word at the keyword's end."""
    if name in flags.used:
        flag = next(f for f in reversed(request.base["flags"]) if f.name == name)
        return Word(flags.text(name), flag.value_span or flag.span)
    end = request.base["name_span"].end
    return Word("", Span(end, end))


def flag_words(request: Request, name: str) -> tuple[Word, ...]:
    """All values of a flag that may come more than once."""
    return tuple(Word(f.value or "", f.value_span or f.span) for f in request.base["flags"] if f.name == name)


def exactly_one(request: Request) -> Word:
    """The only argument. Raises Rejected for none or more."""
    if len(request.args) != 1:
        message = f"{request.name} requires exactly one argument"
        raise request.reject(message, "argument-count", None, USAGE.get(request.name, ""))
    return request.args[0]


def at_least_one(request: Request) -> None:
    """Raises Rejected where there are no arguments."""
    if not request.args:
        message = f"{request.name} requires at least one argument"
        raise request.reject(message, "argument-count", None, USAGE.get(request.name, ""))
