"""DK0402 unreachable-stage."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, mounts, unquoted


class UnreachableStage(Rule):
    """Reports a stage without a name, not the last, that no FROM, `COPY --from` or mount refers to.

    ## Why

    It cannot be built: `--target` takes names.
    """

    code = "DK0402"
    name = "unreachable-stage"
    summary = "A stage that nothing can use"
    severity = Severity.WARNING
    equivalents = ("tally:no-unreachable-stages",)
    options = ("`named` (false): report stages with a name too, which `--target` could build.",)
    bad = "FROM debian:12\nRUN make\nFROM debian:12\n"
    good = "FROM debian:12 AS build\nRUN make\nFROM debian:12\nCOPY --from=build /a /a\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = list(each_stage(context))
        used: set[str] = set()
        for entry in context.entries:
            found = entry.instruction.trigger if isinstance(entry.instruction, ast.Onbuild) else entry.instruction
            if isinstance(found, ast.From):
                used.add(unquoted(found.base.text).lower())
            elif isinstance(found, ast.Copy):
                used.add(unquoted(found.from_.text).lower())
            for mount in mounts(found) if found is not None else ():
                used.add(mount.get("from", "").lower())
        for number, (from_, _) in enumerate(stages[:-1]):
            name = alias(from_).lower()
            named = context.settings.rules.get(self.name, {}).get("named") is True
            if (not name and str(number) not in used) or (
                named and name and name not in used and str(number) not in used
            ):
                yield Hit(
                    from_.span,
                    "nothing uses this stage" + ("" if name else ", and it has no name to be built by"),
                    from_.lines,
                )
