"""DL4001 curl-or-wget."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import hit_at
from dockc.linter.rule import Hit, Rule, Severity


class CurlOrWget(Rule):
    """Reports stages that use both `curl` and `wget`.

    ## Why

    One of them is enough, and one fewer package.
    """

    code = "DL4001"
    name = "curl-or-wget"
    summary = "Both curl and wget"
    severity = Severity.INFO
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL4001",)
    bad = "FROM debian:12\nRUN curl -O https://a && wget -q https://b\n"
    good = "FROM debian:12\nRUN curl -O https://a && curl -O https://b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        # A peer counts triggers on their own: they run in another build.
        for onbuild in (False, True):
            stage, seen = -2, set[str]()
            for script in context.runs:
                if script.onbuild is not onbuild:
                    continue
                if script.entry.stage != stage:
                    stage, seen = script.entry.stage, set()
                second = None
                for command in script.shell.commands:
                    if command.name in {"curl", "wget"}:
                        seen.add(command.name)
                        second = second or (command if len(seen) == 2 else None)
                if second is not None:
                    yield hit_at(context, script, second, "Either use Wget or Curl but not both")
