"""Words: quotes, escapes and every `$` form, expanded against an environment.

The rules are those of BuildKit's shell lexer (frontend/dockerfile/shell), near to those of a POSIX shell, but not
the same: `$x`, `${x}`, `${x:-w}`, `${x-w}`, `${x:+w}`, `${x+w}`, `${x:?w}`, `${x?w}`, `${x#p}`, `${x##p}`,
`${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`.

A word is parsed once by the tables of `word.lark` into a straight program for a machine with a stack of buffers,
and run for each environment. The reference expands all parts of a substitution, also those it then drops, so a
program has no branches; nesting is depth of the stack, never recursion.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.errors import DockcError
from dockc.golang.strings import SPACE, SPACES, quote, runes
from dockc.grammar.lalr import Failure, Parser
from dockc.grammar.tables import WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Most characters that variables may add to one word. The reference has no limit, so that a few lines of
#: `ENV A=$A$A` fill its memory; no system could start a process with an environment of this size.
MAX_EXPANSION = 1 << 24

#: Kinds of errors.
UNSET, QUOTE, TOO_LARGE = "unset-variable", "unclosed-quote", "too-large"
MODIFIER, EMPTY, SLASH, BRACE, PATTERN = (
    f"bad-substitution/{way}" for way in ("modifier", "empty", "slash", "brace", "pattern")
)

MISSING_BRACE = "syntax error: missing '}'"
MISSING_SLASH = "syntax error: missing '/' in ${}"
_TOO_LARGE = f"variables add more than {MAX_EXPANSION} characters"
_SPACE_RUNS = pattern(f"([{SPACE}]+)")
_NO_RUNE = "\ufffd"  # how the reference shows the end of the text where it wanted a character


class WordError(DockcError):
    """A word that cannot be expanded; the message is the reference's own, `failed to process "...": ...`.

    Attributes:
        kind: one of the codes below, with the way to go wrong after a slash.
        name: the variable or modifier that it is about, or "".
        matched, unmatched: variables asked for up to the error, found and not found.
    """

    def __init__(
        self,
        message: str,
        kind: str,
        name: str = "",
        matched: frozenset[str] = frozenset(),
        unmatched: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name
        self.matched = matched
        self.unmatched = unmatched


class Expanded(NamedTuple):
    """An expanded word.

    Attributes:
        result: the text.
        matched: names of variables that were found.
        unmatched: names that were not, in the order in which they were asked for.
    """

    result: str
    matched: frozenset[str]
    unmatched: tuple[str, ...]


class _Op(NamedTuple):
    """One step of a program.

    Attributes:
        code: what to do.
        text: the literal text, the variable's name, or the message.
        how: the modifier as written; for a variable, the form to leave when it is unset and may stay.
        blame: what the reference says instead, whatever goes wrong in this step: where the text ends here, it
            blames the first substitution that is still open. "" elsewhere.
        kind, name: of the error, for a step that fails.
    """

    code: int
    text: str = ""
    how: str = ""
    blame: str = ""
    kind: str = ""
    name: str = ""


# Codes of steps. TEXT may be split at space, RAW may not.
_TEXT, _RAW, _VAR, _OPEN, _SLASH, _CLOSE, _QUOTE, _UNQUOTE, _FAIL = range(9)

_Program = tuple[_Op, ...]
_Rope = list["str | _Rope"]

_PARSERS: dict[tuple[str, bool], Parser] = {}
_PROGRAMS: dict[tuple[bool, bool, bool, str], dict[str, _Program]] = {}
_CACHE_ENTRIES = 4096
_CACHE_TEXT = 4096


class _Stop(Exception):
    """Something went wrong in a step: the message without its wrapping, the kind of error, and what it is about."""

    def __init__(self, message: str, kind: str, name: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name


class Lex:
    """An expander: an escape character and options. Immutable and safe to share.

    Args:
        escape: the file's escape character, backslash or backtick.
        raw_quotes: keep quote characters.
        raw_escapes: keep escape characters.
        skip_process_quotes: quotes are ordinary characters.
        skip_unset_env: `$x` of an unset `x` stays as written.
    """

    def __init__(
        self,
        escape: str = "\\",
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        skip_process_quotes: bool = False,
        skip_unset_env: bool = False,
    ) -> None:
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.skip_process_quotes = skip_process_quotes
        self.skip_unset_env = skip_unset_env
        self._special = frozenset(f"${escape}" if skip_process_quotes else f"$'\"{escape}")
        self._programs = _PROGRAMS.setdefault((raw_quotes, raw_escapes, skip_process_quotes, escape), {})

    def expand(self, text: str, env: Mapping[str, str]) -> Expanded:
        """The whole text as one word, and the names of the variables it asked for. Raises WordError."""
        if self._is_plain(text):
            return Expanded(text, _NONE, ())
        matched: set[str] = set()
        unmatched: dict[str, None] = {}
        result = self._run(text, env, matched, unmatched, None)
        return Expanded(result, frozenset(matched), tuple(unmatched))

    def word(self, text: str, env: Mapping[str, str]) -> str:
        """The whole text as one word. Raises WordError."""
        if self._is_plain(text):
            return text
        return self._run(text, env, set(), {}, None)

    def words(self, text: str, env: Mapping[str, str]) -> list[str]:
        """The text split into words at unquoted space, after expansion. Raises WordError."""
        words = _Words()
        self._run(text, env, set(), {}, words)
        return words.finish()

    def _is_plain(self, text: str) -> bool:
        """Whether the text stands for itself, so that it need not be parsed."""
        return text.isascii() and self._special.isdisjoint(text)

    def _run(
        self, text: str, env: Mapping[str, str], matched: set[str], unmatched: dict[str, None], words: _Words | None
    ) -> str:
        try:
            return _Machine(env, self.skip_unset_env, matched, unmatched, words).run(self._program(text))
        except _Stop as stop:
            message = f"failed to process {quote(text)}: {stop}"
            raise WordError(message, stop.kind, stop.name, frozenset(matched), tuple(unmatched)) from None

    def _program(self, text: str) -> _Program:
        program = self._programs.get(text)
        if program is None:
            program = _compile(self, text)
            if len(text) <= _CACHE_TEXT:
                if len(self._programs) >= _CACHE_ENTRIES:
                    self._programs.clear()
                self._programs[text] = program
        return program


_NONE: frozenset[str] = frozenset()


def expand(text: str, env: Mapping[str, str], escape: str = "\\") -> Expanded:
    """Expand one word with the default options. Raises WordError."""
    return Lex(escape).expand(text, env)


# Text to program


class _Frame(NamedTuple):
    """An open substitution with a modifier; `raw`: escape characters stay in its argument."""

    name: str
    how: str
    raw: bool


class _Emitter:
    """Turns tokens into steps. Its state: the program so far, the open substitutions, the last name read."""

    def __init__(self, lex: Lex, text: str) -> None:
        self.lex = lex
        self.text = text
        self.end = 0
        self.name = ""
        self.ops: list[_Op] = []
        self.frames: list[_Frame] = []
        self.first_in_pattern = False  # the outermost open substitution is still before its second slash

    def token(self, kind: str, value: str, start: int, end: int) -> None:
        self.end = end
        _HANDLERS[kind](self, value)

    def blame(self, at: int) -> str:
        """What is blamed for an error after which reading would go on at `at`."""
        if at < len(self.text) or not self.frames:
            return ""
        return MISSING_SLASH if self.first_in_pattern else MISSING_BRACE

    def fail(self, message: str, at: int, kind: str, name: str = "") -> None:
        self.ops.append(_Op(_FAIL, message, "", self.blame(at), kind, name))

    def raw(self) -> bool:
        return self.frames[-1].raw if self.frames else self.lex.raw_escapes

    def plain(self, value: str) -> None:
        self.ops.append(_Op(_TEXT, value))

    def unsplit(self, value: str) -> None:
        self.ops.append(_Op(_RAW, value))

    def escaped(self, value: str) -> None:
        self.unsplit(value if self.raw() else value[1:])

    def single_quoted(self, value: str) -> None:
        self.unsplit(value if self.lex.raw_quotes else value[1:-1])

    def double_open(self, value: str) -> None:
        self.ops.append(_Op(_QUOTE))
        if self.lex.raw_quotes:
            self.unsplit(value)

    def double_close(self, value: str) -> None:
        if self.lex.raw_quotes:
            self.unsplit(value)
        self.ops.append(_Op(_UNQUOTE))

    def double_escaped(self, value: str) -> None:
        if len(value) == 2:
            self.unsplit(value if self.raw() else value[1:])
        else:  # before an ordinary character an escape stands for itself; when escapes are kept, twice
            self.unsplit(value * 2 if self.raw() else value)

    def variable(self, value: str) -> None:
        self.ops.append(_Op(_VAR, value[1:], value))

    def brace_open(self, value: str) -> None:
        self.name = ""

    def set_name(self, value: str) -> None:
        self.name = value

    def modifier(self, value: str) -> None:
        self.open(_Frame(self.name, value, value in ("#", "%")))

    def replace(self, value: str) -> None:
        if not self.frames:
            self.first_in_pattern = True
        self.open(_Frame(self.name, value, True))

    def open(self, frame: _Frame) -> None:
        self.frames.append(frame)
        self.name = ""
        self.ops.append(_Op(_OPEN))

    def slash(self, value: str) -> None:
        if len(self.frames) == 1:
            self.first_in_pattern = False
        self.ops.append(_Op(_SLASH))

    def brace_close(self, value: str) -> None:
        if self.name:  # `${name}`: no modifier came after the name
            self.ops.append(_Op(_VAR, self.name, f"${{{self.name}}}"))
            self.name = ""
        else:
            frame = self.frames.pop()
            self.ops.append(_Op(_CLOSE, frame.name, frame.how, self.blame(self.end)))


_HANDLERS = {
    "TEXT": _Emitter.plain,
    "ARGUMENT_TEXT": _Emitter.plain,
    "PATTERN_TEXT": _Emitter.plain,
    "PLAIN_TEXT": _Emitter.plain,
    "PLAIN_ARGUMENT_TEXT": _Emitter.plain,
    "PLAIN_PATTERN_TEXT": _Emitter.plain,
    "DOLLAR": _Emitter.plain,
    "DOUBLE_TEXT": _Emitter.unsplit,
    "HEREDOC": _Emitter.unsplit,
    "ESCAPED": _Emitter.escaped,
    "SINGLE_QUOTED": _Emitter.single_quoted,
    "DOUBLE_OPEN": _Emitter.double_open,
    "DOUBLE_CLOSE": _Emitter.double_close,
    "DOUBLE_ESCAPED": _Emitter.double_escaped,
    "VARIABLE": _Emitter.variable,
    "BRACE_OPEN": _Emitter.brace_open,
    "NAME": _Emitter.set_name,
    "MODIFIER": _Emitter.modifier,
    "BARE_MODIFIER": _Emitter.modifier,
    "REPLACE": _Emitter.replace,
    "SLASH": _Emitter.slash,
    "BRACE_CLOSE": _Emitter.brace_close,
}


def _compile(lex: Lex, text: str) -> _Program:
    """The program of a text; a syntax error becomes its last step, since what stands before it runs first."""
    ascii_only = text.isascii()
    if not ascii_only:
        text = runes(text).removeprefix("\ufeff")
    key = (lex.escape, ascii_only)
    parser = _PARSERS.get(key)
    if parser is None:
        parser = _PARSERS[key] = Parser(WORD, lex.escape, ascii_only)
    emitter = _Emitter(lex, text)
    outcome = parser.run("plain" if lex.skip_process_quotes else "word", text, 0, emitter.token)
    if not isinstance(outcome, Failure) and outcome < len(text):
        outcome = Failure(outcome, frozenset({"SINGLE_QUOTED"}))  # all else is ordinary text out here
    if isinstance(outcome, Failure):
        _blame_syntax(emitter, text, outcome)
    return tuple(emitter.ops)


def stop(lex: Lex, text: str) -> tuple[int, int] | None:
    """Start and end of what is broken in a word: a substitution, or a quote up to the end; None where nothing is."""
    opened: list[tuple[str, int]] = []

    def take(kind: str, value: str, start: int, end: int) -> None:
        if kind in ("BRACE_OPEN", "DOUBLE_OPEN"):
            opened.append((kind, start))
        elif kind in ("BRACE_CLOSE", "DOUBLE_CLOSE"):
            opened.pop()

    plain = runes(text)
    rule = "plain" if lex.skip_process_quotes else "word"
    outcome = Parser(WORD, lex.escape, text.isascii()).run(rule, plain, 0, take)
    if isinstance(outcome, int):
        return (outcome, len(text)) if outcome < len(text) else None
    at, expected = outcome
    begin = next((start for kind, start in reversed(opened) if kind == "BRACE_OPEN"), at)
    if "NAME" in expected or "MODIFIER" in expected:
        return begin, min(at + (2 if plain[at : at + 1] == ":" else 1), len(text))
    if "DOUBLE_CLOSE" in expected:
        return opened[-1][1], len(text)
    return (at if plain[at : at + 1] == "'" else begin), len(text)


def _blame_syntax(emitter: _Emitter, text: str, failure: Failure) -> None:
    at, expected = failure
    char = text[at : at + 1] or _NO_RUNE
    if "NAME" in expected:
        if at == len(text):
            emitter.fail(MISSING_BRACE, at, BRACE)
        elif char in "{}:":
            emitter.fail("syntax error: bad substitution", at, EMPTY)
        else:
            emitter.fail(f"unsupported modifier ({char}) in substitution", at + 1, MODIFIER, char)
    elif "MODIFIER" in expected:
        if char == ":":
            char = text[at : at + 2]
        emitter.fail(f"unsupported modifier ({char}) in substitution", at + len(char), MODIFIER, char)
    elif "DOUBLE_CLOSE" in expected or ("SINGLE_QUOTED" in expected and char == "'"):
        which = "double" if "DOUBLE_CLOSE" in expected else "single"
        emitter.fail(f"unexpected end of statement while looking for matching {which}-quote", len(text), QUOTE)
    else:
        emitter.fail(MISSING_BRACE, len(text), BRACE)


# Program and environment to text


class _Words:
    """Splits at space, as the reference does it: one buffer, which an inner substitution empties."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.buffer: list[str] = []
        self.in_word = False

    def text(self, text: str) -> None:
        for part in _SPACE_RUNS.split(text):
            if part and part[0] in SPACES:
                if self.in_word and self.buffer:
                    self.done.append("".join(self.buffer))
                    self.buffer.clear()
                    self.in_word = False
            elif part:
                self.raw(part)

    def raw(self, text: str) -> None:
        if text:
            self.buffer.append(text)
        self.in_word = True

    def finish(self) -> list[str]:
        if self.buffer:
            self.done.append("".join(self.buffer))
            self.buffer.clear()
        return self.done


