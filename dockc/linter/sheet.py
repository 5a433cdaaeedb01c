"""Every instruction of a file in order, also where the file as a whole does not build: what all other facts are
worked out from.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from dockc.compiler.syntax import ast
from dockc.compiler.syntax.request import Rejected
from dockc.grammar.cst import CommentLine, File
from dockc.grammar.source import Source
from dockc.linter.scripts import Entry
from dockc.linter.settings import Settings
from dockc.linter.words import alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from dockc.compiler.compile import Front
    from dockc.linter.memory import Memory
    from dockc.linter.peer.reader import Reading

    I = TypeVar("I", bound=ast.Instruction)  # noqa: E741  the one instruction type of a call


class Sheet:
    """One file, instruction by instruction. Immutable; derived facts are computed once."""

    def __init__(
        self, front: Front, settings: Settings | None = None, *, parity: bool = False, memory: Memory | None = None
    ) -> None:
        self._front = front
        self.settings = settings or Settings()
        #: True where a peer's findings are wanted exactly, its known mistakes included.
        self.parity = parity
        #: What an earlier run has left.
        self.memory = memory
        self._kinds: dict[tuple[type[ast.Instruction], bool], tuple[tuple[Entry, Any], ...]] = {}

    @property
    def source(self) -> Source:
        """The text."""
        return self._front.source

    @property
    def file(self) -> File:
        """The CST, which a peer's profile does without where the peer's own reader can read the file."""
        return self._front.parsed.file

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All instructions in order."""
        if self.parity:
            return tuple(self._peer_entries())
        stage = -1
        entries = []
        outcomes = iter(self._front.result.outcomes)
        for index, node in enumerate(self.file.instructions):
            instruction: ast.Instruction | None = None
            why = ""
            fault = next((c.fault for c in node.commands if c.fault is not None), None)
            if fault is not None:
                why = fault.message
            elif isinstance(outcome := next(outcomes), Rejected):
                why = str(outcome)
            else:
                instruction = outcome
            if node.command.keyword.value.upper() == "FROM":
                stage += 1
            entries.append(Entry(node, instruction, stage, index, why))
        return tuple(entries)

    def all(self, kind: type[I]) -> Iterator[tuple[Entry, I]]:
        """Instructions of one kind, triggers left out."""
        found = self._kinds.get((kind, False))
        if found is None:
            found = tuple((e, e.instruction) for e in self.entries if isinstance(e.instruction, kind))
            self._kinds[kind, False] = found
        return iter(found)

    def all_or_triggers(self, kind: type[I]) -> Iterator[tuple[Entry, I]]:
        """Instructions of one kind, also those behind ONBUILD."""
        found = self._kinds.get((kind, True))
        if found is None:
            found = tuple((e, one) for e, one in self.acting if isinstance(one, kind))
            self._kinds[kind, True] = found
        return iter(found)

    @cached_property
    def acting(self) -> tuple[tuple[Entry, ast.Instruction | None], ...]:
        """All entries with their instruction; for ONBUILD, with the trigger."""
        return tuple(
            (e, e.instruction.trigger if isinstance(e.instruction, ast.Onbuild) else e.instruction)
            for e in self.entries
        )

    @cached_property
    def stages(self) -> tuple[tuple[Entry, ...], ...]:
        """Entries by stage, FROM first; what stands before the first FROM is left out."""
        stages: list[list[Entry]] = []
        for entry in self.entries:
            if entry.stage >= len(stages):
                stages.append([])
            if entry.stage >= 0:
                stages[-1].append(entry)
        return tuple(map(tuple, stages))

    def _peer_entries(self) -> Iterator[Entry]:
        from dockc.linter.peer.entries import entries

        stage = -1
        for index, (node, instruction) in enumerate(entries(self._front, self.peer)):
            if node.command.name == "FROM":
                stage += 1
            yield Entry(node, instruction, stage, index)

    @cached_property
    def peer(self) -> Reading | None:
        """The file as hadolint reads it; None where it cannot, or where nobody asks."""
        if not self.parity:
            return None
        from dockc.linter.peer.reader import read as peer_read

        return peer_read(self.source)

    @cached_property
    def comments(self) -> tuple[tuple[int, CommentLine], ...]:
        """Comment lines with their line numbers."""
        if self.peer is not None:
            return tuple((self.source.line_at(c.span.start), c) for c in self.peer.comments)
        return tuple((self.source.line_at(c.span.start), c) for c in self.file.items if isinstance(c, CommentLine))

    @cached_property
    def given(self) -> dict[str, ast.Word]:
        """The first value as written that ARG or ENV gives each name anywhere in the file."""
        found: dict[str, ast.Word] = {}
        for entry in self.entries:
            if isinstance(entry.instruction, (ast.Arg, ast.Env)):
                for pair in entry.instruction.pairs:
                    if pair.value is not None:
                        found.setdefault(pair.key.text, pair.value)
        return found

    @cached_property
    def declared(self) -> frozenset[str]:
        """Names that ARG and ENV declare anywhere in the file, triggers included."""
        return frozenset(
            pair.key.text for _, one in self.acting if isinstance(one, (ast.Arg, ast.Env)) for pair in one.pairs
        )

    @cached_property
    def demanded(self) -> frozenset[str]:
        """ARGs before the first FROM that have no default."""
        args = (e.instruction for e in self.entries if e.stage < 0 and isinstance(e.instruction, ast.Arg))
        return frozenset(pair.key.text for arg in args for pair in arg.pairs if pair.value is None)

    @cached_property
    def aliases(self) -> dict[str, int]:
        """Stages by name in lower case; of several the first."""
        found: dict[str, int] = {}
        for entry, from_ in self.all(ast.From):
            if alias(from_):
                found.setdefault(alias(from_).lower(), entry.stage)
        return found

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first line of each entry."""
        return tuple(entry.node.lines[0] for entry in self.entries)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The last line of each entry."""
        return tuple(entry.node.lines[1] for entry in self.entries)
