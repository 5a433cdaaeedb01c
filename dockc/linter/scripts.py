"""Instructions of a file one by one, and the shell text in them with its places in the source."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.grammar.cst import InstructionNode
from dockc.grammar.forms import json_string
from dockc.grammar.heredoc import chomp, parse_opener
from dockc.grammar.source import Span
from dockc.grammar.word import WordError
from dockc.linter.shell.commands import Shell, read


class Entry(Record):
    """One instruction.

    Attributes:
        node: in the CST.
        instruction: in the AST; None where it was rejected (`why`).
        stage: index of its stage, -1 before the first FROM.
        index: among the entries.
    """

    node: InstructionNode
    instruction: ast.Instruction | None
    stage: int
    index: int
    why: str = ""

    @property
    def keyword(self) -> str:
        """In upper case."""
        return self.node.command.keyword.value.upper()

    @property
    def line(self) -> int:
        """The first line."""
        return self.node.lines[0]


class Script(Record):
    """Shell text of an instruction, and where its characters stand in the source.

    Attributes:
        entry: the instruction it belongs to.
        instruction: the instruction itself; for ONBUILD, the trigger.
        shell: parsed.
        offsets: `(script offset, source offset)` where runs of equally placed characters begin; empty where the text
            does
            not stand in the source as it is (exec form), so that no fix can be made in it.
        onbuild: it is the trigger of an ONBUILD.
        reader: the shell with its options that reads the heredoc which the script is, where the line names one; else
            "".
    """

    entry: Entry
    instruction: ast.Instruction
    shell: Shell
    offsets: tuple[tuple[int, int], ...]
    onbuild: bool = False
    reader: str = ""

    @property
    def exact(self) -> bool:
        """Whether places in the script can be given in the source."""
        return bool(self.offsets)

    def span(self, start: int, end: int) -> Span:
        """The place of a stretch of the script; the whole instruction where the place is not known."""
        if not self.offsets:
            return self.instruction.span
        return Span(self._locate(start), self._locate(end - 1) + 1 if end > start else self._locate(start))

    def _locate(self, offset: int) -> int:
        found = self.offsets[max(bisect_right(self.offsets, offset, key=lambda pair: pair[0]) - 1, 0)]
        return found[1] + offset - found[0]


def peer_script(entry: Entry, run: ast.Run) -> Script:
    """The shell text as hadolint has it. Places in it are not known: hadolint gives none."""
    return Script(entry, run, read(" ".join(run.cmdline or ())), (), isinstance(entry.instruction, ast.Onbuild))


def script(entry: Entry, instruction: ast.ShellDependent | ast.Healthcheck) -> Script:
    """The shell text of an instruction: the line, the heredoc's body, or the exec form's words joined by blanks."""
    onbuild = isinstance(entry.instruction, ast.Onbuild)
    if isinstance(instruction, ast.Healthcheck):
        words = instruction.test[1:]
        if instruction.test[0] != "CMD-SHELL":
            return exec_script(entry, instruction) or Script(
                entry, instruction, read(" ".join(map(_quoted, words))), (), onbuild
            )
        return Script(entry, instruction, read(words[0]), _offsets(entry.node, words[0]), onbuild)
    words = instruction.cmdline or ()
    if not instruction.prepend_shell:
        return exec_script(entry, instruction) or Script(
            entry, instruction, read(" ".join(map(_quoted, words))), (), onbuild
        )
    text = words[0] if words else ""
    if isinstance(instruction, ast.Run) and instruction.files:
        return _heredoc_script(entry, instruction, text, onbuild)
    return Script(entry, instruction, read(text), _offsets(entry.node, text), onbuild)


def _quoted(word: str) -> str:
    """A word of an exec form as a shell would have to write it: no shell reads it."""
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "'\\''") + "'"


_PLAIN = pattern(r"[\w@%+=:,./-]+", re.ASCII)


def _heredoc_script(entry: Entry, run: ast.Run, text: str, onbuild: bool) -> Script:
    """The body alone where it is what a shell runs; else the line with all its heredocs, as the shell gets them."""
    reader = _reader(text) if len(run.files) == 1 else None
    if reader is not None:
        document = run.files[0]
        data = chomp(document.data) if document.chomp else document.data
        return Script(entry, run, read(data), _body_offsets(document, data, 0), onbuild, reader)
    whole = text
    offsets = list(_offsets(entry.node, text))
    for document in run.files:
        if offsets:
            offsets += _body_offsets(document, document.data, len(whole) + 1)
        whole += f"\n{document.data}{document.name}"
    return Script(entry, run, read(f"{whole}\n"), tuple(offsets), onbuild)


_READERS = frozenset(["sh", "bash", "dash", "ash", "ksh", "zsh"])


def _reader(text: str) -> str | None:
    """What reads a heredoc as a script: "" for the stage's shell, or a shell named on the line; None where the body is
    something else.
    """
    openers: list[str] = []
    rest: list[str] = []
    for word in text.split():
        try:
            (openers if parse_opener(word) else rest).append(word)
        except WordError:
            return None
    if len(openers) != 1:
        return None
    if not rest:
        return ""
    options = all(word[0] in "-+" or before[-1:] == "o" for before, word in pairwise(rest))
    return " ".join(rest) if rest[0].rsplit("/", 1)[-1] in _READERS and options else None


def _body_offsets(document: ast.InlineFile, data: str, at: int) -> tuple[tuple[int, int], ...]:
    """Where the lines of a heredoc, which begins at `at` of the script, stand in the source; tabs may have been taken
    from their starts.
    """
    if data == document.data:
        return ((at, document.span.start),)
    pairs, source = [], document.span.start
    for line, whole in zip(data.splitlines(keepends=True), document.data.splitlines(keepends=True), strict=True):
        pairs.append((at, source + len(whole) - len(line)))
        at += len(line)
        source += len(whole)
    return tuple(pairs)


def exec_script(entry: Entry, instruction: ast.ShellDependent | ast.Healthcheck) -> Script | None:
    """The script in an exec form such as `["bash", "-c", "…"]`, where it stands in the source; its `reader` is the
    shell with its options.
    """
    command = entry.node.commands[-1]
    strings = [token for token in command.args if token.kind == "JSON_STRING"]
    words = [json_string(token.value) for token in strings]
    if not command.is_json or len(words) < 3 or words[0].rsplit("/", 1)[-1] not in _READERS:
        return None
    at = next((i for i, word in enumerate(words) if i and word[:1] not in {"-", "+"} and words[i - 1][-1:] != "o"), 0)
    if not at or not any(word.startswith("-") and word.endswith("c") for word in words[1:at]):
        return None
    raw, size = strings[at].value, 0
    pairs: list[tuple[int, int]] = []
    for piece in _PIECES.finditer(raw, 1, len(raw) - 1):
        place = entry.node.logical.source_offset(strings[at].start + piece.start())
        if not pairs or place - pairs[-1][1] != size - pairs[-1][0]:
            pairs.append((size, place))
        size += len(json_string(f'"{piece[0]}"'))
    onbuild = isinstance(entry.instruction, ast.Onbuild)
    return Script(entry, instruction, read(words[at]), tuple(pairs), onbuild, " ".join(words[:at]))


#: Characters of a JSON string: surrogate pairs, escapes, and plain ones.
_PIECES = pattern(
    r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.DOTALL
)


def _offsets(node: InstructionNode, text: str) -> tuple[tuple[int, int], ...]:
    logical = node.logical
    args = node.commands[-1].args
    begin = logical.text.find(text, args[0].start) if args and text else -1
    if begin < 0:
        return ()
    pairs = [(0, logical.source_offset(begin))]
    pairs += [
        (start - begin, start + shift)
        for start, shift in zip(logical.starts, logical.shifts, strict=True)
        if begin < start < begin + len(text)
    ]
    return tuple(pairs)
