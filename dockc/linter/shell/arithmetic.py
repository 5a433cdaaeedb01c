"""Arithmetic in shell scripts: what may stand in `$((…))`, `((…))`, `$[…]` and the head of `for ((…))`.

Only expansions are kept. What is no arithmetic is often something else: two brackets then open a subshell in a
subshell.
"""

from __future__ import annotations

from dockc.base.pattern import pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from dockc.linter.shell import ast

    class WordReader(Protocol):
        """What reads the words of a script, as far as arithmetic goes; `shell.lexer` has it."""

        text: str
        pos: int
        depth: int

        def fail(self, message: str) -> ValueError:
            """An error at `pos`."""
            ...

        def peek(self, length: int = 1) -> str:
            """What comes next."""
            ...

        def enter(self) -> None:
            """Go one level deeper; too deep is an error."""
            ...

        def expansion(self) -> ast.Part:
            """Read an expansion."""
            ...


_SPACE = pattern(r"(?:\s|\\\n)+")
_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_LITERAL = pattern(r"(?:[\w.#]|\\[^\n])(?:[\w#.@]|\\[^\n])*")
_ASSIGN = pattern(r"(?:<<|>>|[*/%+\-&^|])?=(?!=)")
_BINARY = pattern(r"&&|\|\||\*\*|<<(?!=)|>>(?!=)|<=|>=|==|!=|[*/%+\-&^|](?!=)|<(?![<=])|>(?![>=])")
_STEP = pattern(r"\+\+|--")


def sequence(reader: WordReader, parts: list[ast.Part]) -> None:
    """Read expressions separated by commas; none are fine too. Expansions in them are added to `parts`.

    Raises:
        ShellSyntaxError: an operand or an operator is missing.
    """
    _space(reader)
    if reader.peek() in {"", ")", "]", ";"}:
        return
    _assignment(reader, parts)
    while reader.peek() == ",":
        reader.pos += 1
        _space(reader)
        _assignment(reader, parts)


def _space(reader: WordReader) -> None:
    if found := _SPACE.match(reader.text, reader.pos):
        reader.pos = found.end()


def _assignment(reader: WordReader, parts: list[ast.Part]) -> None:
    _choice(reader, parts)
    while found := _ASSIGN.match(reader.text, reader.pos):
        reader.pos = found.end()
        _space(reader)
        _choice(reader, parts)


def _choice(reader: WordReader, parts: list[ast.Part]) -> None:
    """`a ? b : c`, or what is without a choice."""
    _operators(reader, parts)
    while reader.peek() == "?":
        reader.enter()
        reader.pos += 1
        _space(reader)
        _choice(reader, parts)
        if reader.peek() != ":":
            raise reader.fail("expected ':'")
        reader.pos += 1
        _space(reader)
        _operators(reader, parts)
        reader.depth -= 1


def _operators(reader: WordReader, parts: list[ast.Part]) -> None:
    _operand(reader, parts)
    while found := _BINARY.match(reader.text, reader.pos):
        reader.pos = found.end()
        _space(reader)
        _operand(reader, parts)


def _operand(reader: WordReader, parts: list[ast.Part]) -> None:
    """One operand with the signs before it and `++` or `--` on either side; space behind it is gone past."""
    while reader.peek() in {"!", "~"}:
        reader.pos += 1
        _space(reader)
    if found := _STEP.match(reader.text, reader.pos):
        reader.pos = found.end()
        _space(reader)
    elif reader.peek() in {"+", "-"}:
        reader.pos += 1
        _space(reader)
        if found := _STEP.match(reader.text, reader.pos):
            reader.pos = found.end()
            _space(reader)
    _term(reader, parts)
    _space(reader)
    if found := _STEP.match(reader.text, reader.pos):
        reader.pos = found.end()
        _space(reader)


def _term(reader: WordReader, parts: list[ast.Part]) -> None:
    if reader.peek() == "(":
        _bracketed(reader, parts, ")")
        return
    if found := _NAME.match(reader.text, reader.pos):
        reader.pos = found.end()
        while reader.peek() == "[":
            _bracketed(reader, parts, "]")
        return
    start = reader.pos
    while True:
        if found := _LITERAL.match(reader.text, reader.pos):
            reader.pos = found.end()
        elif reader.peek() and reader.peek() in "$`\"'":
            parts.append(reader.expansion())
        else:
            break
    if reader.pos == start:
        raise reader.fail("expected an operand")


def _bracketed(reader: WordReader, parts: list[ast.Part], closing: str) -> None:
    reader.enter()
    reader.pos += 1
    sequence(reader, parts)
    if reader.peek() != closing:
        raise reader.fail(f"expected '{closing}'")
    reader.pos += 1
    reader.depth -= 1
