"""The grammar files are the owner of the syntax: the driver in `lalr` reads every text as Lark itself does with the same files."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark, Token

from dockc.compiler.syntax.build_ast import build_ast
from dockc.grammar import generate
from dockc.grammar.lalr import Failure, Grammar, Parser
from dockc.grammar.options import options
from dockc.grammar.parser import parse
from dockc.grammar.source import Source
from dockc.grammar.tables import DOCKERFILE, WORD

TABLES: dict[str, Grammar] = {"word": WORD, "dockerfile": DOCKERFILE}
STARTS = [(stem, start) for stem, starts in generate.GRAMMARS.items() for start in starts]
#: Characters and pieces that mean something to one of the rules.
PIECES = (
    *"\\'\"$<{}[](),:;=-+?#%/@*! \tab09_|^",
    "${", "${a", ":-", ":?", "##", "%%", "//", "<<", "<<-", "--a=b", "--", "\n", "\r", "\x0b", "\x0c", "null", "true", "1e9", "-0", "\\u00e9", "key=value",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@cache
def _lark(stem: str) -> Lark:
    return generate.load(stem)


@cache
def _driver(stem: str) -> Parser:
    return Parser(TABLES[stem], "\\", ascii_only=True)


@cache
def _scanner(stem: str, names: frozenset[str]) -> re.Pattern[str]:
    """Some terminals as one expression, in the order in which Lark tries them."""
    terminals = [terminal for terminal in _lark(stem).terminals if terminal.name in names]
    terminals.sort(key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
    return re.compile("|".join(f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in terminals))


def by_lark(stem: str, start: str, text: str) -> list[tuple[str, str]] | None:
    """The tokens of a text in order, or None where it is not of the rule.

    At each place just those terminals are looked for that Lark's parser can take there. (The lexer that comes with Lark asks the state
    alone, and after `${x}` that speaks for words, arguments and patterns at once.)
    """
    parser = _lark(stem).parse_interactive("", start=start)
    accepts: Callable[[], set[str]] = parser.accepts
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        names = frozenset(accepts()) - {"$END"}
        found = _scanner(stem, names).match(text, at) if names else None
        if not found:
            return None
        kind, value = str(found.lastgroup), found.group()
        tokens.append((kind, value))
        parser.feed_token(Token(kind, value))
        at += len(value)
    return tokens if "$END" in accepts() else None


def by_tables(stem: str, start: str, text: str) -> list[tuple[str, str]] | None:
    """The same from the generated tables. A prefix is enough for the driver, but not here."""
    tokens: list[tuple[str, str]] = []
    outcome = _driver(stem).run(start, text, 0, lambda kind, value, begin, end: tokens.append((kind, value)))
    return None if isinstance(outcome, Failure) or outcome < len(text) else tokens


@pytest.mark.parametrize(("stem", "start"), STARTS)
@settings(max_examples=80, deadline=None)
@given(text=texts)
def test_any_text_is_read_alike(stem: str, start: str, text: str) -> None:
    assert by_tables(stem, start, text) == by_lark(stem, start, text)


@settings(max_examples=200, deadline=None)
@given(text=st.lists(st.sampled_from(("a", "=", ",", " ", "\n", "\r\n", "type=bind", "'")), min_size=1, max_size=8).map("".join))
def test_options_without_quotes_take_a_short_way_to_the_same(text: str) -> None:
    body = re.sub(r"\r?\n\Z", "", text)
    tokens = by_lark("dockerfile", "options", body)
    assert tokens is not None
    fields = [""]
    for kind, value in tokens:
        if kind == "OPTION_COMMA":
            fields.append("")
        else:
            fields[-1] = value
    if body:
        assert [option.text for option in options(text)] == fields


SAMPLES = {
    "word": ("", "a'b'\"c$d\"${e:-${f#*/}}\\$g<<h", "${x/a/b}${x//a/b}", "${x:?no}${x%%y}$$", "'open", "${x", "${}", '"${a:-"b"}"'),
    "plain": ("'a\" $b ${c+'d'}", "${x/'/\"}"),
    "instruction": ("FROM alpine", "RUN", ""),
    "flags": ("--a=b --c '--d'", "--mount=type=bind,'a b' -- x", "--''"),
    "words": ("a b\tc", ""),
    "line": ("any thing\\", ""),
    "assignments": ("a=b c='d e' f=\"g \\\" h\" i=j\\ k", "a"),
    "legacy_assignment": ("KEY some value", "KEY"),
    "healthcheck": ("CMD x", "NONE"),
    "json": ('["a", "b\\u0041\\n"]', '[]', '[1, {"a": [null, true]}, -1.5e3]', '["a",]', "['a']"),
    "heredoc": ("<<EOF", "3<<-'E F'", "<<", "a<<b"),
    "options": ("type=bind,source=a", 'a,"b,""c",d', ",", '"a', 'a"b'),
}  # fmt: skip


@pytest.mark.parametrize(("stem", "start"), STARTS)
def test_samples_are_read_alike(stem: str, start: str) -> None:
    for text in SAMPLES[start]:
        assert by_tables(stem, start, text) == by_lark(stem, start, text), text
    assert any(by_lark(stem, start, text) is not None for text in SAMPLES[start])


def test_the_conformance_files_are_read_alike(shared: Path) -> None:
    """Every token that the parser takes from the files of the suite is one that Lark takes, rule by rule."""
    seen = 0
    for path in sorted(shared.glob("conformance/llb/*/*/Dockerfile"))[::5]:
        if path.stat().st_size > 20_000:
            continue
        source = Source("Dockerfile", path.read_bytes())
        if not source.text.isascii():
            continue
        file = parse(source).file
        if file.escape != "\\":
            continue
        for node in file.instructions:
            for command in node.commands:
                arguments = command.text[command.args[0].start : command.args[-1].end] if command.args else ""
                start = {"words": "words", "line": "line", "json": "json", "assignments": "assignments", "names": "assignments"}.get(command.form)
                if start is not None:
                    assert by_lark("dockerfile", start, arguments) == by_tables("dockerfile", start, arguments) != None, arguments  # noqa: E711
                    seen += 1
        result = build_ast(parse(source)).dockerfile
        for stage in result.stages if result else ():
            for instruction in stage.instructions:
                for word in instruction.args:
                    assert by_lark("word", "word", word.text) == by_tables("word", "word", word.text), word.text
    assert seen > 200
