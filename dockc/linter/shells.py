"""The shell that runs each instruction, with its options: SHELL in any spelling, inherited through own stages, or what
the base image has.
"""

from __future__ import annotations

from collections.abc import Sequence

from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.linter.bases import Base
from dockc.linter.scripts import Entry
from dockc.linter.values import Values

POSIX = frozenset(["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"])


class ShellState(Record):
    """A shell with its options.

    Attributes:
        words: as SHELL gives them; empty for the builder's own choice.
        name: of the program without directory, in lower case: `sh`, `bash`, `pwsh`, `cmd`, ….
        kind: what it really is: `bash`, `dash`, `busybox`, `zsh`, `ksh`, `windows`, or "" where the base image does not
            say.
        errexit, pipefail: whether these options are set.
    """

    words: tuple[str, ...] = ()
    name: str = "sh"
    kind: str = ""
    errexit: bool = False
    pipefail: bool = False

    @property
    def posix(self) -> bool:
        """Whether it reads the language that ShellCheck knows."""
        return self.name in POSIX and self.kind != "windows"

    @property
    def stops_in_pipes(self) -> bool:
        """Whether a failure anywhere in a pipe ends a step; where the shell has no such thing there is nothing to set
        either.
        """
        # dash of the stable distributions has no pipefail, and stops at the option.
        return not self.posix or (self.pipefail and self.kind != "dash")


def shell_state(words: tuple[str, ...], base: Base) -> ShellState:
    """What the words of a SHELL, or of an exec form up to the script, say."""
    rest = list(words)
    while rest and _basename(rest[0]) in {"env", "busybox", "exec", "nice"}:
        rest.pop(0)
        while rest and (rest[0].startswith("-") or "=" in rest[0]):
            rest.pop(0)
    if not rest:
        return ShellState(words, kind="windows" if base.windows else base.shell)
    pieces = rest[0].split() if len(rest) == 1 else [rest[0]]  # a whole command line in one word
    name = _basename(pieces[0]) if pieces else ""
    options = pieces[1:] + rest[1:]
    found = _options(options)
    return ShellState(words, name, _kind(name, base), "errexit" in found, "pipefail" in found)


def _basename(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")


def _kind(name: str, base: Base) -> str:
    if name in {"cmd", "powershell", "pwsh"}:
        return "windows"
    if name in {"bash", "zsh", "ksh", "dash"}:
        return name
    if name in {"ash", "busybox"}:
        return "busybox"
    return ("windows" if base.windows else base.shell) if name == "sh" else ""


_LETTERS = {"e": "errexit"}


def _options(words: list[str]) -> frozenset[str]:
    """Options that a shell's words set: `-e`, `-o errexit`, `-eo pipefail`, `-euxo pipefail`; `+e` takes one back."""
    found: set[str] = set()
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in {"-", "--"} or word[:1] not in {"-", "+"}:
            break
        if word.startswith("--"):
            continue
        change = found.add if word[0] == "-" else found.discard
        for letter in word[1:]:
            if letter in _LETTERS:
                change(_LETTERS[letter])
            elif letter in "oO" and at < len(words):
                if letter == "o":
                    for name in words[at].split():
                        change(name.replace("-", "").replace("_", "").lower())
                at += 1
    return frozenset(found)


def shell_states(entries: Sequence[Entry], bases: Sequence[Base]) -> tuple[ShellState, ...]:
    """The shell at each entry, by index. A stage on an own stage begins with what that one ended with."""
    states: list[ShellState] = []
    ends: dict[int, ShellState] = {}
    now = ShellState()
    base = Base("", 0)
    for entry in entries:
        found = entry.instruction
        if entry.keyword == "FROM" and 0 <= entry.stage < len(bases):
            ends[entry.stage - 1] = now
            base = bases[entry.stage]
            default = ShellState(name="cmd" if base.windows else "sh", kind="windows" if base.windows else base.shell)
            below = [ends[i] for i in base.below if i in ends]
            now = below[0] if below and len(set(below)) == 1 else default
        elif isinstance(found, ast.Shell):
            now = shell_state(found.shell, base)
        states.append(now)
    return tuple(states)


# --- the user

#: USER says something, and what is not known.
UNKNOWN_USER = "?"


def users(entries: Sequence[Entry], bases: Sequence[Base], values: Values) -> tuple[str | None, ...]:
    """The user at each entry, by index: what USER says, also that of an own stage below, or what the base image is
    known to set; None is unknown.
    """
    found: list[str | None] = []
    ends: dict[int, str | None] = {}
    now: str | None = None
    for entry in entries:
        if entry.keyword == "FROM" and 0 <= entry.stage < len(bases):
            ends[entry.stage - 1] = now
            base = bases[entry.stage]
            below = {ends[i] for i in base.below if i in ends}
            now = below.pop() if len(below) == 1 else base.user
            if (
                not base.below
                and now is None
                and base.distribution in {"debian", "ubuntu", "alpine", "rhel", "suse", "arch", "busybox", "scratch"}
                and _bare(base.image)
            ):
                now = "root"
        elif isinstance(entry.instruction, ast.User):
            value = values.word(entry.instruction.user, entry)
            now = value or UNKNOWN_USER
        found.append(now)
    return tuple(found)


_BARE = frozenset(
    ["debian", "ubuntu", "alpine", "fedora", "centos", "rockylinux", "almalinux", "amazonlinux", "oraclelinux", "archlinux", "busybox", "scratch",
     "buildpack-deps", "python", "node", "golang", "rust", "ruby", "php", "gcc", "perl", "eclipse-temurin", "openjdk", "maven", "nginx", "httpd"]
)  # fmt: skip


def _bare(image: str) -> bool:
    """Whether an image is one of those whose user is root, by its maker's word."""
    name = image.partition("@")[0].partition(":")[0].lower()
    return name.rpartition("/")[2] in _BARE and ("/" not in name or name.startswith(("docker.io/", "library/")))


def is_root(user: str | None) -> bool:
    """Whether a USER word is root."""
    return user is not None and user.partition(":")[0] in {"root", "0"}
