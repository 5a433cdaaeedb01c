"""DK0403 env-unset-useless."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class EnvUnsetUseless(Rule):
    """Reports `unset NAME` in a RUN for a variable that an ENV of the stage has set.

    ## Why

    The next step, and the container, have it again: `unset` holds in the shell of that RUN alone. A variable for one
    step belongs in that RUN, or is an ARG.
    """

    code = "DK0403"
    name = "env-unset-useless"
    summary = "ENV is set, and unset in a RUN"
    severity = Severity.WARNING
    bad = "FROM debian:12\nENV MODE=build\nRUN make\nRUN unset MODE\n"
    good = "FROM debian:12\nRUN MODE=build make\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for stage in context.stages:
            indices = {entry.index for entry in stage}
            names: set[str] = set()
            scripts = {s.entry.index: s for s in context.runs if s.entry.index in indices and not s.onbuild}
            for entry in stage:
                found = entry.instruction
                if isinstance(found, ast.Env):
                    names.update(pair.key.text for pair in found.pairs)
                elif entry.index in scripts and names:
                    script = scripts[entry.index]
                    last = script.shell.commands[-1:]
                    for command in last:
                        if command.name == "unset":
                            for argument in command.arguments:
                                if argument.text in names:
                                    message = f"`unset` ends with this RUN: the image still has {argument.text}"
                                    yield Hit(script.span(argument.start, argument.end), message)
