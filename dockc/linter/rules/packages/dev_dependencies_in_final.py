"""DK0306 dev-dependencies-in-final."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import alias, unquoted


class DevDependenciesInFinal(Rule):
    """Reports `npm ci`, `npm install`, `yarn install` and `composer install` in the last stage that take development
    dependencies along, where the stage builds nothing with them.

    ## Why

    They make the image larger, and each is one more thing with holes.
    """

    code = "DK0306"
    name = "dev-dependencies-in-final"
    summary = "The final stage installs development dependencies"
    severity = Severity.INFO
    bad = 'FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm ci\nCMD ["node", "server.js"]\n'
    good = 'FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm ci --omit=dev\nCMD ["node", "server.js"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = list(each_stage(context))
        if not stages:
            return
        from_, entries = stages[-1]
        production = any(
            pair.key.text == "NODE_ENV" and pair.value is not None and unquoted(pair.value.text) == "production"
            for e in entries
            if isinstance(e.instruction, (ast.Env, ast.Arg))
            for pair in e.instruction.pairs
        )
        scripts = [script for script in context.runs if script.entry.stage == len(stages) - 1 and not script.onbuild]
        if any(_builds(command) for script in scripts for command in script.shell.commands) or _is_dev(alias(from_)):
            return
        if any(
            e.instruction
            and isinstance(e.instruction, (ast.Cmd, ast.Entrypoint))
            and _RUNNER.search(e.instruction.code)
            for e in entries
        ):
            return
        for script in scripts:
            for command in script.shell.commands:
                if _takes_all(command, production=production):
                    yield Hit(script.span(command.start, command.end), "development dependencies end up in the image")


_RUNNER = pattern(r"\\b(?:run|test|dev|watch|nodemon|jest|storybook|serve)\\b")


def _builds(command: Command) -> bool:
    """Whether development dependencies are used for something here."""
    if command.name in {"npm", "yarn", "pnpm", "npx"}:
        return (
            bool({"run", "build", "test", "prune", "exec", "run-script"} & set(command.words)) or command.name == "npx"
        )
    return command.name in {"tsc", "webpack", "vite", "ng", "next", "make", "gulp", "grunt"}


def _is_dev(name: str) -> bool:
    return any(part in name.lower() for part in ("dev", "test", "build", "lint"))


def _takes_all(command: Command, *, production: bool) -> bool:
    words = command.words
    first = words[0] if words else ""
    if command.name == "npm":
        return (
            not production
            and first in {"ci", "install", "i"}
            and len(words) == 1
            and not command.has_flag("omit", "production", "only", "g", "global")
        )
    if command.name == "yarn":
        return not production and words in {(), ("install",)} and not command.has_flag("production", "prod", "version")
    return command.name == "composer" and first == "install" and not command.has_flag("no-dev")
