"""What ARG and ENV are known to hold at each instruction: one place that all rules ask.

Known is what the file says, defaults of ARG and given build arguments included. What only a base image, a script or the
builder's
platform would say is unknown, and a rule that needs it says nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from dockc.compiler.syntax import ast
from dockc.grammar.word import Lex, WordError
from dockc.linter.words import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.linter.scripts import Entry
    from dockc.linter.sheet import Sheet

#: Set by the builder. What they hold depends on where the build runs; it is one plain word.
PLATFORM = frozenset(
    f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
) | {"TARGETSTAGE"}

_END = 1 << 60


class Values:
    """Values of variables in one file. Looked up, not copied from instruction to instruction: a lookup walks up the
    stages.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._given = sheet.settings.build_args
        self._lex = Lex(sheet.file.escape)
        #: By stage (-1: before the first FROM) and name: from which instruction on it has which value, by ENV and by
        #: ARG.
        self._env: dict[tuple[int, str], list[_Event]] = {}
        self._arg: dict[tuple[int, str], list[_Event]] = {}
        self._below: dict[int, int] = {}
        self._ends: dict[tuple[int, str], tuple[str | None, bool] | None] = {}
        self._names: dict[str, int] = {}
        for entry in sheet.entries:
            self._see(entry, entry.instruction)

    def _see(self, entry: Entry, found: ast.Instruction | None) -> None:
        if isinstance(found, ast.From):
            base = self.text(found.base.text, -1, _END)
            below = self._names.get((base if base is not None else found.base.text.strip("\"'")).lower())
            if below is not None:
                self._below[entry.stage] = below
            if found.stage_name:
                self._names[found.stage_name] = entry.stage
        elif isinstance(found, ast.Arg):
            for pair in found.pairs:
                name = pair.key.text
                value = self._given.get(name)
                if value is None and pair.value is not None:
                    value = self.text(pair.value.text, entry.stage, entry.index)
                elif value is None and entry.stage >= 0:
                    value = self.value(name, -1, _END)
                self._put(entry, name, value, env=False)
        elif isinstance(found, ast.Env):
            values = [(self.plain(p.key.text), self.text(p.value.text, entry.stage, entry.index)) for p in found.pairs]
            for name, value in values:
                self._put(entry, name, value, env=True)

    def _put(self, entry: Entry, name: str, value: str | None, *, env: bool) -> None:
        # The instruction itself still sees what was set before it; pairs of one ARG see each other.
        where = self._env if env else self._arg
        where.setdefault((entry.stage, name), []).append((entry.index + env, value))

    @staticmethod
    def plain(name: str) -> str:
        """A key without its quotes."""
        return name.strip("\"'")

    def below(self, stage: int) -> int | None:
        """The own stage that a stage is built on."""
        return self._below.get(stage)

    def stage(self, name: str) -> int | None:
        """The last stage of a name."""
        return self._names.get(name.lower())

    def value(self, name: str, stage: int, index: int) -> str | None:
        """What a variable holds at the instruction `index` of a stage; None where that is not known."""
        found = self._find(name, stage, index)
        return found[0] if found is not None else None

    def declared(self, name: str, stage: int, index: int) -> bool:
        """Whether ARG or ENV of the file declares a variable by then, with or without a value."""
        return self._find(name, stage, index) is not None

    def at(self, name: str, entry: Entry) -> str | None:
        """What a variable holds at an instruction."""
        return self.value(name, entry.stage, entry.index)

    def word(self, word: ast.Word | str, entry: Entry) -> str | None:
        """What a word of an instruction is after expansion; None where that is not known."""
        text = word if isinstance(word, str) else word.text
        if isinstance(entry.instruction, ast.From):
            return self.text(text, -1, _END)
        return self.text(text, entry.stage, entry.index)

    def text(self, text: str, stage: int, index: int) -> str | None:
        """A text after expansion, quotes removed; None where it depends on what is not known."""
        try:
            found = self._lex.expand(text, _Scope(self, stage, index))
        except WordError:
            return None
        return None if any(_needed(name, text) for name in found.unmatched) else found.result

    def reference(self, from_: ast.From) -> str | None:
        """The image of a FROM as far as its shape goes: what the platform would say is some plain word, what is not
        declared nothing.

        None where it depends on a build argument that has no default.
        """
        try:
            found = self._lex.expand(from_.base.text, _Scope(self, -1, _END, platform="x"))
        except WordError:
            return None
        needed = (n for n in found.unmatched if self.declared(n, -1, _END))
        return None if any(_needed(name, from_.base.text) for name in needed) else found.result

    def _find(self, name: str, stage: int, index: int) -> tuple[str | None, bool] | None:
        """Value, and whether by ENV: ENV wins over ARG, also that of a stage below."""
        argument: tuple[str | None, bool] | None = None
        passed: list[int] = []
        at: int | None = stage
        found: tuple[str | None, bool] | None = None
        while at is not None:
            if index == _END and (at, name) in self._ends:
                found = self._ends[at, name]
                break
            value = _before(self._env.get((at, name), ()), index)
            if value is not None:
                found = (value[0], True)
                break
            if argument is None and (value := _before(self._arg.get((at, name), ()), index)) is not None:
                argument = (value[0], False)
            if index == _END and argument is None:
                passed.append(at)
            at, index = self._below.get(at), _END
        result = found if found is not None and (found[1] or argument is None) else argument
        for one in passed:  # what these stages end with is what was found below them
            if argument is None:
                self._ends[one, name] = result
        return result


_Event = tuple[int, "str | None"]


def _before(events: Sequence[_Event], index: int) -> tuple[str | None] | None:
    """The value of the last event up to an instruction; None where there is none."""
    at = bisect_left(events, index + 1, key=lambda e: e[0]) if events else 0
    return (events[at - 1][1],) if at else None


class _Scope(Mapping[str, str]):
    """Known variables at one place, for the expander."""

    __slots__ = ("_index", "_platform", "_stage", "_values")

    def __init__(self, values: Values, stage: int, index: int, platform: str = "") -> None:
        self._platform = platform
        self._values = values
        self._stage = stage
        self._index = index

    def __getitem__(self, name: str) -> str:
        value = self._values.value(name, self._stage, self._index)
        if value is None and self._platform and name in PLATFORM:
            return self._platform
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _needed(name: str, text: str) -> bool:
    """Whether a text uses a variable anywhere without saying what stands in for it."""
    follow = [after for _, after in uses(text, name)]
    return not follow or any(not after.removeprefix(":").startswith(("-", "+")) for after in follow)
