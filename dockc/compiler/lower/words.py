"""Expansion of an instruction's words against the variables of its stage."""

from __future__ import annotations

from dockc.compiler.lower.scope import report_undefined, word_fault
from dockc.errors import CompileError
from dockc.grammar.word import WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockc.compiler.checks import Linter
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.syntax.ast import Word
    from dockc.grammar.word import Lex


class Expander:
    """Expands the words of one instruction and reports variables that nobody has set."""

    __slots__ = ("lex", "linter", "stage", "step")

    def __init__(self, lex: Lex, stage: StageState, step: Step, linter: Linter) -> None:
        self.lex = lex
        self.stage = stage
        self.step = step
        self.linter = linter

    def __call__(self, word: Word) -> str:
        """The word with its variables expanded.

        Raises:
            CompileError: the word's syntax is wrong, or a required variable is not set.
        """
        try:
            expanded = self.lex.expand(word.text, self.stage.env)
        except WordError as error:
            self._report(error.unmatched)
            raise CompileError(error.message, fault=word_fault(error, self.lex, word)) from None
        if expanded.unmatched:
            self._report(expanded.unmatched)
        return expanded.result

    def each(self, words: Iterable[Word]) -> list[str]:
        """All words, expanded in order."""
        return [self(word) for word in words]

    def _report(self, names: Iterable[str]) -> None:
        stage = self.stage
        report_undefined(names, stage.build_args, stage.env, self.step.lines, self.linter)
