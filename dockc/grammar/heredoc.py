"""Heredoc openers: `<<NAME`, `<<-NAME`, `3<<"NAME"`.

Facts from BuildKit's frontend/dockerfile/parser: openers are looked for in the words of the whole line, quotes and
escapes kept; a delimiter with any part quoted leaves the body as it is.
"""

from __future__ import annotations

from dockc.base.memo import remembered
from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.grammar.lalr import Parser
from dockc.grammar.tables import DOCKERFILE
from dockc.grammar.word import Lex, WordError

_LINE = Lex("\\", raw_quotes=True, raw_escapes=True, skip_unset_env=True)
_PLAIN = Lex("\\", skip_unset_env=True)
_QUOTED = Lex("\\", raw_quotes=True, skip_unset_env=True)
_PARSER = Parser(DOCKERFILE, "\\", True)
_TABS = pattern(r"(?m)^\t+")


class Opener(NamedTuple):
    """An opener: delimiter without quotes, descriptor, `<<-`, and whether the delimiter was unquoted."""

    name: str
    fd: int
    chomp: bool
    expand: bool


@remembered(1024)
def parse_opener(word: str) -> Opener | None:
    """Read a word as an opener; None where it is none. Raises WordError for unbalanced quotes."""
    if "<<" not in word:
        return None
    parts: dict[str, str] = {}

    def take(kind: str, value: str, start: int, end: int) -> None:
        parts[kind] = value

    if _PARSER.run("heredoc", word, 0, take) != len(word):
        return None
    rest = parts["HEREDOC_NAME"]
    words = _PLAIN.words(rest, {})
    if len(words) != 1:
        return None
    raw = _QUOTED.words(rest, {})
    if len(raw) != 1:
        raise WordError(f"internal lexing of heredoc produced inconsistent results: {rest}", "bad-heredoc")
    name = words[0]
    digits = parts.get("HEREDOC_FD", "").lstrip("0")
    fd = 2**64 - 1 if len(digits) > 20 else min(int(digits or "0"), 2**64 - 1)
    return Opener(name, fd, parts["HEREDOC_OPEN"].startswith("<<-"), _quotes(name) == _quotes(raw[0]))


def openers(line: str) -> list[Opener]:
    """All openers of a logical line. A line that does not split into words has none. Raises WordError."""
    try:
        words = _LINE.words(line, {})
    except WordError:
        return []
    return [opener for word in words if (opener := parse_opener(word))]


def chomp(body: str) -> str:
    """The body without the tabs at the start of its lines."""
    return _TABS.sub("", body)


def _quotes(word: str) -> int:
    return word.count("'") + word.count('"')