class _Machine:
    """Runs a program. Its state is the stack of texts being built; texts are ropes until they must be whole."""

    def __init__(
        self,
        env: Mapping[str, str],
        skip_unset: bool,
        matched: set[str],
        unmatched: dict[str, None],
        words: _Words | None,
    ) -> None:
        self.env = env
        self.skip_unset = skip_unset
        self.matched = matched
        self.unmatched = unmatched
        self.words = words
        self.stack: list[_Rope] = [[]]
        self.room = MAX_EXPANSION

    def run(self, program: _Program) -> str:
        stack = self.stack
        for op in program:
            code = op.code
            if code <= _RAW:
                self.put(op.text, code == _TEXT)
            elif code == _VAR:
                value = self.get(op.text)
                self.put(op.how if value is None and self.skip_unset else value or "", True)
            elif code == _UNQUOTE:
                self.put(_flat(stack.pop()), False)
            elif code == _CLOSE:
                try:
                    self.close(op.text, op.how)
                except _Stop as stop:
                    raise _blamed(op.blame, stop) from None
            elif code == _FAIL:
                raise _blamed(op.blame, _Stop(op.text, op.kind, op.name))
            else:  # OPEN, SLASH, QUOTE
                stack.append([])
                if self.words is not None and code != _QUOTE:
                    self.words.buffer.clear()
        return _flat(stack[0])

    def put(self, text: str | _Rope, split: bool) -> None:
        self.stack[-1].append(text)
        if self.words is not None and len(self.stack) == 1:
            if isinstance(text, list):
                text = _flat(text)
            (self.words.text if split else self.words.raw)(text)

    def get(self, name: str) -> str | None:
        value = self.env.get(name)
        self.room -= len(value or "")
        if self.room < 0:
            raise _Stop(_TOO_LARGE, TOO_LARGE)
        if value is None:
            self.unmatched[name] = None
        else:
            self.matched.add(name)
        return value

    def close(self, name: str, how: str) -> None:
        """Finish `${name<how>...}`: the argument, and for a replacement the pattern before it, are on the stack."""
        argument = self.stack.pop()
        if self.words is not None:
            self.words.buffer.clear()
        if how[0] == "/":
            self.put(self.replaced(name, how, _flat(self.stack.pop()), _flat(argument)), True)
            return
        value = self.get(name)
        if value is None and self.skip_unset:
            self.put(f"${{{name}{how}{_flat(argument)}}}", True)
            return
        missing = value is None or (how[0] == ":" and not value)
        kind = how[-1]
        if kind == "-":
            self.put(argument if missing else value or "", True)
        elif kind == "+":
            self.put("" if missing else argument, True)
        elif kind == "?":
            if missing:
                default = "is not allowed to be " + ("unset" if value is None else "empty")
                raise _Stop(f"{name}: {_flat(argument) or default}", UNSET, name)
            self.put(value or "", True)
        elif how in ("#", "%"):
            self.put(_trimmed(how, _flat(argument), value or ""), True)
        else:
            raise _Stop(f"unsupported modifier ({how}) in substitution", MODIFIER, how)

    def replaced(self, name: str, how: str, pattern: str, replacement: str) -> str:
        from dockc.grammar.pattern import BadPattern, compile_pattern, replace

        value = self.get(name)
        if value is None and self.skip_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        try:
            result = replace(compile_pattern(pattern), value or "", replacement, how == "//", self.room)
            self.room -= len(result)
            return result
        except OverflowError:
            raise _Stop(_TOO_LARGE, TOO_LARGE) from None
        except BadPattern as bad:
            raise _Stop(f"invalid pattern ({pattern}) in substitution: {bad}", PATTERN, name) from None


