"""DL3060 yarn-clean."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import caches, covered, hit_at, image, removes, same_from
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import alias


class YarnClean(Rule):
    """Reports `yarn install` that is not followed by `yarn cache clean` in the same RUN.

    ## Why

    The cache stays in the layer. A cache mount keeps it out of the image, and fast.
    """

    code = "DL3060"
    name = "yarn-clean"
    summary = "yarn leaves its cache in the layer"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3060",)
    bad = "FROM node:22\nRUN yarn install\n"
    good = "FROM node:22\nRUN yarn install && yarn cache clean\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        forgotten: list[tuple[Script, Command, ast.From | None]] = []
        bases: set[str] = set()
        current: ast.From | None = None
        scripts = {id(s.entry): s for s in context.runs}
        for entry in context.entries:
            if isinstance(entry.instruction, ast.From):
                current = entry.instruction
                bases.add(image(current.base.text).name)
            script = scripts.get(id(entry))
            if script is not None and (command := _forgotten(script)) is not None:
                if not context.parity and any(
                    removes(c, "/usr/local/share/.cache", "/root/.cache/yarn") for c in script.shell.commands
                ):
                    continue
                forgotten.append((script, command, current))
        for script, command, stage in forgotten:
            if not context.parity:
                if context.left_behind(script) and not covered(
                    script.instruction, "/usr/local/share/.cache/yarn", "/root/.cache/yarn", "/root/.yarn"
                ):
                    yield hit_at(context, script, command, _MESSAGE)
                continue
            last = stage is current or (stage is not None and current is not None and same_from(stage, current))
            feeds = stage is not None and alias(stage) and alias(stage) in bases
            if last or feeds or (script.onbuild and context.parity):
                yield hit_at(context, script, command, _MESSAGE)


_MESSAGE = "`yarn cache clean` missing after `yarn install` was run."


def _forgotten(script: Script) -> Command | None:
    """The first install that nothing is cleaned up behind."""
    commands = script.shell.commands
    installs = [i for i, c in enumerate(commands) if c.name == "yarn" and c.has_argument("install")]
    cleans = [i for i, c in enumerate(commands) if c.name == "yarn" and c.has_argument("cache", "clean")]
    if not installs:
        return None
    kept = caches(script.instruction, ".cache/yarn") if not cleans else cleans[0] >= installs[0]
    return None if kept else commands[installs[0]]
