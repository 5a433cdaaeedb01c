"""What rules look at: the instructions of a file, and what is known about each."""

from __future__ import annotations

from functools import cached_property

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.scripts import Entry as Entry
from dockc.linter.scripts import Script as Script
from dockc.linter.scripts import peer_script, script
from dockc.linter.settings import Settings as Settings
from dockc.linter.sheet import Sheet
from dockc.linter.words import verifies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.linter.bases import Base
    from dockc.linter.memory import Shelf
    from dockc.linter.shells import ShellState
    from dockc.linter.values import Values

#: What may be the name of a file in a script, its directory left out.
_FILE = pattern(r"[^\s/'\"=;|&()<>]+")


class Context(Sheet):
    """One file and what is known about it. Immutable; derived facts are computed once."""

    @cached_property
    def runs(self) -> tuple[Script, ...]:
        """Scripts of all RUN instructions, those behind ONBUILD included.

        But for a peer's profile, their commands are those that really run, with known variables put in.
        """
        if self.parity:
            return tuple(peer_script(entry, run) for entry, run in self.all_or_triggers(ast.Run))
        from dockc.linter.known import known

        return tuple(known(script(entry, run), self.value, self.memory) for entry, run in self.all_or_triggers(ast.Run))

    @cached_property
    def shelves(self) -> dict[int, Shelf | None]:
        """Where verdicts on the scripts of `runs` are kept for an editor's next run, by the script's identity."""
        memory = self.memory
        if memory is None:
            return {}
        return {id(one): memory.shelf(one, lambda one=one: self.surroundings(one)) for one in self.runs}  # type: ignore[misc]

    def surroundings(self, script: Script) -> tuple[object, ...]:
        """All that rules about single commands may look at besides the commands: the step's options, the stage and its
        image, the user.
        """
        stage = script.entry.stage
        base = self.bases[stage] if 0 <= stage < len(self.bases) else None
        facts = (base.distribution, base.shell, base.known, base.windows) if base is not None else ()
        flags = tuple(flag.text for flag in script.instruction.flags)
        off = self.values.at("PIP_NO_CACHE_DIR", script.entry)
        return (*facts, flags, script.onbuild, self.left_behind(script), self.users[script.entry.index], off)

    @cached_property
    def verified(self) -> dict[tuple[int, str], int]:
        """By stage and name of a file, the last instruction whose script checks hashes or signatures and has that name."""
        found: dict[tuple[int, str], int] = {}
        for one in self.runs:
            if any(map(verifies, one.shell.commands)):
                for name in _FILE.findall(one.shell.text):
                    found[one.entry.stage, name] = one.entry.index
        return found

    def value(self, name: str, entry: Entry) -> str | None:
        """What a variable holds at an instruction; nothing is worked out before somebody asks."""
        return self.values.at(name, entry)

    @cached_property
    def values(self) -> Values:
        """What variables are known to hold."""
        from dockc.linter.values import Values

        return Values(self)

    @cached_property
    def bases(self) -> tuple[Base, ...]:
        """What each stage stands on."""
        from dockc.linter.bases import bases

        return bases(self, self.values)

    @cached_property
    def shells(self) -> tuple[ShellState, ...]:
        """The shell at each entry."""
        from dockc.linter.shells import shell_states

        return shell_states(self.entries, self.bases)

    @cached_property
    def users(self) -> tuple[str | None, ...]:
        """The user at each entry, as far as it is known."""
        from dockc.linter.shells import users

        return users(self.entries, self.bases, self.values)

    @cached_property
    def kept(self) -> frozenset[int]:
        """Stages whose files reach an image."""
        from dockc.linter.stages import kept_stages

        return kept_stages(self, self.bases, self.values)

    def left_behind(self, script: Script) -> bool:
        """Whether what a RUN leaves in its layer reaches an image."""
        return script.entry.stage in self.kept or script.onbuild
