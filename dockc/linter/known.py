"""The commands of a script as they really run: known variables put in, and seen through what only runs another command.

    sudo -E apt-get install $PACKAGES     ->     sudo …     and     apt-get install curl git

Unknown variables stay `${NAME}` in the text of a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple, replace
from dockc.linter.scripts import Entry, Script
from dockc.linter.shell import ast
from dockc.linter.shell.commands import Argument, Command, Shell, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.linter.memory import Memory

#: Gives a variable's value, or None where it is not known.
Lookup = Callable[[str], "str | None"]

_NAME = pattern(r"[A-Za-z_]\w*")
_DEFAULTED = pattern(r"([A-Za-z_]\w*):?-([^$`{}\"'\\]*)")
_DEPTH = 3


def known(script: Script, value: Callable[[str, Entry], str | None], memory: Memory | None) -> Script:
    """A script with the commands that really run.

    Args:
        script: as it is written.
        value: what a variable holds at an instruction; None where that is not known.
        memory: what an earlier run has left, or None.
    """
    shell = script.shell
    if not shell.simples:
        return script
    entry = script.entry
    shadowed = _assigned(shell) if "$" in shell.text else {}

    def lookup(name: str) -> str | None:
        return shadowed[name] if name in shadowed else value(name, entry)

    def make(asking: Lookup) -> tuple[Command, ...]:
        return tuple(_commands(shell.simples, asking, 0, 0))

    commands = make(lookup) if memory is None else memory.commands(shell.text, lookup, make)
    return replace(script, shell=replace(shell, commands=commands))


def _assigned(shell: Shell) -> dict[str, str | None]:
    """Variables that the script sets itself; with a value where there is one plain one."""
    found: dict[str, str | None] = {}
    for simple in shell.simples:
        for item in (*simple.assignments, *simple.words):
            if isinstance(item, ast.Assignment):
                value = _plain(item.value)
                alone = not simple.words or not isinstance(simple.words[0], ast.Assignment)
                found[item.name] = value if item.name not in found and alone and not item.subscript else None
    for match in _SETS.finditer(shell.text):
        for name in match[1].split():
            found[name] = None
    return found


_SETS = pattern(r"\b(?:for|select|read(?:[ \t]+-\w+)*|getopts[ \t]+\S+)[ \t]+((?:[A-Za-z_]\w*[ \t]*)+)")


def _plain(word: ast.Word) -> str | None:
    texts = list(_expand(word, lambda _: None))
    return texts[0] if len(texts) == 1 and "${" not in texts[0] else None


# --- words


class _Piece(NamedTuple):
    text: str
    split: bool


def _pieces(parts: Sequence[ast.Part], lookup: Lookup, *, quoted: bool) -> Iterator[_Piece]:
    for part in parts:
        match part:
            case ast.DoubleQuoted():
                yield from _pieces(part.parts, lookup, quoted=True)
            case ast.Parameter():
                inner = "".join(piece.text for piece in _pieces(part.parts, lambda _: None, quoted=True))
                value = _value(inner, lookup)
                yield _Piece("${" + inner + "}", split=False) if value is None else _Piece(value, split=not quoted)
            case ast.Literal() | ast.SingleQuoted() | ast.DollarSingleQuoted() | ast.Glob():
                yield _Piece(part.text, split=False)
            case ast.Opaque():
                yield _Piece(part.text or "${VAR}", split=False)
            case _:
                yield _Piece("${VAR}", split=False)


def _value(inner: str, lookup: Lookup) -> str | None:
    if _NAME.fullmatch(inner):
        return lookup(inner)
    found = _DEFAULTED.fullmatch(inner)
    if found is None:
        return None
    value = lookup(found[1])
    return value or None  # whether a base image sets the variable is not known


def _expand(word: ast.Word | ast.Assignment, lookup: Lookup) -> list[str]:
    """The words that a word becomes: unquoted values are split at blanks, and may leave nothing."""
    if isinstance(word, ast.Assignment):
        return [""]
    words: list[str] = []
    current: str | None = None
    for text, split in _pieces(word.parts, lookup, quoted=False):
        if not split:
            current = (current or "") + text
            continue
        fields = text.split()
        if text[:1].isspace() and current is not None:
            words.append(current)
            current = None
        if not fields:
            continue
        words += [(current or "") + fields[0], *fields[1:]]
        current = words.pop() if not text[-1:].isspace() else None
    if current is not None or not any(isinstance(p, (ast.Parameter, ast.Literal)) for p in word.parts):
        words.append(current or "")
    return words


# --- commands


class _Item(NamedTuple):
    """A word after expansion and where it stands; `word` is there where it is written as it is."""

    text: str
    start: int
    end: int
    word: ast.Word | None


def _commands(
    simples: Sequence[ast.Simple], lookup: Lookup, shift: int, depth: int, *, written: bool = True
) -> Iterator[Command]:
    for simple in simples:
        items: list[_Item] = []
        for word in simple.words:
            texts = _expand(word, lookup)
            only = word if len(texts) == 1 and isinstance(word, ast.Word) else None
            items += [_Item(text, word.start + shift, word.end + shift, only) for text in texts]
        if items and "${" not in items[0].text and items[0].text:
            yield from _unwrapped(items, simple.start + shift, simple.end + shift, lookup, depth, written=written)


def _unwrapped(
    items: list[_Item], start: int, end: int, lookup: Lookup, depth: int, *, written: bool
) -> Iterator[Command]:
    """A command, and those that it runs."""
    inner = False
    while items:
        first = items[0]
        name = program(first.text)
        arguments = tuple(Argument(i.text, i.start, i.end) for i in items[1:])
        if name not in _SILENT or len(items) == 1:
            yield Command(name, arguments, start, end, first.end, inner, written)
        if name in _SHELLS:
            yield from _nested(items, lookup, depth)
            return
        at = _command_at(name, items)
        if at is None or "${" in items[at].text:
            return
        items = items[at:]
        start, inner = items[0].start, True


_ALIASES = {"dnf5": "dnf", "dnf-3": "dnf", "microdnf-5": "microdnf"}


def program(text: str) -> str:
    """The name of a program without its directory; what is dnf in all but name is dnf."""
    name = text.rpartition("/")[2] if text.startswith("/") else text
    return _ALIASES.get(name, name)


#: These are as if they were not there; the others are commands of their own, too.
_SILENT = frozenset(["command", "builtin", "exec", "busybox", "time"])
_SHELLS = frozenset(["sh", "bash", "dash", "ash", "ksh", "zsh"])

#: What runs another command: options that take a word, and how many words follow before the command.
_WRAPPERS: dict[str, tuple[str, int]] = {
    "builtin": ("", 0), "busybox": ("", 0), "chroot": ("", 1), "chrt": ("TPD", 1), "command": ("", 0), "doas": ("uC", 0), "eatmydata": ("", 0),
    "env": ("uCS", 0), "exec": ("a", 0), "fakechroot": ("elcd", 0), "fakeroot": ("lsib", 0), "gosu": ("", 1), "ionice": ("cnpPu", 0), "linux32": ("", 0),
    "linux64": ("", 0), "nice": ("n", 0), "nohup": ("", 0), "setarch": ("", 1), "setsid": ("", 0), "stdbuf": ("ioe", 0), "su-exec": ("", 1),
    "sudo": ("ughpCrtTUDR", 0), "taskset": ("", 1), "time": ("fo", 0), "timeout": ("ks", 1), "unbuffer": ("", 0), "xargs": ("aEdIiLlnPs", 0),
    "xvfb-run": ("enfpsw", 0),
}  # fmt: skip
_LONG_VALUES = frozenset(
    ["--user", "--group", "--host", "--prompt", "--chdir", "--unset", "--signal", "--kill-after", "--adjustment", "--max-args", "--max-procs", "--arg-file",
     "--delimiter", "--max-lines", "--max-chars", "--replace", "--format", "--output", "--class", "--classdata"]
)  # fmt: skip


def _command_at(name: str, items: list[_Item]) -> int | None:
    """Where the command begins that a command runs, or None."""
    options = _WRAPPERS.get(name)
    if options is None:
        return None
    with_value, before = options
    at = 1
    while at < len(items):
        text = items[at].text
        if text == "--":
            at += 1
            break
        if text.startswith("--"):
            at += 2 if text in _LONG_VALUES else 1
        elif text.startswith("-") and len(text) > 1:
            if name == "command" and text[1:2] in {"v", "V"}:
                return None
            if name == "nice" and text[1:].isdigit():
                at += 1
                continue
            taken = next((i for i, letter in enumerate(text[1:], 1) if letter in with_value), 0)
            at += 2 if taken == len(text) - 1 and taken else 1
        elif name in {"sudo", "env", "doas"} and _ASSIGNS.match(text):
            at += 1
        else:
            break
    at += before
    while name == "env" and at < len(items) and _ASSIGNS.match(items[at].text):
        at += 1
    return at if at < len(items) and items[at].text else None


_ASSIGNS = pattern(r"[A-Za-z_]\w*=")


def _nested(items: list[_Item], lookup: Lookup, depth: int) -> Iterator[Command]:
    """Commands of `sh -c 'SCRIPT'`, where the script stands there as it is."""
    at = next(
        (
            i
            for i, item in enumerate(items)
            if i and item.text.startswith("-") and not item.text.startswith("--") and "c" in item.text[1:]
        ),
        0,
    )
    while at and at + 1 < len(items) and items[at + 1].text.startswith(("-", "+")):
        at += 1
    if not at or at + 1 >= len(items) or depth >= _DEPTH:
        return
    item = items[at + 1]
    parts = item.word.parts if item.word is not None else ()
    if len(parts) != 1:
        return
    part = parts[0]
    if isinstance(part, ast.DoubleQuoted) and len(part.parts) == 1 and not part.translated:
        part = part.parts[0]
    if not isinstance(part, (ast.SingleQuoted, ast.Literal)) or not part.text.strip():
        return
    plain = item.end - item.start == len(part.text) + 2  # nothing but the quotes was taken away
    inner = read(part.text)
    if plain:
        yield from _commands(inner.simples, lookup, item.start + 1, depth + 1)
        return
    for command in _commands(inner.simples, lookup, 0, depth + 1):
        arguments = tuple(Argument(a.text, item.start, item.end) for a in command.arguments)
        yield Command(command.name, arguments, item.start, item.end, item.end, inner=True, written=False)
