"""DK0301 copy-before-install."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import mounts, unquoted


class CopyBeforeInstall(Rule):
    """Reports `COPY . .` when a later RUN of the stage installs what manifests such as `package.json` or
    `requirements.txt` list.

    ## Why

    Every change of any file runs the installation again. Copy the manifests, install, then copy the rest: the
    installation comes from the cache until a manifest changes. A cache mount on the installation helps too, and is not
    reported.
    """

    code = "DK0301"
    name = "copy-before-install"
    summary = "The whole context is copied before dependencies are installed"
    severity = Severity.INFO
    bad = "FROM node:22\nWORKDIR /app\nCOPY . .\nRUN npm ci\n"
    good = "FROM node:22\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\nCOPY . .\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts = {script.entry.index: script for script in context.runs if not script.onbuild}
        for _, entries in each_stage(context):
            copied: ast.SourcesAndDest | None = None
            for entry in entries:
                found = entry.instruction
                if isinstance(found, (ast.Copy, ast.Add)) and not (isinstance(found, ast.Copy) and found.from_.text):
                    if copied is None and any(unquoted(s.text) in {".", "./", "/", "*", "./*"} for s in found.sources):
                        copied = found
                elif copied is not None and entry.index in scripts:
                    if (
                        any(mount.get("type", "bind") in {"cache", "bind"} for mount in mounts(found))
                        if found
                        else False
                    ):
                        continue
                    name = next(filter(None, map(_installs, scripts[entry.index].shell.commands)), "")
                    if name:
                        yield Hit(
                            copied.span,
                            f"every change in the context runs `{name}` again; copy its manifests first",
                            copied.lines,
                        )
                        break


_INSTALLS = (
    ("npm", ("install", "ci", "i")), ("yarn", ("install", "")), ("pnpm", ("install", "i")), ("bundle", ("install",)),
    ("composer", ("install",)), ("poetry", ("install",)), ("uv", ("sync",)), ("pipenv", ("install", "sync")),
)  # fmt: skip


def _installs(command: Command) -> str:
    """What a command that installs from manifests is called, or ""."""
    words = command.words
    first = words[0] if words else ""
    for name, verbs in _INSTALLS:
        if command.name == name and first in verbs and (len(words) < 2 or first == "ci"):
            return f"{name} {first}".strip()
    if command.name in {"pip", "pip3"} and first == "install" and command.has_flag("r", "requirement"):
        return f"{command.name} install -r"
    if command.name == "go" and words[:2] == ("mod", "download"):
        return "go mod download"
    return ""
