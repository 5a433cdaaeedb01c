"""Commands of a script as lint rules see them: a literal name, arguments as text, flags."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from dockc.base.record import Record
from dockc.linter.shell import ast
from dockc.linter.shell.parser import ShellSyntaxError, parse


class Argument(Record):
    """A word after the command's name: its text with quotes removed and variables as `${NAME}`, and its place."""

    text: str
    start: int
    end: int


class Command(Record):
    """A simple command whose name is literal.

    Attributes:
        name: exactly as written, quotes removed; what `command`, `builtin`, `exec` and `busybox` run instead of these.
        arguments: all words after the first one.
        start, end: offsets in the script.
        name_end: where the first word ends.
        inner: another command runs it, as `sudo` does.
        written: its text is the script's own, so that words can be put into it.
    """

    name: str
    arguments: tuple[Argument, ...]
    start: int
    end: int
    name_end: int
    inner: bool = False
    written: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """The arguments' texts."""
        return tuple(a.text for a in self.arguments)

    @property
    def flags(self) -> tuple[tuple[str, int], ...]:
        """`(flag, argument index)`: a long flag without `--` up to `=`; each letter of a short bundle by itself."""
        found: list[tuple[str, int]] = []
        for index, argument in enumerate(self.arguments):
            text = argument.text
            if text in {"-", "--"} or not text.startswith("-"):
                continue
            if text.startswith("--"):
                found.append((text[2:].partition("=")[0], index))
            else:
                found += [(letter, index) for letter in text[1:]]
        return tuple(found)

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that are not flags."""
        flagged = {index for _, index in self.flags}
        return tuple(a.text for i, a in enumerate(self.arguments) if i not in flagged)

    def has_flag(self, *names: str) -> bool:
        """Whether any of the flags is given."""
        return any(flag in names for flag, _ in self.flags)

    def count_flag(self, name: str) -> int:
        """How often a flag is given."""
        return sum(flag == name for flag, _ in self.flags)

    def has_argument(self, *texts: str) -> bool:
        """Whether any argument has one of these texts."""
        return any(a.text in texts for a in self.arguments)

    def flag_values(self, name: str) -> tuple[str, ...]:
        """The words that follow a flag, one for each use that has a following word."""
        return tuple(
            self.arguments[index + 1].text
            for flag, index in self.flags
            if flag == name and index + 1 < len(self.arguments)
        )

    def without_values_of(self, names: Iterable[str]) -> Command:
        """The command without the words that follow any of these flags, unless the flag carries its value after `=`."""
        wanted = set(names)
        dropped = {index + 1 for flag, index in self.flags if flag in wanted and "=" not in self.arguments[index].text}
        kept = tuple(a for i, a in enumerate(self.arguments) if i not in dropped)
        return Command(self.name, kept, self.start, self.end, self.name_end, self.inner, self.written)


class Shell(Record):
    """A script as rules see it: empty where it does not parse.

    Attributes:
        text: the script.
        ok: whether it parsed to its end; where something cannot follow, the commands before it are kept.
        commands: in the order written, each once.
        pipes: number of `|`.
        pipelines: where they stand.
        simples: simple commands as parsed, also those whose name is not literal.
    """

    text: str
    ok: bool
    commands: tuple[Command, ...]
    pipes: int
    pipelines: tuple[ast.Pipeline, ...] = ()
    simples: tuple[ast.Simple, ...] = ()

    def using(self, name: str) -> bool:
        """Whether a command of this name is called."""
        return any(c.name == name for c in self.commands)


@lru_cache(maxsize=4096)
def read(text: str) -> Shell:
    """Parse a script; a script that does not parse has no commands."""
    try:
        script = parse(text)
    except ShellSyntaxError:
        return Shell(text, False, (), 0)
    commands: list[Command] = []
    pipelines: list[ast.Pipeline] = []
    simples: list[ast.Simple] = []
    for node in ast.walk(script):
        if isinstance(node, ast.Pipeline):
            pipelines.append(node)
        else:
            simples.append(node)
            if (command := _command(node)) is not None:
                commands.append(command)
    pipes = sum(len(p.commands) - 1 for p in pipelines)
    return Shell(text, script.complete, tuple(commands), pipes, tuple(pipelines), tuple(simples))


def _command(node: ast.Simple) -> Command | None:
    if not node.words or not isinstance(node.words[0], ast.Word):
        return None
    first = node.words[0]
    name = literal(first)
    if name is None:
        return None
    arguments = tuple(Argument(simplify(w), w.start, w.end) for w in node.words[1:])
    effective = _effective(name, node.words[1:])
    if effective is not None:
        inner = literal(effective) if isinstance(effective, ast.Word) else None
        if inner is None:
            return None
        name = inner
    return Command(name, arguments, node.start, node.end, first.end)


def _effective(name: str, rest: tuple[ast.Word | ast.Assignment, ...]) -> ast.Word | ast.Assignment | None:
    if name in {"busybox", "builtin", "command", "run"}:
        if rest and not simplify(rest[0]).startswith("-"):
            return rest[0]
        return None
    if name != "exec":
        return None
    skip = False
    for word in rest:
        text = simplify(word)
        if skip:
            skip = False
        elif text.startswith("-") and len(text) > 1 and text != "--":
            skip = text[-1] == "a"
        elif text != "--":
            return word
    return None


def literal(word: ast.Word) -> str | None:
    """The word's text where nothing in it is expanded, else None."""
    return _literal(word.parts)


def _literal(parts: tuple[ast.Part, ...]) -> str | None:
    out: list[str] = []
    for part in parts:
        if isinstance(part, (ast.Literal, ast.SingleQuoted, ast.DollarSingleQuoted)):
            out.append(part.text)
        elif isinstance(part, ast.DoubleQuoted):
            inner = _literal(part.parts)
            if inner is None:
                return None
            out.append(inner)
        else:
            return None
    return "".join(out)


def simplify(word: ast.Word | ast.Assignment) -> str:
    """A word's text: quotes removed, `$NAME` as `${NAME}`, what cannot be known left out. An assignment has none."""
    return "" if isinstance(word, ast.Assignment) else "".join(map(_simplify, word.parts))


def _simplify(part: ast.Part) -> str:
    match part:
        case ast.Literal() | ast.SingleQuoted() | ast.DollarSingleQuoted() | ast.Glob():
            return part.text
        case ast.DoubleQuoted():
            return "" if part.translated else "".join(map(_simplify, part.parts))
        case ast.Parameter():
            return "${" + "".join(map(_simplify, part.parts)) + "}"
        case ast.Arithmetic():
            return "${VAR}"
        case ast.Substitution(style="backtick"):
            return "${VAR}"
        case ast.Substitution(style="dollar"):
            return "${" + "".join(map(_simplify_node, part.body)) + "}"
        case _:
            return ""


def _simplify_node(node: ast.Node) -> str:
    return "".join(map(simplify, node.words)) if isinstance(node, ast.Simple) else ""
