"""Instructions that a forgotten backslash has made part of the one before.

    RUN apt-get clean && \\
        rm -rf /tmp/x \\

    RUN cat /etc/os-release         is part of the first RUN, which removes files of these names
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.grammar.cst import InstructionNode
from dockc.grammar.source import Source, Span

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL",
    "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_ANY = pattern(rf"^[ \t]*(?:{'|'.join(KEYWORDS)})[ \t]", 8)  # re.MULTILINE
_BEGINS = pattern(rf"[ \t]*({'|'.join(KEYWORDS)})[ \t]+[^\s=]")


class Swallowed(NamedTuple):
    """A line that begins like an instruction and is none.

    Attributes:
        keyword: what it begins with.
        line: its number.
        span: the keyword's place.
        joined: the line whose escape character joins it to the instruction above.
        escape: the place of that character, with the space before it.
    """

    keyword: str
    line: int
    span: Span
    joined: int
    escape: Span


def swallowed(node: InstructionNode, source: Source, escape: str) -> tuple[Swallowed, ...]:
    """Such lines of one instruction: in upper case, behind an empty line or a comment, or at the beginning of a line as
    instructions stand.

    What stands between quotes is text.
    """
    logical = node.logical
    if logical.first == logical.last or not _ANY.search(
        source.text, source.line_span(logical.first).end, source.line_span(logical.last).end
    ):
        return ()
    found: list[Swallowed] = []
    before, gap = logical.first, False
    quote = _quote(source.line_text(before), "", escape)
    for number in range(logical.first + 1, logical.last + 1):
        text = source.line_text(number)
        bare = text.strip()
        if not bare or bare.startswith("#"):
            gap = True
            continue
        match = _BEGINS.match(text)
        if match is not None and not quote and (gap or match.start(1) == 0):
            start = source.line_span(number).start + match.start(1)
            found.append(
                Swallowed(match[1], number, Span(start, start + len(match[1])), before, _escape(source, before, escape))
            )
        quote = _quote(text, quote, escape)
        before, gap = number, False
    return tuple(found)


def _escape(source: Source, number: int, escape: str) -> Span:
    """The escape character at the end of a line, and the space around it."""
    line = source.line_span(number)
    text = source.text[line.start : line.end]
    end = len(text.rstrip())
    at = text.rfind(escape, 0, end)
    return (
        Span(line.start + len(text[:at].rstrip()), line.start + end)
        if at >= 0
        else Span(line.start + end, line.start + end)
    )


def _quote(text: str, quote: str, escape: str) -> str:
    """The quote that is open behind a line."""
    at = 0
    while at < len(text):
        char = text[at]
        if char in {escape, "\\"} and quote != "'":
            at += 1
        elif char in "'\"" and not quote:
            quote = char
        elif char == quote:
            quote = ""
        at += 1
    return quote
