"""What an editor's next run can take over from the one before: scripts that have not changed are not read and judged
again.

A memory belongs to one open file. What is kept is found by what it depends on, never by where it stands, so that lines
may move.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dockc.linter.scripts import Script
    from dockc.linter.shell.commands import Command

    #: Variables that a script asked for, and what they held.
    Asked = tuple[tuple[str, str | None], ...]

#: So many entries are kept; beyond them everything is forgotten.
_MOST = 20_000


class Memory:
    """Mutable.

    Attributes:
        scripts: by text, what the commands of a script are under which values of variables.
        verdicts: by rule, commands and surroundings: positions of the commands that the rule reports, and whether as
            strict.
        read: how many scripts were read anew; judged: how many pairs of a rule and a script were judged anew.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, list[tuple[Asked, tuple[Command, ...]]]] = {}
        self.verdicts: dict[tuple[object, ...], tuple[tuple[int, bool], ...]] = {}
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
        if len(self.scripts) + len(self.verdicts) > _MOST:
            self.scripts.clear()
            self.verdicts.clear()
            self._alive.clear()
        self.scripts.setdefault(text, []).append((tuple(seen.items()), commands))
        self._alive[id(commands)] = commands
        return commands

    def verdict(
        self,
        code: str,
        script: Script,
        surroundings: tuple[object, ...],
        judge: Callable[[], tuple[tuple[int, bool], ...]],
    ) -> tuple[tuple[int, bool], ...]:
        """What a rule reports of a script, judged anew only where its commands or what it may look at besides are
        others.
        """
        commands = script.shell.commands
        if self._alive.get(id(commands)) is not commands:
            return judge()
        key = (code, id(commands), script.reader, *surroundings)
        found = self.verdicts.get(key)
        if found is None:
            self.judged += 1
            found = self.verdicts[key] = judge()
        return found
