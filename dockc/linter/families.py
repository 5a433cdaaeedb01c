"""What many rules share: rules about commands, about instructions, and words on images, mounts and packages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context, Entry, Script
from dockc.linter.rule import Fix, Hit, Rule
from dockc.linter.shell.commands import Argument, Command
from dockc.linter.words import alias, mounts, unquoted, uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

ARCHIVES = (
    ".tar", ".Z", ".bz2", ".gz", ".lz", ".lzma", ".tZ", ".tb2", ".tbz", ".tbz2", ".tgz", ".tlz", ".tpz", ".txz", ".xz",
)  # fmt: skip


_EXPANSION = pattern(r"\$\{(?:[^{}]|\{[^{}]*\})*\}?")


class CommandRule(Rule):
    """A rule about single commands of RUN scripts.

    Class attributes:
        message: what is said.
        triggers: whether commands behind ONBUILD count.
        local: it looks at one script and what `surroundings` has, and at no other instruction.
        parity: while a file is checked, whether a peer's findings are wanted.
    """

    message: ClassVar[str]
    triggers: ClassVar[bool] = True
    local: ClassVar[bool] = True
    parity = False

    def offends(self, command: Command, script: Script) -> bool:
        """Whether the command is what the rule is about."""
        raise NotImplementedError

    def reported(self, script: Script, context: Context) -> tuple[tuple[int, bool], ...]:
        """Positions of the commands that are reported, and whether for the set `strict` only. Remembered for an
        editor's next run.
        """
        if context.memory is None or not self.local:
            return self.judge(script, context)
        shelf = context.shelves.get(id(script))
        return context.memory.verdict(self.code, shelf, lambda: self.judge(script, context))

    def judge(self, script: Script, context: Context) -> tuple[tuple[int, bool], ...]:
        """As `reported`, anew."""
        if self.excuses(script, context):
            return ()
        commands = enumerate(script.shell.commands)
        return tuple((index, self.minor(c, script, context)) for index, c in commands if self.offends(c, script))

    def excuses(self, script: Script, context: Context) -> bool:
        """Whether the whole script is let off."""
        return False

    def mend(self, command: Command, script: Script) -> Fix | None:
        """A fix for one command; called only where the command stands in the source as it is."""
        return None

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """Whether a finding belongs to the set `strict` only. Asked in dockc's own profile."""
        return False

    def check(self, context: Context) -> Iterator[Hit]:
        """One hit a command; one a RUN where a peer's findings are wanted."""
        self.parity = context.parity
        for script in context.runs:
            if script.onbuild and not self.triggers:
                continue
            if context.parity:
                if self.excuses(script, context):
                    continue
                if any(self.offends(c, script) for c in script.shell.commands):
                    yield Hit(script.entry.node.span, self.message, script.entry.node.lines)
                continue
            for index, strict in self.reported(script, context):
                command = script.shell.commands[index]
                fix = self.mend(command, script) if script.exact and command.written else None
                yield Hit(script.span(command.start, command.end), self.message, fix=fix, strict=strict)


def hit_at(context: Context, script: Script, command: Command, message: str) -> Hit:
    """A hit at a command; at the whole RUN where a peer's findings are wanted."""
    if context.parity:
        return Hit(script.instruction.span, message, script.entry.node.lines)
    return Hit(script.span(command.start, command.end), message)


class InstallRule(CommandRule):
    """A rule about the package words of an installing command. `packages` gives those that count."""

    def packages(self, command: Command) -> list[str]:
        """The words that name packages; empty where the command installs none."""
        raise NotImplementedError

    def pinned(self, package: str) -> bool:
        """Whether a word names a version."""
        raise NotImplementedError

    def offends(self, command: Command, script: Script) -> bool:
        """An install with any package that is not pinned."""
        packages = self.packages(command)
        if not self.parity:  # of what is not known nothing is said
            packages = [package for package in packages if "${" not in package]
        return not all(self.pinned(package) for package in packages)


def insert_word(command: Command, script: Script, after: int, word: str, title: str, *, safe: bool = True) -> Fix:
    """A fix that puts a word after an argument (`-1`: after the command's name)."""
    at = command.name_end if after < 0 else command.arguments[after].end
    place = script.span(at - 1, at).end
    kind = Applicability.SAFE if safe else Applicability.UNSAFE
    return Fix(title, (Edit(Span(place, place), f" {word}"),), kind)


def position(command: Command, *texts: str) -> int:
    """Index of the first argument with one of these texts, or -1."""
    return next((i for i, a in enumerate(command.arguments) if a.text in texts), -1)


def replace_argument(argument: Argument, script: Script, text: str, title: str, *, safe: bool = False) -> Fix:
    """A fix that writes another word."""
    kind = Applicability.SAFE if safe else Applicability.UNSAFE
    return Fix(title, (Edit(script.span(argument.start, argument.end), text),), kind)


def target(mount: dict[str, str]) -> str:
    """Where a mount goes."""
    return mount.get("target") or mount.get("dst") or mount.get("destination") or ""


