"""The concrete syntax tree: every character of the file in its place.

A `File` is a row of items (instructions, comments, directives, blank lines) that covers the source without gaps.
Inside an instruction, tokens keep their offsets; what lies between them (space, continuations, comments inside
continued lines) is trivia and is found from the gaps. So `text(file)` is the source, whatever the source is.
"""

from __future__ import annotations

from bisect import bisect_right

from dockc.base.record import NamedTuple, Record
from dockc.grammar.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Token(NamedTuple):
    """A terminal of an instruction.

    Attributes:
        kind: the terminal's name in the grammar files, or `HEREDOC_BODY`, `HEREDOC_END`.
        value: the text after joining continued lines.
        start, end: offsets into `Logical.text` (heredoc tokens: into the source).
    """

    kind: str
    value: str
    start: int
    end: int


class Logical(Record):
    """A logical line: physical lines joined at continuations, comments and empty lines inside them left out.

    Attributes:
        text: the joined text.
        starts: offset in `text` of each physical piece.
        shifts: for each piece, source offset minus offset in `text`.
        first, last: 1-based physical lines.
        empty_continuation: an empty line stood inside.
    """

    text: str
    starts: tuple[int, ...]
    shifts: tuple[int, ...]
    first: int
    last: int
    empty_continuation: bool = False

    def source_offset(self, offset: int) -> int:
        """Where the character at `offset` of the text stands in the source."""
        if len(self.starts) == 1:
            return offset + self.shifts[0]
        return offset + self.shifts[bisect_right(self.starts, offset) - 1]

    def span(self, start: int, end: int) -> Span:
        """The place in the source of a stretch of the text; continuations inside belong to it."""
        if len(self.starts) == 1:
            shift = self.shifts[0]
            return Span(start + shift, end + shift)
        if end <= start:
            at = self.source_offset(start)
            return Span(at, at)
        return Span(self.source_offset(start), self.source_offset(end - 1) + 1)


class FlagNode(Record):
    """A `--name=value`. `text` is the flag without quotes and escapes, as the reference reads it."""

    token: Token
    text: str


class HeredocNode(Record):
    """A heredoc: its opener on the line, its body, and the line that ended it (empty where the file ended first).

    Attributes:
        name: delimiter without quotes.
        fd: descriptor before `<<`, 0 if none.
        chomp: `<<-`.
        expand: the delimiter was not quoted.
        content: the body's lines, line ends included.
        body, end: spans in the source; `end` is the delimiter's line.
    """

    name: str
    fd: int
    chomp: bool
    expand: bool
    content: str
    body: Span
    end: Span


class Command(Record):
    """Keyword, flags and arguments of one instruction; ONBUILD holds another.

    Attributes:
        text: the text that the tokens' offsets count in: the logical line's, in all but odd cases of flags
            whose bytes do not decode.
        start, end: the instruction in `text`, surrounding space left out.
        keyword: as written.
        name: the keyword in upper case.
        flags: in order.
        form: `json`, `words`, `assignments`, `legacy`, `names`, `line`, `healthcheck`, `instruction`, `unknown`
            or `empty`.
        args: tokens of the arguments; separators left out.
        values: what the arguments mean after the form's own quoting rules; None where the form is unknown.
        is_json: the exec form.
    """

    text: str
    start: int
    end: int
    keyword: Token
    name: str
    flags: tuple[FlagNode, ...]
    form: str
    args: tuple[Token, ...]
    values: tuple[str, ...] | None
    is_json: bool = False
    fault: Fault | None = None


class Fault(NamedTuple):
    """A syntax error of one instruction: the reference's message, a code, and where (offsets as in tokens)."""

    code: str
    message: str
    start: int
    end: int
    help: str = ""


class InstructionNode(Record):
    """An instruction with all that belongs to it.

    Attributes:
        span: whole physical lines, heredocs included.
        logical: its joined line.
        commands: the instruction; after ONBUILD the inner one, and so on.
        heredocs: bodies, in order.
        comments: comment lines directly above, as the reference keeps them.
        lines: first and last physical line, heredocs included.
    """

    span: Span
    logical: Logical
    commands: tuple[Command, ...]
    heredocs: tuple[HeredocNode, ...]
    comments: tuple[str, ...]
    lines: tuple[int, int]

    @property
    def command(self) -> Command:
        """The outermost instruction."""
        return self.commands[0]


