"""What yum and dnf install, and whether it names versions."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import image
from dockc.linter.shell.commands import Command
from dockc.linter.words import alias

_VERSION = pattern(r"[0-9A-Za-z.~^_:+]*")


def unpinned_runs(
    context: Context, programs: tuple[str, ...], groups: tuple[str, ...]
) -> Iterator[tuple[Script, Command]]:
    """Scripts in which one of the programs installs a package or module without a version, and the first command that
    does.

    Args:
        context: the file.
        programs: names of the package manager.
        groups: sub-commands that install other things than packages.
    """
    for script in context.runs:
        known: set[str] | None = None
        for command in script.shell.commands:
            if command.name not in programs or not command.has_argument("install"):
                continue
            words = [w for w in command.words if w not in {"install", "module"}]
            if command.has_argument("module"):
                if not all(":" in word for word in words):
                    yield script, command
                    break
                continue
            if command.has_argument(*groups):
                continue
            if known is None and any("$" in word for word in words):
                known = _variables(context, script)
            if not all(_pinned(word, known or set()) for word in words):
                yield script, command
                break


def _pinned(word: str, known: set[str]) -> bool:
    rest = word.split("-")[1:]
    if not rest:
        return False
    if word.endswith(".rpm"):
        return True
    if "$" in word:
        return any("${" + variable + "}" in word for variable in known)
    return all(_VERSION.fullmatch(part) for part in rest) and any(part[:1].isdigit() for part in rest)


def _variables(context: Context, script: Script) -> set[str]:
    """Names that ARG set anywhere before, and ENV in the stage or one that it builds on."""
    arguments: set[str] = set()
    by_stage: dict[str, set[str]] = {}
    current: set[str] = set()
    for entry in context.entries:
        if entry.index >= script.entry.index:
            break
        found = entry.instruction
        if context.parity and isinstance(found, ast.Onbuild) != script.onbuild:
            continue  # hadolint's triggers know of triggers only
        if isinstance(found, ast.Onbuild):
            found = found.trigger
        if isinstance(found, ast.From):
            current = set(by_stage.get(image(found.base.text).name, ()))
            if alias(found):
                by_stage[alias(found)] = current
        elif isinstance(found, ast.Arg):
            arguments.update(pair.key.text for pair in found.pairs)
        elif isinstance(found, ast.Env):
            current.update(pair.key.text for pair in found.pairs)
    return arguments | current
