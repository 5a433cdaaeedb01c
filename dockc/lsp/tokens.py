"""Semantic tokens: what the words of a Dockerfile are, for an editor to colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dockc.grammar.cst import CommentLine, DirectiveLine
from dockc.grammar.source import Span
from dockc.lsp.features import Document

#: In the order of their numbers in the protocol.
TYPES = ("keyword", "parameter", "namespace", "variable", "comment", "macro", "string")
MODIFIERS = ("declaration",)


class Token(NamedTuple):
    """A stretch of one line."""

    span: Span
    type: str
    declares: bool = False


def tokens(document: Document) -> tuple[Token, ...]:
    """All tokens in order; none overlaps another or goes over a line's end."""
    found = sorted(_all(document), key=lambda t: (t.span.start, -t.span.end))
    out: list[Token] = []
    for token in found:
        for span in _lines(document, token.span):
            if not out or span.start >= out[-1].span.end:
                out.append(Token(span, token.type, token.declares))
    return tuple(out)


def _all(document: Document) -> Iterator[Token]:
    for item in document.front.parsed.file.items:
        if isinstance(item, DirectiveLine):
            yield Token(item.span, "macro")
        elif isinstance(item, CommentLine):
            yield Token(item.span, "comment")
    for entry in document.context.entries:
        node = entry.node
        for command in node.commands:
            yield Token(node.logical.span(command.keyword.start, command.keyword.end), "keyword")
            for flag in command.flags:
                name = flag.text.partition("=")[0]
                yield Token(node.logical.span(flag.token.start, flag.token.start + len(name)), "parameter")
            if command.is_json:
                yield from (
                    Token(node.logical.span(t.start, t.end), "string") for t in command.args if t.kind == "JSON_STRING"
                )
        yield from _comments(document, node.logical.first, node.logical.last)
        for one in node.heredocs:
            yield Token(one.end, "keyword")
    names = document.names
    for site in names.stage_sites:
        yield Token(site.span, "namespace", site.defines)
    for site in names.variable_sites:
        yield Token(site.span, "variable", site.defines)
    for _, from_ in names.froms:
        if from_ is not None and from_.as_word is not None:
            yield Token(from_.as_word.span, "keyword")


def _comments(document: Document, first: int, last: int) -> Iterator[Token]:
    """Comment lines within an instruction."""
    for number in range(first + 1, last):
        text = document.source.line_text(number)
        if text.lstrip().startswith("#"):
            start = document.source.line_span(number).start + len(text) - len(text.lstrip())
            yield Token(Span(start, start + len(text.strip())), "comment")


def _lines(document: Document, span: Span) -> Iterator[Span]:
    """A span's parts, one a line, without space and line ends at their ends."""
    at = span.start
    for line in document.source.text[span.start : span.end].splitlines(keepends=True):
        bare = line.strip(" \t\r\n\ufeff")
        if bare:
            start = at + line.index(bare)
            yield Span(start, start + len(bare))
        at += len(line)