def _blamed(instead: str, stop: _Stop) -> _Stop:
    """What is blamed: the substitution that is still open, or what went wrong itself."""
    if not instead:
        return stop
    return _Stop(instead, SLASH if instead == MISSING_SLASH else BRACE)


def _flat(rope: _Rope) -> str:
    """The text of a rope, without recursion."""
    if len(rope) == 1 and isinstance(rope[0], str):
        return rope[0]
    out: list[str] = []
    todo: list[str | _Rope] = [rope]
    while todo:
        piece = todo.pop()
        if isinstance(piece, str):
            out.append(piece)
        else:
            todo.extend(reversed(piece))
    return "".join(out)


def _trimmed(how: str, word: str, value: str) -> str:
    """`${x#word}` and `${x%word}`; a doubled sign asks for the longest match."""
    from dockc.grammar.pattern import BadPattern, compile_pattern, match_prefix

    greedy = word.startswith(how)
    if greedy:
        word = word[1:]
    if how == "%":  # the shortest match at the end is found by looking from the end
        word, value = _reversed_pattern(word), runes(value)[::-1]
    try:
        pattern = compile_pattern(word)
    except BadPattern as bad:
        raise _Stop(f"invalid pattern ({word}) in substitution: {bad}", PATTERN) from None
    end = match_prefix(pattern, value, greedy)
    rest = value[end:] if end > 0 else value
    return rest[::-1] if how == "%" else rest


def _reversed_pattern(pattern: str) -> str:
    """Last character first, a backslash staying before what it escapes."""
    out: list[str] = []
    at, last = 0, len(pattern) - 1
    while at <= last:
        size = 2 if pattern[at] == "\\" and at != last else 1
        out.append(pattern[at : at + size])
        at += size
    return "".join(reversed(out))
