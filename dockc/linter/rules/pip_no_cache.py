"""DL3042 pip-no-cache."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, alias, caches, image, insert_word, position, unquoted
from dockc.linter.pip import is_pip_install
from dockc.linter.rule import Fix, Hit, Severity
from dockc.linter.shell.commands import Command


class PipNoCache(CommandRule):
    """Reports `pip install` without `--no-cache-dir`.

    ## Why

    Downloaded packages stay in the layer and are never used again. `PIP_NO_CACHE_DIR=1` in ENV, or a cache mount, will do too.

    ## Fix

    Adds `--no-cache-dir`.
    """

    code = "DL3042"
    name = "pip-no-cache"
    summary = "pip leaves its cache in the layer"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3042",)
    message = "Avoid use of cache directory with pip. Use `pip install --no-cache-dir <package>`"
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM python:3.13\nRUN pip install flask==3.0.3\n"
    good = "FROM python:3.13\nRUN pip install --no-cache-dir flask==3.0.3\n"
    fixed = "FROM python:3.13\nRUN pip install --no-cache-dir flask==3.0.3\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        self.off = _without_cache(context, triggers=False) | _without_cache(context, triggers=True)
        return super().check(context)

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if not is_pip_install(command) or "--no-cache-dir" in command.texts:
            return False
        return not any(_is_wrapper(command, name) for name in ("pipx", "pipenv"))

    def excuses(self, script: Script, context: Context) -> bool:
        """Where the cache is off, or kept in a mount."""
        if caches(script.instruction, ".cache/pip"):
            return True
        if not context.parity and caches(script.instruction, "/pip"):
            return True
        _, found, rest = script.shell.text.partition("PIP_NO_CACHE_DIR=")
        if found and (rest if context.parity else rest.lower()).startswith(_TRUE):
            return True
        return script.entry.index in self.off

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        return insert_word(command, script, position(command, "install"), "--no-cache-dir", "Add --no-cache-dir")


_TRUE = ("1", "true", "True", "TRUE", "on", "On", "ON", "yes", "Yes", "YES")


def _is_wrapper(command: Command, name: str) -> bool:
    texts = command.texts
    pairs = [texts[i : i + 2] for i in range(len(texts))]
    return name in command.name or (command.name.startswith("python") and ("-m", name) in pairs)


def _without_cache(context: Context, *, triggers: bool) -> set[int]:
    """Entries where the environment turns the cache off: the stage's, or that of the stage it builds on.

    In hadolint's profile triggers (`triggers`) know of each other only.
    """
    off: set[str] = set()
    here: set[int] = set()
    current = ""
    for entry in context.entries:
        found = entry.instruction
        behind = isinstance(found, ast.Onbuild)
        if isinstance(found, ast.Onbuild):
            found = found.trigger
        if context.parity and behind != triggers:
            continue
        if isinstance(found, ast.From):
            base = image(found.base.text).name
            current = alias(found) or base
            if base in off:
                off.add(current)
            else:
                off.discard(current)
        elif isinstance(found, ast.Env):
            values = [pair.value.text for pair in found.pairs if pair.key.text == "PIP_NO_CACHE_DIR"]
            if values and (values[0] if context.parity else unquoted(values[-1]).lower()) in _TRUE:
                off.add(current)
        elif current in off:
            here.add(entry.index)
    return here
