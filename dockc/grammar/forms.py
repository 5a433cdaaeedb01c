"""The forms of arguments: JSON, words, assignments, a line.

One function per form; each runs its rule of `dockerfile.lark` and says what the arguments mean. Facts from
BuildKit's frontend/dockerfile/parser/line_parsers.go and split_command.go.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.golang.strings import SPACES, quote, runes
from dockc.grammar.cst import Fault, FlagNode, Token
from dockc.grammar.lalr import Failure, Parser
from dockc.grammar.source import decode, encode
from dockc.grammar.tables import DOCKERFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"
_MAX_DEPTH = 10000  # of Go's encoding/json
_SEPARATORS = frozenset({"BLANKS", "SPACE", "FLAG_SPACE"})
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_JSON_ESCAPE = pattern(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_BYTE_SPACES = ("\udc85", "\udca0")
_PAIRS = pattern("([\ud800-\udbff])([\udc00-\udfff])")
_PARSERS: dict[tuple[str, bool], Parser] = {}


class Form(NamedTuple):
    """Arguments read: tokens, what they mean (None: unknown), and what is wrong."""

    name: str
    args: tuple[Token, ...]
    values: tuple[str, ...] | None
    is_json: bool = False
    fault: Fault | None = None


EMPTY = Form("empty", (), ())


def parser(escape: str, ascii_only: bool) -> Parser:
    """The instruction grammar for an escape character."""
    key = (escape, ascii_only)
    found = _PARSERS.get(key)
    if found is None:
        found = _PARSERS[key] = Parser(DOCKERFILE, escape, ascii_only)
    return found


def tokens(rule: str, text: str, start: int, end: int, escape: str) -> tuple[list[Token], Failure | int]:
    """Run a rule over `text[start:end]`; separators are left out."""
    found: list[Token] = []
    body = text if end == len(text) else text[:end]

    def take(kind: str, value: str, begin: int, stop: int) -> None:
        if kind not in _SEPARATORS:
            found.append(Token(kind, value, begin, stop))

    return found, parser(escape, text.isascii()).run(rule, body, start, take)


def row(terminal: str, text: str, start: int, end: int, escape: str) -> list[Token]:
    """The tokens of a rule `(terminal | separator)*` whose two terminals begin with all characters there are.

    Nothing can fail there, so one expression finds what the states of the grammar would.
    """
    found = parser(escape, text.isascii()).terminal(terminal).finditer(text, start, end)
    return [Token(terminal, match[0], match.start(), match.end()) for match in found]


def keyword(text: str, start: int, end: int, escape: str) -> tuple[Token, int]:
    """The rule `instruction`: the keyword, and where what follows it begins."""
    known = parser(escape, text.isascii())
    match = known.terminal("KEYWORD").match(text, start, end)
    if match is None:
        return Token("KEYWORD", "", start, start), start
    at = match.end()
    blanks = known.terminal("BLANKS").match(text, at, end)
    return Token("KEYWORD", match[0], start, at), at if blanks is None else blanks.end()


# Flags


def flags(text: str, start: int, end: int, escape: str) -> tuple[tuple[FlagNode, ...], str, int, int]:
    """The flags at `start`, and where the arguments go on: (flags, text, start, end).

    The reference reads flags byte by byte. So a text that is not ASCII is looked at as bytes, and a flag's
    characters beyond ASCII come out as one character per byte. Where a flag ends inside of a character, the
    remainder cannot be a slice of `text`, and another text is returned for it.
    """
    if not text.startswith("--", start) and text[start : start + 1] not in _BYTE_SPACES:
        return (), text, start, end
    if text.isascii():
        nodes, at = _flags(text, start, end, escape)
        return nodes, text, at, end
    data = encode(text[start:end])
    view = data.decode("latin-1")
    raw, at = _flags(view, 0, len(view), escape)
    ends = list(accumulate(len(encode(char)) for char in text[start:end]))
    # A place inside of a character counts as its end.
    offsets = [
        start + (bisect_left(ends, n) + 1 if n else 0) for node in raw for n in (node.token.start, node.token.end)
    ]
    placed = tuple(
        FlagNode(Token(node.token.kind, text[a:b], a, b), node.text)
        for node, a, b in zip(raw, offsets[::2], offsets[1::2], strict=True)
    )
    rest = decode(data[at:])
    begin = end - len(rest)
    if text[begin:end] == rest:
        return placed, text, begin, end
    prefix = text[:start].ljust(max(0, begin))[: max(0, begin)]
    return placed, prefix + rest, len(prefix), len(prefix) + len(rest)


def _flags(text: str, start: int, end: int, escape: str) -> tuple[tuple[FlagNode, ...], int]:
    found, outcome = tokens("flags", text, start, end, escape)
    at = outcome.offset if isinstance(outcome, Failure) else outcome
    nodes = []
    for token in found:
        value = _unquoted_flag(token.value, escape)
        if value != "--":
            nodes.append(FlagNode(token, value))
    return tuple(nodes), at


def _unquoted_flag(text: str, escape: str) -> str:
    """A flag without its quotes and escapes; an escape works inside of either quotes."""
    if not ("'" in text or '"' in text or escape in text):
        return text
    out: list[str] = []
    inside = ""
    chars = iter(text)
    for char in chars:
        if char == escape:
            out.append(next(chars, ""))
        elif char == inside:
            inside = ""
        elif not inside and char in "'\"":
            inside = char
        else:
            out.append(char)
    return "".join(out)


# Arguments


def line(text: str, start: int, end: int, escape: str) -> Form:
    """All of it as one argument."""
    if start == end:
        return EMPTY
    value = text[start:end]
    return Form("line", (Token("LINE", value, start, end),), (value,))


def words(text: str, start: int, end: int, escape: str) -> Form:
    """Arguments between blanks; quotes mean nothing."""
    if start == end:
        return EMPTY
    found = row("WORD", text, start, end, escape)
    return Form("words", tuple(found), tuple(token.value for token in found))


def healthcheck(text: str, start: int, end: int, escape: str) -> Form:
    """A type and a command line. The type ends at the first byte that is space, be it inside of a character."""
    data = b"" if text.isascii() else encode(text[start:end])
    view, shift = (data.decode("latin-1"), start) if data else (text[:end], 0)
    found, outcome = tokens("healthcheck", view, start - shift, len(view), escape)
    if not found:
        return EMPTY
    at = outcome if isinstance(outcome, int) else len(view)
    if data:
        rest = decode(data[at:])
        name = decode(data[: found[0].end])
        kind = Token("HEALTH_TYPE", name, start, min(start + len(name), end - len(rest)))
        text, at = text[:end][: -len(rest) or None] + rest, end - len(rest)
        end = len(text)
    else:
        kind = found[0]
    command = json_or_line(text, at, end, escape)
    values = None if command.values is None else (kind.value, *command.values)
    return Form("healthcheck", (kind, *command.args), values, command.is_json, command.fault)


def json_or_line(text: str, start: int, end: int, escape: str) -> Form:
    """The exec form if it is a JSON array, else the shell form."""
    return json(text, start, end) or line(text, start, end, escape)


def json_or_words(text: str, start: int, end: int, escape: str) -> Form:
    """A JSON array of paths, else paths between blanks."""
    return json(text, start, end) or words(text, start, end, escape)


def assignments(text: str, start: int, end: int, escape: str, command: str) -> Form:
    """`key=value ...` or the legacy `key value`; three values each: key, value, `=` or ""."""
    found = _assignments(text, start, end, escape)
    if not found:
        return EMPTY
    values: list[str] = []
    if "=" not in found[0][1]:
        parts, outcome = tokens("legacy_assignment", text, start, end, escape)
        if isinstance(outcome, Failure):
            fault = Fault(
                "missing-value",
                f"{command} must have two arguments",
                start,
                end,
                f"write {command} name=value",
            )
            return Form("legacy", tuple(parts), None, False, fault)
        return Form("legacy", tuple(parts), (parts[0].value, parts[1].value, ""))
    args: list[Token] = []
    for token, value in found:
        if "=" not in value:
            fault = Fault(
                "missing-equals",
                f"Syntax error - can't find = in {quote(value)}. Must be of the form: name=value",
                token.start,
                token.end,
                "quote the value if it has spaces",
            )
            return Form("assignments", tuple(t for t, _ in found), None, False, fault)
        args.append(token)
        key, _, rest = value.partition("=")
        values += (key, rest, "=")
    return Form("assignments", tuple(args), tuple(values))


def names(text: str, start: int, end: int, escape: str) -> Form:
    """`name`, `name=value` between space; quotes and escapes stay, but hold words together."""
    found = _assignments(text, start, end, escape)
    if not found:
        return EMPTY
    return Form("names", tuple(token for token, _ in found), tuple(value for _, value in found))


def _assignments(text: str, start: int, end: int, escape: str) -> list[tuple[Token, str]]:
    """Words and their values: an escape at the very end is dropped, and then perhaps no word is left."""
    found = row("ASSIGNMENT", text, start, end, escape)
    if not found:
        return []
    pairs = [(token, runes(token.value)) for token in found]
    token, value = pairs[-1]
    if token.end == end and value.endswith(escape) and _ends_escaped(value, escape):
        pairs[-1] = (token, value[:-1])
        if value == escape:
            pairs.pop()
    return pairs


def _ends_escaped(value: str, escape: str) -> bool:
    """Whether the last character, an escape, is one in force: not escaped itself, not in single quotes."""
    inside = ""
    at = 0
    while at < len(value):
        char = value[at]
        if char == escape and inside != "'":
            if at == len(value) - 1:
                return True
            at += 1
        elif char == inside:
            inside = ""
        elif not inside and char in "'\"":
            inside = char
        at += 1
    return False


# JSON


def json(text: str, start: int, end: int) -> Form | None:
    """The exec form, or None where the text is no JSON array (which is no error)."""
    while start < end and text[start] in SPACES:
        start += 1
    if not text.startswith("[", start, end):
        return None
    found: list[Token] = []
    depth = deepest = 0
    overflow = False
    other: Token | None = None

    def take(kind: str, value: str, begin: int, stop: int) -> None:
        nonlocal depth, deepest, overflow, other
        if kind == "JSON_OPEN" or kind == "JSON_BRACE_OPEN":
            depth += 1
            deepest = max(depth, deepest)
        elif kind == "JSON_CLOSE" or kind == "JSON_BRACE_CLOSE":
            depth -= 1
        elif kind == "JSON_NUMBER":
            overflow = overflow or float(value) in (float("inf"), float("-inf"))
        value = value.rstrip(" \t\r\n")
        token = Token(kind, value, begin, begin + len(value))
        plain = kind == "JSON_STRING" and depth == 1
        if not plain and other is None and depth and (depth > 1 or kind in ("JSON_NUMBER", "JSON_WORD")):
            other = token
        found.append(token)

    body = text if end == len(text) else text[:end]
    outcome = parser("\\", True).run("json", body, start, take)
    if isinstance(outcome, Failure) or outcome != end or deepest > _MAX_DEPTH or overflow:
        return None
    if other is not None:
        fault = Fault("json-not-strings", NOT_STRINGS, other.start, other.end, "put the value in double quotes")
        return Form("json", tuple(found), None, False, fault)
    values = tuple(json_string(token.value) for token in found if token.kind == "JSON_STRING")
    return Form("json", tuple(found), values, True)


def json_string(literal: str) -> str:
    """The value of a JSON string literal, quotes included; halves of surrogate pairs become U+FFFD."""
    value = runes(literal[1:-1])
    if "\\" not in value:
        return value

    def put(match: re.Match[str]) -> str:
        if match.group(1):
            return chr(int(match.group(1), 16))
        return _ESCAPES.get(match.group(2), match.group(2))

    def join(match: re.Match[str]) -> str:
        high, low = (ord(half) for half in match.groups())
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    return runes(_PAIRS.sub(join, _JSON_ESCAPE.sub(put, value)))
