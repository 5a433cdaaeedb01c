"""Nodes and instructions of a file for hadolint's profile, also where hadolint itself could not read the file as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.record import replace
from dockc.compiler.syntax import ast
from dockc.compiler.syntax.instructions import build
from dockc.compiler.syntax.request import Rejected
from dockc.grammar.cst import Command, File, InstructionNode, Logical, Token
from dockc.linter.peer.arguments import command_line
from dockc.linter.peer.instructions import read_instruction
from dockc.linter.peer.scan import Scanner, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.compile import Front
    from dockc.linter.peer.reader import Reading

Pair = tuple[InstructionNode, ast.Instruction | None]


def entries(front: Front, reading: Reading | None) -> Iterator[Pair]:
    """Each instruction in order: as hadolint reads the file, else as it would read the instruction by itself, else as a
    build does.
    """
    if reading is None:
        file = front.parsed.file
        yield from (_alone(file, node) for node in file.instructions)
        return
    for instruction in reading.instructions:
        yield _node(instruction), instruction


def _node(instruction: ast.Instruction) -> InstructionNode:
    commands: list[Command] = []
    inner: ast.Instruction | None = instruction
    while inner is not None:
        keyword = Token("KEYWORD", inner.name, 0, len(inner.name))
        commands.append(Command(inner.name, 0, len(inner.name), keyword, inner.keyword, (), "unknown", (), None))
        inner = inner.trigger if isinstance(inner, ast.Onbuild) else None
    shift = instruction.name_span.start
    logical = Logical(instruction.name, (0,), (shift,), *instruction.lines)
    return InstructionNode(instruction.span, logical, tuple(commands), (), (), instruction.lines)


def _alone(file: File, node: InstructionNode) -> Pair:
    start = node.logical.source_offset(node.command.keyword.start)
    text = file.source.text[start : node.span.end].replace("\r\n", "\n")
    scanner = Scanner(text, file.escape, lambda offset: min(start + offset, node.span.end))
    try:
        found = read_instruction(scanner)
        if not scanner.line_end() or scanner.pos < len(scanner.text):
            raise Unreadable("more behind it")
        return node, replace(found, lines=node.lines)
    except Unreadable:
        return node, _adapted(file, node)


def _adapted(file: File, node: InstructionNode) -> ast.Instruction | None:
    """The instruction of a build with its command line as hadolint takes it."""
    if any(command.fault is not None for command in node.commands):
        return None
    try:
        found = build(node, [])
    except Rejected:
        return None
    if isinstance(found, ast.Onbuild):
        return replace(found, trigger=None if found.trigger is None else _with_command(found.trigger, file, node))
    return _with_command(found, file, node)


def _with_command(instruction: ast.Instruction, file: File, node: InstructionNode) -> ast.Instruction:
    args = [token for token in node.commands[-1].args if token.kind != "HEALTH_TYPE"]
    if not args or not isinstance(instruction, (ast.ShellDependent, ast.Healthcheck)):
        return instruction
    text = file.source.text[node.logical.source_offset(args[0].start) : node.span.end].replace("\r\n", "\n")
    try:
        line = command_line(Scanner(text, file.escape, int))
    except Unreadable:
        return instruction
    if isinstance(instruction, ast.ShellDependent):
        return replace(instruction, cmdline=(line.text,), prepend_shell=not line.exec_form)
    if instruction.test[0] == "NONE":
        return instruction
    return replace(instruction, test=("CMD" if line.exec_form else "CMD-SHELL", line.text))