class CommentLine(Record):
    """A comment on its own line. `text` as the reference reads it."""

    span: Span
    text: str


class DirectiveLine(Record):
    """A parser directive; `name` is lower case."""

    span: Span
    name: str
    value: str
    line: int


class BlankLine(Record):
    """An empty line, or one of white space."""

    span: Span


Item = InstructionNode | CommentLine | DirectiveLine | BlankLine


class File(Record):
    """A whole source, in order and without gaps.

    Attributes:
        source: the text.
        escape: the escape character in force.
        items: what the file consists of. A byte order mark belongs to the first item.
    """

    source: Source
    escape: str
    items: tuple[Item, ...]

    @property
    def instructions(self) -> Iterator[InstructionNode]:
        """The instructions, in order."""
        return (item for item in self.items if isinstance(item, InstructionNode))

    @property
    def directives(self) -> Iterator[DirectiveLine]:
        """The parser directives, in order."""
        return (item for item in self.items if isinstance(item, DirectiveLine))


class Piece(NamedTuple):
    """A stretch of source text; `kind` is a token's kind, or one of the trivia kinds below."""

    kind: str
    text: str
    span: Span


#: Trivia kinds: space, line end, continuation (escape character to line end), comment, byte order mark, and text
#: that was not read (a line that is too long).
SPACE, NEWLINE, CONTINUATION, COMMENT, MARK, UNREAD = "space", "newline", "continuation", "comment", "bom", "unread"


def pieces(file: File) -> Iterator[Piece]:
    """Tokens and trivia in order; their texts add up to the source."""
    at = 0
    text = file.source.text
    for item in file.items:
        spans = _tokens(item)
        for kind, span in spans:
            if span.start > at:
                yield from _trivia(file, at, span.start)
            if span.end > span.start:
                yield Piece(kind, text[span.start : span.end], span)
            at = max(at, span.end)
        if item.span.end > at:
            yield from _trivia(file, at, item.span.end)
            at = item.span.end
    if at < len(text):
        yield from _trivia(file, at, len(text))


def text(file: File) -> str:
    """The source again, put together from its pieces."""
    return "".join(piece.text for piece in pieces(file))


def node_tokens(node: InstructionNode) -> Iterator[tuple[str, Span]]:
    """Kind and place in the source of each token of an instruction, in order."""
    for at, command in enumerate(node.commands):
        if not node.logical.text.startswith(command.text):
            return  # offsets count in another text: leave the rest of the line as one stretch of trivia
        span = node.logical.span
        yield command.keyword.kind, span(command.keyword.start, command.keyword.end)
        for flag in command.flags:
            yield flag.token.kind, span(flag.token.start, flag.token.end)
        if at == len(node.commands) - 1:
            for token in command.args:
                yield token.kind, span(token.start, token.end)


def _tokens(item: Item) -> Iterator[tuple[str, Span]]:
    if not isinstance(item, InstructionNode):
        return
    yield from node_tokens(item)
    for heredoc in item.heredocs:
        yield "HEREDOC_BODY", heredoc.body
        yield "HEREDOC_END", heredoc.end


def _trivia(file: File, start: int, end: int) -> Iterator[Piece]:
    """Cuts a gap into space, continuations, comments and line ends."""
    text = file.source.text
    at = start
    while at < end:
        line_end = text.find("\n", at, end)
        stop = end if line_end < 0 else line_end + 1
        begin = at
        if begin == 0 and text.startswith("\ufeff"):
            yield Piece(MARK, text[0], Span(0, 1))
            begin = 1
        body = text[begin:stop]
        content = body.rstrip("\r\n")
        stripped = content.strip()
        split = begin + len(content)
        if stripped.startswith("#"):
            lead = len(content) - len(content.lstrip())
            if lead:
                yield Piece(SPACE, content[:lead], Span(begin, begin + lead))
            yield Piece(COMMENT, content[lead:], Span(begin + lead, split))
        elif stripped == file.escape:
            lead = content.index(file.escape)
            if lead:
                yield Piece(SPACE, content[:lead], Span(begin, begin + lead))
            yield Piece(CONTINUATION, content[lead:], Span(begin + lead, split))
        elif content:
            yield Piece(UNREAD if stripped else SPACE, content, Span(begin, split))
        if split < stop:
            yield Piece(NEWLINE, text[split:stop], Span(split, stop))
        at = stop
