"""What an editor's next run can take over from the one before: scripts that have not changed are not read and judged
again.

A memory belongs to one open file. What is kept is found by what it depends on, never by where it stands, so that lines
may move.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dockc.grammar.parser import Lines
    from dockc.linter.scripts import Script
    from dockc.linter.shell.commands import Command

    #: What rules, by code, said of the commands of a script.
    Shelf = dict[str, tuple[tuple[int, bool], ...]]
    #: Variables that a script asked for, and what they held.
    Asked = tuple[tuple[str, str | None], ...]

#: So many entries are kept; beyond them everything is forgotten.
_MOST = 20_000


class Memory:
    """Mutable.

    Attributes:
        lines: instructions by their logical line.
        scripts: by text, what the commands of a script are under which values of variables.
        verdicts: by commands and surroundings, then by rule: positions of the commands that the rule reports, and
            whether as strict.
        read: how many scripts were read anew; judged: how many pairs of a rule and a script were judged anew.
    """

    def __init__(self) -> None:
        self.lines: Lines = {}
        self.scripts: dict[str, list[tuple[Asked, tuple[Command, ...]]]] = {}
        self.verdicts: dict[tuple[object, ...], Shelf] = {}
        self._alive: dict[int, tuple[Command, ...]] = {}
        self.read = 0
        self.judged = 0

    def commands(
        self,
        text: str,
        lookup: Callable[[str], str | None],
        make: Callable[[Callable[[str], str | None]], tuple[Command, ...]],
    ) -> tuple[Command, ...]:
        """The commands of a script, made anew only where its text or a variable that it asks for is another."""
        for asked, commands in self.scripts.get(text, ()):
            if all(lookup(name) == value for name, value in asked):
                return commands
        self.read += 1
        seen: dict[str, str | None] = {}

        def watched(name: str) -> str | None:
            seen[name] = lookup(name)
            return seen[name]

        commands = make(watched)
        if len(self.scripts) + len(self.verdicts) + len(self.lines) > _MOST:
            self.lines.clear()
            self.scripts.clear()
            self.verdicts.clear()
            self._alive.clear()
        self.scripts.setdefault(text, []).append((tuple(seen.items()), commands))
        self._alive[id(commands)] = commands
        return commands

    def shelf(self, script: Script, surroundings: Callable[[], tuple[object, ...]]) -> Shelf | None:
        """Where verdicts on a script are kept: another one where its commands, or what rules may look at besides, are
        others. None where its commands are not kept.
        """
        commands = script.shell.commands
        if self._alive.get(id(commands)) is not commands:
            return None
        return self.verdicts.setdefault((id(commands), script.reader, *surroundings()), {})

    def verdict(
        self, code: str, shelf: Shelf | None, judge: Callable[[], tuple[tuple[int, bool], ...]]
    ) -> tuple[tuple[int, bool], ...]:
        """What a rule reports of a script, judged anew only where it is not on the shelf."""
        if shelf is None:
            return judge()
        found = shelf.get(code)
        if found is None:
            self.judged += 1
            found = shelf[code] = judge()
        return found
