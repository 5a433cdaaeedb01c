"""The forms of arguments, heredocs, limits and recovery."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.grammar import cst, forms
from dockc.grammar.cst import Command, InstructionNode
from dockc.grammar.heredoc import Opener, chomp, parse_opener
from dockc.grammar.lalr import Parser
from dockc.grammar.parser import KEYWORDS, parse
from dockc.grammar.scanner import MAX_LINE
from dockc.grammar.source import Source


def node(text: str) -> InstructionNode:
    return next(parse(Source.from_text(text)).file.instructions)


def command(text: str) -> Command:
    return node(text).commands[-1]


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ("RUN a  b ", "line", ("a  b",)),
        ("RUN", "empty", ()),
        ('RUN ["a", "b"]', "json", ("a", "b")),
        ('RUN [ "a" , ]', "line", ('[ "a" , ]',)),
        ("RUN ['a']", "line", ("['a']",)),
        ('CMD ["\\u00e9\\ud83d\\ude00\\ud83d\\n\\/"]', "json", ("é😀\ufffd\n/",)),
        ("CMD []", "json", ()),
        ('CMD ["a"] x', "line", ('["a"] x',)),
        ("CMD [1e999]", "line", ("[1e999]",)),
        ("COPY a\tb\vc", "words", ("a", "b", "c")),
        ("COPY a\xa0b c", "words", ("a\xa0b", "c")),
        ("ENV a=b c='d e' f=\"g\\\" h\" i=j\\ k", "assignments", ("a", "b", "=", "c", "'d e'", "=", "f", '"g\\" h"', "=", "i", "j\\ k", "=")),
        ("ENV a=b\xa0c=d", "assignments", ("a", "b", "=", "c", "d", "=")),
        ("ENV a b  c=d", "legacy", ("a", "b  c=d", "")),
        ("ENV 'a b' c", "legacy", ("'a", "b' c", "")),
        ('ENV "a=b" c=d', "assignments", ('"a', 'b"', "=", "c", "d", "=")),
        ("ARG a b=c 'd e'=f", "names", ("a", "b=c", "'d e'=f")),
        ("HEALTHCHECK CMD  a b", "healthcheck", ("CMD", "a b")),
        ('HEALTHCHECK cmd ["a"]', "healthcheck", ("cmd", "a")),
        ("ONBUILD RUN a", "line", ("a",)),
        ("FOO bar baz", "unknown", ("",)),
    ],
)
def test_forms(text: str, form: str, values: tuple[str, ...]) -> None:
    found = command(text)
    assert (found.form, found.values) == (form, values)


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("RUN --a=b --c d", ["--a=b", "--c"], ("d",)),
        ("RUN --a='b c'\"d\"\\ e f", ["--a=b cd e"], ("f",)),
        ("RUN -- --a b", [], ("--a b",)),
        ("RUN --\"\" --a b", [], ("--a b",)),
        ("RUN --a -b", ["--a"], ("-b",)),
        ("RUN --a='open b", ["--a=open b"], ()),
        ("RUN --é=ü x", ["--\xc3\xa9=\xc3\xbc"], ("x",)),
        ("RUN --x=à b", ["--x=\xc3"], ("b",)),
    ],
)
def test_flags(text: str, flags: list[str], rest: tuple[str, ...]) -> None:
    found = command(text)
    assert [flag.text for flag in found.flags] == flags
    assert found.values == rest


def test_backtick_escape() -> None:
    found = command("# escape=`\nENV a=b` c d=\\ ")
    assert found.values == ("a", "b` c", "=", "d", "\\", "=")


@pytest.mark.parametrize(
    ("word", "opener"),
    [
        ("<<EOF", Opener("EOF", 0, False, True)),
        ("<<-EOF", Opener("EOF", 0, True, True)),
        ("<<'E F'", Opener("E F", 0, False, False)),
        ('3<<-"E"', Opener("E", 3, True, False)),
        ("<< EOF", Opener("EOF", 0, False, True)),
        ("<<E\"O\"F", Opener("EOF", 0, False, False)),
        ("<<<x", None),
        ("<<", None),
        ("x<<EOF", None),
        ("<<$x", Opener("$x", 0, False, True)),
        ("99999999999999999999999<<E", Opener("E", 2**64 - 1, False, True)),
    ],
)
def test_heredoc_openers(word: str, opener: Opener | None) -> None:
    assert parse_opener(word) == opener


def test_heredoc_bodies() -> None:
    found = node("RUN a <<A 2<<-'B'\n1\nA\n\t2\n\tB\nFROM x")
    assert [(h.name, h.content, h.expand, h.chomp, h.fd) for h in found.heredocs] == [
        ("A", "1\n", True, False, 0),
        ("B", "\t2\n", False, True, 2),
    ]
    assert found.lines == (1, 5)
    assert chomp("\t\ta\n b\n\tc") == "a\n b\nc"


def test_reading_goes_on_after_a_heredoc_without_end() -> None:
    parsed = parse(Source.from_text("FROM a\nRUN <<X\nfrom here\nCOPY a b\nENV x\n"))
    assert [item.command.keyword.value for item in parsed.file.instructions] == ["FROM", "RUN", "COPY", "ENV"]
    assert [d.code for d in parsed.diagnostics] == ["unterminated-heredoc", "missing-value"]
    assert parsed.diagnostics[0].lines == (2, 5)


@pytest.mark.parametrize("extra", [0, 1])
def test_line_limit(extra: int) -> None:
    body = "FROM a\nRUN " + "x" * (MAX_LINE - 5 + extra)
    parsed = parse(Source.from_text(body + "\nRUN y\n"))
    assert [d.code for d in parsed.diagnostics] == ["line-too-long"] * extra
    read = [item for item in parsed.file.instructions if not item.command.fault]
    assert len(read) == 3 - extra
    assert cst.text(parsed.file) == body + "\nRUN y\n"
    assert (("unread", MAX_LINE) in [(p.kind, len(p.text)) for p in cst.pieces(parsed.file)]) == bool(extra)
    parsed = parse(Source.from_text(body))
    assert [d.code for d in parsed.diagnostics] == ["line-too-long"] * extra


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.text(), max_size=5), st.booleans())
def test_json_lists_of_strings(texts: list[str], ascii_only: bool) -> None:
    literal = json.dumps(texts, ensure_ascii=ascii_only)
    found = forms.json(literal, 0, len(literal))
    assert found is not None
    assert found.values == tuple(texts)


@given(st.lists(values, max_size=5), st.sampled_from(["", " ", "\t"]))
def test_json_in_general(data: list[object], space: str) -> None:
    literal = json.dumps(data, indent=None, separators=(f",{space}", f"{space}:{space}"))
    found = forms.json(literal, 0, len(literal))
    assert found is not None
    strings = all(isinstance(value, str) for value in data)
    assert (found.fault is None) == strings
    assert forms.json(literal + ",", 0, len(literal) + 1) is None


def test_depth_of_json_is_the_reference_s() -> None:
    for depth, is_json in ((10000, True), (10001, False)):
        text = "[" * depth + "]" * depth
        assert (forms.json(text, 0, len(text)) is not None) == is_json


def test_states_that_need_no_lookahead_have_none() -> None:
    from dockc.grammar.tables import DOCKERFILE, WORD

    for grammar in (DOCKERFILE, WORD):
        for actions in grammar.states:
            assert "*" not in actions or len(actions) == 1
        Parser(grammar, "`", False)


KINDS = {
    "ADD": "ADD --chown=1 a b /c",
    "ARG": "ARG a b=c",
    "CMD": 'CMD ["a", "b"]',
    "COPY": "COPY --from=x a /b",
    "ENTRYPOINT": "ENTRYPOINT a b",
    "ENV": "ENV a=b c='d e'",
    "EXPOSE": "EXPOSE 80 90",
    "FROM": "FROM --platform=x a AS b",
    "HEALTHCHECK": "HEALTHCHECK --interval=1s CMD a b",
    "LABEL": "LABEL a b c",
    "MAINTAINER": "MAINTAINER some one",
    "ONBUILD": "ONBUILD COPY --link a b",
    "RUN": "RUN --mount=type=cache,target=/x a && b",
    "SHELL": 'SHELL ["a"]',
    "STOPSIGNAL": "STOPSIGNAL INT",
    "USER": "USER a",
    "VOLUME": 'VOLUME ["/a", "/b"]',
    "WORKDIR": "WORKDIR /a b",
}


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_every_kind_of_node(keyword: str) -> None:
    """Print, positions, order, reading back, and the same node when it is broken into lines."""
    text = KINDS[keyword]
    found = node(text)
    source = Source.from_text(text)
    tokens = list(cst.node_tokens(found))
    assert "".join(piece.text for piece in cst.pieces(parse(source).file)) == text
    assert [source.slice(span) for _, span in tokens] == [
        token.value for c in found.commands for token in (c.keyword, *(f.token for f in c.flags), *c.args)
    ]
    assert all(a[1].end <= b[1].start for a, b in pairwise(tokens))
    assert node(text) == found
    broken = node(text.replace(" ", " \\\n  # why\n"))
    assert [c.values for c in broken.commands] == [c.values for c in found.commands]
    assert [[f.text for f in c.flags] for c in broken.commands] == [[f.text for f in c.flags] for c in found.commands]
    assert broken.lines == (1, 1 + 2 * text.count(" "))


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM a\n{}", "dockerfile line greater than max allowed size of 65535", 1),
        ("FROM a\nRUN b \\\n{}", "dockerfile line greater than max allowed size of 65535", 3),
        ("FROM a\nRUN b \\\nENV {}", "ENV must have two arguments", 3),
        ("FROM a\nRUN b \\\n# {}", "dockerfile line greater than max allowed size of 65535", 3),
        ("FROM a\nRUN b \\\nRUN <<E {}", "unterminated heredoc", 3),
    ],
)
def test_a_long_line_after_a_continuation_is_read_as_far_as_it_fits(text: str, message: str, line: int) -> None:
    first = parse(Source.from_text(text.format("x" * 70000))).diagnostics[0]
    assert (first.message, first.lines) == (message, (line, line))


def test_many_heredocs_without_end_are_all_found() -> None:
    text = "FROM a\nRUN <<A\nRUN <<B\nx\nB\nRUN <<-A\nRUN <<C\n\tB\nRUN <<B\nC\n"
    parsed = parse(Source.from_text(text))
    assert [(d.code, d.lines) for d in parsed.diagnostics] == [
        ("unterminated-heredoc", (2, 10)),
        ("unterminated-heredoc", (6, 10)),
    ]


_PIECES = st.text(alphabet="aZ-=\"'\\` \t\v\f\x1c\x85\xa0é\udc85#[]$\n", max_size=30)


@given(_PIECES, st.sampled_from("\\`"))
def test_rows_are_what_the_tables_say(text: str, escape: str) -> None:
    """Rules that are rows of one terminal are read without the tables, and read alike."""
    for rule, terminal in (("words", "WORD"), ("assignments", "ASSIGNMENT")):
        expected, outcome = forms.tokens(rule, text, 0, len(text), escape)
        assert forms.row(terminal, text, 0, len(text), escape) == expected
        assert outcome == len(text)
    header, _ = forms.tokens("instruction", text, 0, len(text), escape)
    if header:
        keyword, end = forms.keyword(text, 0, len(text), escape)
        assert [keyword] == header
        assert not text[end:].startswith(("\t", "\v", "\f", "\r", " "))
