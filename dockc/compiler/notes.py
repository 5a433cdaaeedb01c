"""What is noted of a stage while it is lowered, for an outline: its ARGs, secrets and ssh agents."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    Lines = tuple[int, int]


class ArgInfo:
    """An ARG: its value, what the comment above says about it, the ARGs its default is made of."""

    __slots__ = ("depends", "description", "lines", "name", "value")

    def __init__(self, name: str, value: str, description: str, depends: set[str], lines: Lines) -> None:
        self.name: Final = name
        self.value: Final = value
        self.description: Final = description
        self.depends: Final = depends
        self.lines: Final = lines


class Needed:
    """A secret or an ssh agent that a RUN asks for."""

    __slots__ = ("lines", "required")

    def __init__(self, lines: Lines, *, required: bool) -> None:
        self.lines: Final = lines
        self.required: Final = required


class Capture:
    """What is noted of one stage while it is lowered; a stage starts with a copy of its base's notes."""

    __slots__ = ("args", "secrets", "ssh", "used")

    def __init__(self) -> None:
        self.args: dict[str, ArgInfo] = {}
        self.used: dict[str, None] = {}
        self.secrets: dict[str, Needed] = {}
        self.ssh: dict[str, Needed] = {}

    def clone(self) -> Capture:
        """A copy that can be added to on its own."""
        other = Capture()
        other.args = self.args.copy()
        other.used = self.used.copy()
        other.secrets = self.secrets.copy()
        other.ssh = self.ssh.copy()
        return other

    def used_args(self) -> list[ArgInfo]:
        """The ARGs in use, with those that their defaults are made of."""
        pending = list(self.used)
        seen = set(pending)
        found = []
        for name in pending:
            info = self.args.get(name)
            if info is None:
                continue
            found.append(info)
            for other in sorted(info.depends - seen):
                seen.add(other)
                pending.append(other)
        return found
