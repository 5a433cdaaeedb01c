"""DK0307 npm-ci."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import position, replace_argument
from dockc.linter.rule import Hit, Rule, Severity


class NpmCi(Rule):
    """Reports `npm install` without packages in a stage that copies `package-lock.json`.

    ## Why

    `npm install` may change the lock file and install other versions. `npm ci` installs what it says, or fails, and is
    faster.

    ## Fix

    Writes `npm ci`.
    """

    code = "DK0307"
    name = "npm-ci"
    summary = "`npm install` where `npm ci` gives what the lock file says"
    severity = Severity.INFO
    fixable = "unsafe"
    bad = "FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm install\n"
    good = "FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm ci\n"
    fixed = "FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm ci\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts: dict[int, list[Script]] = {}
        for script in context.runs:
            scripts.setdefault(script.entry.index, []).append(script)
        for stage in context.stages:
            locked = False
            for entry in stage:
                found = entry.instruction
                if isinstance(found, ast.Copy) and any(
                    "package-lock" in s.text or s.text.endswith("package*.json") for s in found.sources
                ):
                    locked = True
                elif locked and isinstance(found, ast.Run):
                    for script in scripts.get(entry.index, ()):
                        for command in script.shell.commands:
                            if (
                                command.name == "npm"
                                and command.words in {("install",), ("i",)}
                                and not command.has_flag("g", "global")
                            ):
                                argument = command.arguments[position(command, "install", "i")]
                                fix = replace_argument(argument, script, "ci", "Use npm ci") if script.exact else None
                                yield Hit(
                                    script.span(command.start, command.end),
                                    "`npm ci` installs what the lock file says",
                                    fix=fix,
                                )
