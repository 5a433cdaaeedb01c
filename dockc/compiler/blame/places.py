"""The words that an error is about: each function looks at one instruction and gives a place in it, or None."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.compiler.syntax.ast import (
    Add,
    Copy,
    Dockerfile,
    Env,
    From,
    Instruction,
    Label,
    Run,
    ShellDependent,
    SourcesAndDest,
    Word,
)
from dockc.golang.strings import quote
from dockc.grammar.options import BadOptions, options
from dockc.grammar.source import Source, Span
from dockc.grammar.word import Lex, stop

_MODIFIER = pattern(r"unsupported modifier \((.+)\) in")


class Case(NamedTuple):
    """What a place is looked for in.

    Attributes:
        source, dockerfile: the file.
        instruction: the one that the error is about; for an error without lines, each in turn.
        match: the message's match with the row's pattern.
        message: the message without its suggestion.
    """

    source: Source
    dockerfile: Dockerfile
    instruction: Instruction
    match: re.Match[str]
    message: str


Place = Callable[[Case], Span | None]


def source_span(instruction: Instruction) -> Span:
    """The instruction without the bodies of its heredocs."""
    start, end = instruction.span
    if instruction.heredocs:
        end = max(start + 1, min(one.span.start for one in instruction.heredocs) - 1)
    return Span(start, end)


# --- pieces of an instruction


def words(instruction: Instruction) -> Iterator[Word]:
    """Everything of an instruction that is expanded, in order of place; pairs give their values."""
    for flag in instruction.flags:
        if flag.value is not None and flag.value_span is not None:
            yield Word(flag.value, flag.value_span)
    if isinstance(instruction, Env | Label):
        for pair in instruction.pairs:
            yield pair.key
            yield pair.value
        return
    for pair in getattr(instruction, "pairs", ()):
        if pair.value is not None:
            yield pair.value
    yield from instruction.args


def part(source: Source, word: Word, start: int, end: int) -> Span:
    """A part of a word; where the text under it is not the word's own (quotes, continuations), as far as it can be found there."""
    under = source.slice(word.span)
    if under != word.text:
        wanted = word.text[start:end]
        return find(source, word, wanted) if under.count(wanted) == 1 else word.span
    return Span(word.span.start + start, min(word.span.start + max(end, start + 1), max(word.span.end, word.span.start + start)))


def find(source: Source, word: Word, text: str) -> Span:
    """The first place of a text in a word; all of the word where it does not stand there as it is."""
    at = source.slice(word.span).find(text) if text else -1
    return Span(word.span.start + at, word.span.start + at + len(text)) if at >= 0 else word.span


# --- places


def all_of_it(case: Case) -> Span | None:
    """The whole instruction."""
    return source_span(case.instruction)


def nowhere(case: Case) -> Span | None:
    """No words of their own."""
    return None


def base(case: Case) -> Span | None:
    """What an image is asked for by: the base of FROM, `--from` of COPY or of a mount."""
    match case.instruction:
        case From():
            return case.instruction.base.span
        case Copy() if case.instruction.from_.text:
            return case.instruction.from_.span
        case Run():
            name = case.match[1] if case.match.re.groups else ""
            spans = [span for mount in case.instruction.mounts for span in _options(case, mount, "from", name)]
            return spans[0] if spans else None
    return None


def stage_platform(case: Case) -> Span | None:
    """The platform of FROM."""
    return case.instruction.platform.span if isinstance(case.instruction, From) else None


def flag(name: str) -> Place:
    """The value of a flag."""

    def place(case: Case) -> Span | None:
        found = case.instruction.flag(name)
        return None if found is None else found.value_span or found.span

    return place


def copy_from(case: Case) -> Span | None:
    """`--from` of a COPY, with the value that the message names."""
    if not isinstance(case.instruction, Copy) or not case.instruction.from_.text:
        return None
    wanted = case.match[1] if case.match.re.groups else ""
    word = case.instruction.from_
    return word.span if not wanted or word.text == wanted or quote(word.text) == wanted else None


def argument(case: Case) -> Span | None:
    """The argument that holds what the message names, else one that is not constant, else all of them."""
    args = case.instruction.args
    if not args:
        return None
    named = [group for group in case.match.groups() if group]
    for text in named:
        for word in args:
            if word.text == text or quote(word.text) == text:
                return word.span
    for text in named:
        for word in args:
            if text in word.text:
                return find(case.source, word, text)
    changing = next((word for word in args if "$" in word.text), None)
    return changing.span if changing else Span(args[0].span.start, args[-1].span.end)


def destination(case: Case) -> Span | None:
    """Where COPY and ADD write to, and where WORKDIR goes."""
    if isinstance(case.instruction, SourcesAndDest):
        return case.instruction.dest.span
    return argument(case)


def remote_source(case: Case) -> Span | None:
    """The source of COPY or ADD that looks like an address."""
    if not isinstance(case.instruction, SourcesAndDest):
        return None
    sources = case.instruction.sources
    remote = next((word for word in sources if "://" in word.text or word.text.startswith(("git@", "github.com/"))), None)
    chosen = remote or next((word for word in sources if "$" in word.text), None)
    return chosen.span if chosen else None


def checksum(case: Case) -> Span | None:
    """The checksum of an ADD."""
    return case.instruction.checksum.span if isinstance(case.instruction, Add) and case.instruction.checksum.text else None


def exec_form(case: Case) -> Span | None:
    """A RUN whose JSON array is empty."""
    instruction = case.instruction
    if isinstance(instruction, ShellDependent) and not instruction.prepend_shell and not instruction.cmdline:
        return source_span(instruction)
    return None


def last_line(case: Case) -> Span | None:
    """The last instruction of the file: what is missing is missing after it."""
    if case.dockerfile.meta_args and case.instruction is case.dockerfile.meta_args[-1]:
        return source_span(case.instruction)
    return None