def caches(run: ast.Instruction, *fragments: str) -> bool:
    """Whether a cache or tmpfs mount goes to a path that holds any of the fragments."""
    return any(
        fragment in target(mount)
        for mount in mounts(run)
        if mount.get("type") in {"cache", "tmpfs"}
        for fragment in fragments
    )


def covered(run: ast.Instruction, *places: str) -> bool:
    """Whether a cache or tmpfs mount goes to one of some places, or to one that holds it."""
    found = [target(mount).rstrip("/") for mount in mounts(run) if mount.get("type") in {"cache", "tmpfs"}]
    return any(place == at or place.startswith(f"{at}/") for at in found if at for place in places)


class Image(NamedTuple):
    """An image reference as it is written: not normalised, variables and all."""

    registry: str
    name: str
    tag: str
    digest: str


def image(text: str, *, parity: bool = True) -> Image:
    """Take a reference apart: `[REGISTRY/]NAME[:TAG][@DIGEST]`. Colons in `${…}` belong to the variable.

    With `parity`, as hadolint does: a registry is what has a dot in it. Without, also `localhost` and what has a port.
    """
    if not parity:
        text = unquoted(text)
    plain = _EXPANSION.sub(lambda m: "$" * len(m.group()), text) if "${" in text else text
    registry = ""
    dot = plain.find(".")
    slash = plain.find("/", dot + 1) if dot > 0 else -1
    first = plain.partition("/")[0] if "/" in plain else ""
    if not parity and "." not in first and (":" in first or first == "localhost"):
        dot, slash = 0, len(first)
    if slash > dot + 1:
        registry = text[:slash]
        text, plain = text[slash + 1 :], plain[slash + 1 :]
    ends = [i for i in (plain.find(":"), plain.find("@")) if i >= 0]
    end = min(ends, default=len(text))
    name, rest, plain = text[:end], text[end:], plain[end:]
    at = plain.find("@")
    digest = rest[at + 1 :] if at >= 0 else ""
    tag = rest[1 : at if at >= 0 else len(rest)] if rest.startswith(":") else ""
    return Image(registry, name, tag, digest)


def removes(command: Command, *places: str) -> bool:
    """Whether `rm` or `find -delete` takes away a place, or one that it is in; places are given without the slash at
    their end.
    """
    if command.name == "find":
        return "-delete" in command.texts and any(_covers(text, place) for text in command.texts for place in places)
    return command.name in {"rm", "rmdir"} and any(_covers(text, place) for text in command.texts for place in places)


def _covers(text: str, place: str) -> bool:
    for home in ("${HOME}", "~"):
        if text.startswith(home):
            text = "/root" + text[len(home) :]
    text = text.rstrip("*").rstrip("/")
    return bool(text) and (
        text == place or text.startswith(f"{place}/") or (place.startswith(f"{text}/") and text.count("/") > 1)
    )


def same_from(a: ast.From, b: ast.From) -> bool:
    """Whether two FROM say the same."""
    return (a.base.text, a.platform.text, alias(a)) == (b.base.text, b.platform.text, alias(b))


def is_windows_absolute(path: str) -> bool:
    """`C:` and the like."""
    return len(path) > 1 and path[0].isalpha() and path[1] == ":"


def each_stage(context: Context) -> Iterator[tuple[ast.From, tuple[Entry, ...]]]:
    """FROM and the entries of each stage."""
    for stage in context.stages:
        if stage and isinstance(stage[0].instruction, ast.From):
            yield stage[0].instruction, stage


def stretches(context: Context) -> Iterator[tuple[Entry, ...]]:
    """Entries stage by stage, and before these what stands before the first FROM."""
    before = tuple(entry for entry in context.entries if entry.stage < 0)
    if before:
        yield before
    yield from context.stages


def declared(context: Context) -> Iterator[tuple[Entry, str]]:
    """Names that ARG and ENV declare, triggers included, in order."""
    for entry in context.entries:
        found = entry.instruction.trigger if isinstance(entry.instruction, ast.Onbuild) else entry.instruction
        if isinstance(found, (ast.Arg, ast.Env)):
            for pair in found.pairs:
                yield entry, pair.key.text


def mentions(text: str, name: str) -> bool:
    """Whether `$name` or `${name…` stands in a text."""
    return any(True for _ in uses(text, name))


_QUOTES = pattern(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)


def _inner(found: re.Match[str]) -> str:
    quote = found[0][0]
    return found[0][1:-1].replace(f"\\{quote}", quote)


def labels(context: Context) -> Iterator[tuple[Entry, ast.Word, ast.Word]]:
    """Key and value of all labels, as written but for quotes around them."""
    for entry, label in context.all(ast.Label):
        for pair in label.pairs:
            if context.parity:
                yield entry, pair.key, pair.value
            else:
                value = ast.Word(_QUOTES.sub(_inner, pair.value.text), pair.value.span)
                yield entry, ast.Word(unquoted(pair.key.text), pair.key.span), value
