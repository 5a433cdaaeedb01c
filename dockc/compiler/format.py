"""`dockc fmt`: one style for Dockerfiles, on the lossless tree.

The style:

- keywords and `AS` in upper case; no indentation before them
- one space between keyword, flags and arguments
- where an instruction was broken into lines between flags or arguments it stays broken there, indented by four spaces,
  or like the shell command that follows where that has lines of its own: their indentation is part of what is built.
  Where these are deeper than the command's first line, being its arguments, the first line's own indentation stays
- exec forms as `["a", "b"]`
- no trailing space (but after a trigger of ONBUILD), no empty lines inside continued instructions
- at most one empty line elsewhere, and one before each stage
- comments start with `# `; line ends are those that most lines of the file have; the file ends with one

What is not touched, because it is part of what is built: shell commands, heredoc bodies, quoting, the triggers of
ONBUILD, the legacy `KEY value` form, instructions that do not parse, and those that seem to have swallowed the next
one: lint says so,
and must go on to say so.
"""

from __future__ import annotations

from dockc.base.record import Record
from dockc.compiler.swallowed import swallowed
from dockc.grammar.cst import BlankLine, Command, CommentLine, DirectiveLine, File, InstructionNode, Item
from dockc.grammar.directives import DirectiveReader

INDENT = "    "
_SHEBANG_LIKE = frozenset("#!-=*")


def format_file(file: File) -> str:
    """The whole file in dockc's style."""
    end = line_end(file.source.text)
    blocks = [_Block.of(item, file, end) for item in file.items]
    out: list[str] = []
    blank = False
    for index, block in enumerate(blocks):
        if block.blank:
            blank = True
            continue
        if out and (blank or _begins_stage(blocks, index)) and not _after_gap(out) and not blocks[index - 1].open:
            out.append(end)
        elif blank and not out and block.comment and DirectiveReader().read(block.text.strip()) is not None:
            out.append(end)  # without a line above it the comment would be a directive
        blank = False
        out.append(block.text)
    return "".join(out)


def line_end(text: str) -> str:
    """The line end that most lines of a text have."""
    crlf = text.count("\r\n")
    return "\r\n" if crlf * 2 > text.count("\n") else "\n"


def _with_ends(text: str, end: str) -> str:
    """Lines with this end instead of whichever they have."""
    text = text.replace("\r\n", "\n")
    return text if end == "\n" else text.replace("\n", end)


class _Block(Record):
    text: str
    blank: bool = False
    comment: bool = False
    stage: bool = False
    open: bool = False  # ends in a heredoc that never ends: a line that follows would be part of it

    @classmethod
    def of(cls, item: Item, file: File, end: str) -> _Block:
        source = file.source.text
        raw = source[item.span.start : item.span.end]
        match item:
            case BlankLine():
                return cls("", blank=True)
            case CommentLine() | DirectiveLine():
                return cls(_comment(raw) + end, comment=True)
            case InstructionNode():
                stage = item.command.keyword.value.upper() == "FROM"
                unended = any(heredoc.end.start == heredoc.end.end for heredoc in item.heredocs)
                return cls(_Layout(item, file, end).text(), stage=stage, open=unended)


def _begins_stage(blocks: list[_Block], index: int) -> bool:
    """Whether the block is a FROM, or the first of the comments right above one, and another stage stands before it."""
    if not any(b.stage for b in blocks[:index]):
        return False
    if blocks[index].stage:
        return not blocks[index - 1].comment
    if not blocks[index].comment or blocks[index - 1].comment:
        return False
    following = index
    while following < len(blocks) and blocks[following].comment:
        following += 1
    return following < len(blocks) and blocks[following].stage


def _after_gap(out: list[str]) -> bool:
    return out[-1] in {"\n", "\r\n"}


def _comment(raw: str) -> str:
    text = raw.lstrip("\ufeff").strip()
    body = text[1:]
    if body and not body[0].isspace() and body[0] not in _SHEBANG_LIKE:
        return "# " + body
    return text


