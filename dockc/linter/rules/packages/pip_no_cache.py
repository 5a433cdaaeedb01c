"""DL3042 pip-no-cache."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, caches, covered, image, insert_word, position, removes
from dockc.linter.pip import is_pip_install
from dockc.linter.rule import Fix, Hit, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import alias


class PipNoCache(CommandRule):
    """Reports `pip install` without `--no-cache-dir`.

    ## Why

    Downloaded packages stay in the layer and are never used again. `PIP_NO_CACHE_DIR=1` in ENV, or a cache mount, will
    do too.

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
        self.off = (
            _without_cache(context, triggers=False) | _without_cache(context, triggers=True)
            if context.parity
            else set()
        )
        return super().check(context)

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if not is_pip_install(command) or "--no-cache-dir" in command.texts:
            return False
        if not self.parity and (command.has_flag("dry-run", "no-cache") or command.has_flag("cache-dir")):
            return False
        return not any(_is_wrapper(command, name) for name in ("pipx", "pipenv"))

    def excuses(self, script: Script, context: Context) -> bool:
        """Where the cache is off, or kept in a mount; also where it is cleaned up, or no image gets the layer."""
        if caches(script.instruction, ".cache/pip"):
            return True
        if not context.parity:
            return self.leaves_nothing(script, context)
        _, found, rest = script.shell.text.partition("PIP_NO_CACHE_DIR=")
        if found and rest.startswith(_TRUE):
            return True
        return script.entry.index in self.off

    def leaves_nothing(self, script: Script, context: Context) -> bool:
        """Whether no image has pip's cache after a script."""
        if (
            not context.left_behind(script)
            or caches(script.instruction, "/pip")
            or covered(script.instruction, "/root/.cache/pip")
        ):
            return True
        if (context.values.at("PIP_NO_CACHE_DIR", script.entry) or "").lower() in _BOOLEANS or _SWITCHED.search(
            script.shell.text
        ):
            return True
        # With HOME elsewhere the cache is elsewhere, too.
        return any(
            removes(c, "/root/.cache/pip")
            or any(a.text.rstrip("/*").endswith((".cache", ".cache/pip")) for a in c.arguments if c.name == "rm")
            or (c.name.startswith(("pip", "python")) and c.has_argument("cache") and c.has_argument("purge", "remove"))
            for c in script.shell.commands
        )

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `install`."""
        return insert_word(command, script, position(command, "install"), "--no-cache-dir", "Add --no-cache-dir")


#: pip takes any truth value of this variable, false ones too, as the flag being given.
_BOOLEANS = frozenset(["1", "y", "yes", "t", "true", "on", "0", "n", "no", "f", "false", "off"])
_SWITCHED = pattern(
    r"\bPIP_NO_CACHE_DIR=[\"']?(?:1|0|y|n|t|f|on|off|yes|no|true|false)\b|\bconfig\s+set\s+(?:\S+\.)?no-cache-dir\s",
    re.IGNORECASE,
)
_TRUE = ("1", "true", "True", "TRUE", "on", "On", "ON", "yes", "Yes", "YES")


def _is_wrapper(command: Command, name: str) -> bool:
    texts = command.texts
    pairs = [texts[i : i + 2] for i in range(len(texts))]
    return name in command.name or (command.name.startswith("python") and ("-m", name) in pairs)


def _without_cache(context: Context, *, triggers: bool) -> set[int]:
    """Entries where the environment turns the cache off: the stage's, or that of the stage it builds on.

    For hadolint, which this is for, triggers (`triggers`) know of each other only.
    """
    off: set[str] = set()
    here: set[int] = set()
    current = ""
    for entry in context.entries:
        found = entry.instruction
        behind = isinstance(found, ast.Onbuild)
        if isinstance(found, ast.Onbuild):
            found = found.trigger
        if behind != triggers:
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
            if values and values[0] in _TRUE:
                off.add(current)
        elif current in off:
            here.add(entry.index)
    return here
