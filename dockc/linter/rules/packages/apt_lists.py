"""DL3009 apt-lists."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import caches, covered, hit_at, image, same_from
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import alias

_MESSAGE = "Delete the apt lists (/var/lib/apt/lists) after installing something"


class AptLists(Rule):
    """Reports a RUN that updates apt's lists and leaves them in the layer.

    ## Why

    The lists take tens of megabytes that no container needs. Remove them in the same RUN, or keep them in a cache
    mount.

    ## Known problems

    hadolint takes any `rm -rf` for a clean-up; dockc's own profile wants the lists' path, `apt-get dist-clean`, or
    `clean-install`, which base images for Kubernetes have: it installs packages and removes the lists.
    """

    code = "DL3009"
    name = "apt-lists"
    summary = "apt's lists stay in the layer"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3009",)
    bad = "FROM debian:12\nRUN apt-get update && apt-get install -y curl\n"
    good = "FROM debian:12\nRUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        forgotten: list[tuple[Script, ast.From | None]] = []
        bases: set[str] = set()
        current: ast.From | None = None
        scripts = {id(s.entry): s for s in context.runs}
        for entry in context.entries:
            if isinstance(entry.instruction, ast.From):
                current = entry.instruction
                bases.add(image(current.base.text).name)
            script = scripts.get(id(entry))
            if script is not None and self.forgets(script, context):
                forgotten.append((script, current))
        if not context.parity:
            for script, _ in forgotten:
                if context.left_behind(script):
                    yield hit_at(context, script, next(c for c in script.shell.commands if _updates(c)), _MESSAGE)
            return
        for script, stage in forgotten:
            last = stage is current or (stage is not None and current is not None and same_from(stage, current))
            feeds = stage is not None and alias(stage) and alias(stage) in bases
            if last or feeds or (script.onbuild and context.parity):
                yield hit_at(context, script, next(c for c in script.shell.commands if _updates(c)), _MESSAGE)

    def forgets(self, script: Script, context: Context) -> bool:
        """Whether a script leaves lists behind."""
        if not any(_updates(c) for c in script.shell.commands):
            return False
        if any(_cleans(c, script, context) for c in script.shell.commands):
            return False
        run = script.instruction
        if not context.parity and covered(run, "/var/lib/apt/lists"):
            return False
        if caches(run, "/var/lib/apt/lists"):
            return False
        return not (caches(run, "/var/lib/apt") and caches(run, "/var/cache/apt"))


def _updates(command: Command) -> bool:
    return command.name in {"apt", "apt-get", "aptitude"} and command.has_argument("update")


def _cleans(command: Command, script: Script, context: Context) -> bool:
    if context.parity:
        return command.name == "rm" and command.has_argument("-rf", "/var/lib/apt/lists/*")
    if command.name in {"apt", "apt-get"}:
        return command.has_argument("dist-clean", "distclean")
    if command.name == "clean-install":
        return True
    # As written: `/var/lib/{apt,cache}` has no text of its own.
    return command.name in {"rm", "find"} and any(
        _LISTS.match(script.shell.text[a.start : a.end]) for a in command.arguments
    )


_LISTS = pattern(r"[\"']?/var/lib/(\{[^}]*)?apt")