class _Layout:
    """Lays one instruction out.

    State: `lines`, the finished physical lines without their line ends, and `line`, the one being filled.
    """

    def __init__(self, node: InstructionNode, file: File, end: str) -> None:
        self.node = node
        self.file = file
        self.end = end
        self.source = file.source.text
        self.escape = file.escape
        self.lines: list[str] = []
        self.line = ""
        heredocs = node.heredocs
        self.head_end = heredocs[0].body.start if heredocs else node.span.end
        self.indent = INDENT

    def text(self) -> str:
        """The instruction, heredocs included, with a line end."""
        command = self.node.command
        if swallowed(self.node, self.file.source, self.escape):
            return self._verbatim()
        if not self.node.logical.text.startswith(command.text) or any(c.fault for c in self.node.commands):
            return self._verbatim()  # offsets would count in another text than the source's
        span = self.node.logical.span
        before = self.source[self.node.span.start : span(command.keyword.start, command.keyword.end).start]
        if (
            command.form == "unknown" or self._odd(command) or "#" in before
        ):  # comments may stand before the keyword, after a lone continuation
            return self._verbatim()
        self.line = command.keyword.value.upper()
        at = span(command.keyword.start, command.keyword.end).end
        if command.form not in {"words", "assignments", "json"}:
            self.indent = self._margin(
                span(command.flags[-1].token.start, command.flags[-1].token.end).end if command.flags else at
            )
        for flag in command.flags:
            place = span(flag.token.start, flag.token.end)
            at = self._token(at, place.start, place.end)
        if command.form in {"words", "assignments"}:
            at = self._words(command, at)
        elif command.form == "json":
            at = self._json(command, at)
        self._rest(at)
        # The image's configuration has a trigger with the space behind it.
        self.lines.append(self.line if command.name == "ONBUILD" else self.line.rstrip())
        head = _with_ends("\n".join(self.lines) + "\n", self.end)
        return head + self.source[self.head_end : self.node.span.end] if self.node.heredocs else head

    def _margin(self, at: int) -> str:
        """The indentation of a shell command's own lines after its first, which begins somewhere behind `at`."""
        lines = self.source[at : self.head_end].split("\n")
        written = [
            line for line in lines if line.strip() and not (line is not lines[0] and line.lstrip().startswith("#"))
        ]
        if lines[0].strip() in {"", self.escape}:
            written = written[1:] if lines[0].strip() else written
        margins = [line[: len(line) - len(line.lstrip(" \t"))] for line in written]
        least = min(margins[1:], key=len, default="")
        if lines[0].strip() == self.escape and len(margins) > 1 and len(least) > len(margins[0]):
            return margins[0]  # the lines are arguments of a command that stands on a line of its own
        return least or INDENT

    def _odd(self, command: Command) -> bool:
        """Whether something stands between the tokens that is neither space, continuation nor comment (`--`, say)."""
        span = self.node.logical.span
        tokens = [command.keyword, *(flag.token for flag in command.flags)]
        if command.form in {"words", "assignments", "json"}:
            tokens += command.args
        at = span(tokens[0].start, tokens[0].end).end
        for token in tokens[1:]:
            place = span(token.start, token.end)
            gap = self.source[at : max(at, place.start)]
            pieces = (piece.strip() for piece in gap.split("\n"))
            if any(piece not in {"", self.escape} and not piece.startswith("#") for piece in pieces):
                return True
            at = max(at, place.end)
        return False

    def _verbatim(self) -> str:
        head = _with_ends(self.source[self.node.span.start : self.head_end], self.end)
        raw = head + self.source[self.head_end : self.node.span.end]
        return raw if raw.endswith("\n") else raw + self.end

    def _token(self, at: int, start: int, end: int, text: str | None = None) -> int:
        """Put the token at `start`, on a line of its own where the source has a line break before it."""
        self._gap(self.source[at:start])
        self.line += self.source[start:end] if text is None else text
        return end

    def _gap(self, gap: str) -> None:
        if "\n" not in gap:
            self.line += " "
            return
        self.lines.append(f"{self.line.rstrip()} {self.escape}")
        inner = [piece.strip() for piece in gap.split("\n")[1:-1]]
        self.lines += [self.indent + _comment(piece) for piece in inner if piece.startswith("#")]
        self.line = self.indent

    def _words(self, command: Command, at: int) -> int:
        span = self.node.logical.span
        is_from = command.keyword.value.upper() == "FROM" and len(command.args) == 3
        for index, token in enumerate(command.args):
            place = span(token.start, token.end)
            word = "AS" if is_from and index == 1 and token.value.lower() == "as" else None
            at = self._token(at, place.start, place.end, word)
        return at

    def _json(self, command: Command, at: int) -> int:
        span = self.node.logical.span
        first, last = command.args[0], command.args[-1]
        begin, end = span(first.start, last.end)
        raw = self.source[begin:end]
        if "\n" in raw:
            return at
        text = ""
        for token in command.args:
            text += token.value.strip()
            if token.kind in {"JSON_COMMA", "JSON_COLON"}:
                text += " "
        return self._token(at, begin, end, text)

    def _rest(self, at: int) -> None:
        """What the style leaves alone, up to the end of the logical line; only trailing space and empty lines go."""
        rest = self.source[at : self.head_end]
        body = rest.lstrip(" \t")
        if not body.strip():
            return
        pieces = body.split("\n")
        if pieces[-1].strip() == "":
            pieces.pop()
        first = pieces[0].rstrip(" \t\r")
        if first == self.escape:
            # Nothing but the continuation: the command begins on the next line.
            self.lines.append(f"{self.line.rstrip()} {self.escape}")
        else:
            self.line += " " + self._physical(pieces[0])
            self.lines.append(self.line)
        begun = first != self.escape
        for piece in pieces[1:]:
            stripped = piece.strip()
            if not stripped:
                continue
            if stripped.startswith("#"):
                lead = piece[: len(piece) - len(piece.lstrip())] if begun else self.indent
                self.lines.append(lead + _comment(piece))
            elif begun:
                self.lines.append(self._physical(piece))
            else:
                self.lines.append(self.indent + self._physical(piece.lstrip(" \t")))
                begun = True
        self.line = self.lines.pop()

    def _physical(self, line: str) -> str:
        """A line of a command: space after a continuation goes, space before it stays, being part of the command."""
        bare = line.rstrip(" \t\r")
        return bare if bare.endswith(self.escape) else line.rstrip("\r")