# --- words that do not expand


def expanded(case: Case) -> Span | None:
    """The word that the message quotes, and in it the substitution or the quote that is wrong."""
    quoted, reason = case.match[1], case.match[2]
    for word in words(case.instruction):
        if quote(word.text) == quoted:
            return _wrong(case, word, reason)
    if isinstance(case.instruction, Run):
        for mount in case.instruction.mounts:
            for option in _read(mount):
                _, _, value = option.text.partition("=")
                if quote(value) == quoted:
                    start = option.end - len(value)
                    return _wrong(case, Word(value, part(case.source, mount, start, option.end)), reason)
    for heredoc in case.instruction.heredocs:
        if heredoc.expand and reason:
            return _wrong(case, Word(heredoc.content, heredoc.span), reason, plain=True)
    if isinstance(case.instruction, From):
        return case.instruction.base.span
    return None


def _wrong(case: Case, word: Word, reason: str, *, plain: bool = False) -> Span:
    name, colon, _ = reason.partition(":")
    if colon and not reason.startswith("syntax error"):
        at = word.text.find(f"${{{name}")
        if at >= 0:
            close = word.text.find("}", at)
            return part(case.source, word, at, close + 1 if close >= 0 else len(word.text))
    if modifier := _MODIFIER.match(reason):
        used = re.search(rf"\$\{{\w*{re.escape(modifier[1])}[^{{}}]*\}}?", word.text)
        if used:
            return part(case.source, word, *used.span())
    place = stop(Lex(case.dockerfile.escape, skip_process_quotes=plain), word.text)
    return word.span if place is None else part(case.source, word, *place)


# --- mounts


def _read(mount: Word) -> list[_Option]:
    try:
        return [_Option(*option) for option in options(mount.text)]
    except BadOptions:
        return []


class _Option(NamedTuple):
    text: str
    start: int
    end: int


def _options(case: Case, mount: Word, key: str, value: str = "") -> list[Span]:
    """Values of an option of a mount."""
    found = []
    for option in _read(mount):
        name, equals, given = option.text.partition("=")
        if name.lower() == key and (not value or given == value or quote(given) == value):
            found.append(part(case.source, mount, option.end - len(given) if equals else option.start, option.end))
    return found


def _mounts(case: Case) -> tuple[Word, ...]:
    return case.instruction.mounts if isinstance(case.instruction, Run) else ()


def refused_mount(case: Case) -> Word | None:
    """The mount that is refused with just this message, else one with variables."""
    from dockc.compiler.syntax.mounts import parse_mount
    from dockc.errors import CompileError

    for mount in _mounts(case):
        try:
            parse_mount(mount.text, _as_is)
        except CompileError as error:
            if error.message.startswith(case.message):
                return mount
    changing = [mount for mount in _mounts(case) if "$" in mount.text]
    return changing[0] if changing else None


def _as_is(text: str) -> str:
    return text


def mount(case: Case) -> Span | None:
    """The value of the mount that is refused."""
    found = refused_mount(case)
    return found.span if found else None


def mount_option(case: Case) -> Span | None:
    """The option of the refused mount that the message's first group names: as a whole, by its value, or by its key."""
    found = refused_mount(case)
    if found is None:
        return None
    name = case.match[1]
    for wanted in (_is_whole, _is_value, _is_key):
        for option in _read(found):
            key, _, value = option.text.partition("=")
            if wanted(name, option.text, key, value):
                start = option.end - len(value) if wanted is _is_value else option.start
                end = option.start + len(key) if wanted is _is_key else option.end
                return part(case.source, found, start, end)
    return found.span


def mount_key(case: Case) -> Span | None:
    """The key of the option that the message names as a whole."""
    span = mount_option(case)
    return span and Span(span.start, span.start + len(case.source.slice(span).partition("=")[0]))


def _is_whole(name: str, text: str, key: str, value: str) -> bool:
    return name == text


def _is_value(name: str, text: str, key: str, value: str) -> bool:
    return bool(value) and (name == value or name == quote(value))


def _is_key(name: str, text: str, key: str, value: str) -> bool:
    return name == key.lower()


def mount_target(case: Case) -> Span | None:
    """The target that is the root, or the mount that names none."""
    for one in _mounts(case):
        targets = [s for key in ("target", "dst", "destination") for s in _options(case, one, key)]
        kinds = {option.text.lower() for option in _read(one)}
        if not targets and not kinds & {"type=secret", "type=ssh"}:
            return one.span
        for span in targets:
            if case.source.slice(span).strip("/.") == "":
                return span
    return None


def mount_of(kind: str, *keys: str) -> Place:
    """The mount of a type, or an option of it."""

    def place(case: Case) -> Span | None:
        for one in _mounts(case):
            if kind in {option.text.lower() for option in _read(one)}:
                spans = [span for key in keys for span in _options(case, one, key)]
                return spans[0] if spans else one.span
        return None

    return place


def mount_from(case: Case) -> Span | None:
    """`from=` of a mount, with the value that the message names."""
    for one in _mounts(case):
        for span in _options(case, one, "from", case.match[1]):
            return span
    return None


# --- directives


def directive(name: str) -> Place:
    """The value of a parser directive, or the part of it that the message quotes."""

    def place(case: Case) -> Span | None:
        found = case.dockerfile.directives.get(name)
        if found is None:
            return None
        text = case.source.slice(found.span)
        at = text.find(found.value, text.find("=") + 1) if found.value else 0
        word = Word(found.value, Span(found.span.start + at, found.span.start + at + len(found.value)))
        return find(case.source, word, case.match[1]) if case.match.re.groups and case.match[1] else word.span

    return place

