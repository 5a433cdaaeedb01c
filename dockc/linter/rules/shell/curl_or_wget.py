"""DL4001 curl-or-wget."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.record import replace
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
    bad = "FROM debian:12\nRUN apt-get install -y curl wget && curl -O https://a && wget -q https://b\n"
    good = "FROM debian:12\nRUN curl -O https://a && curl -O https://b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        installing = set() if context.parity else _installing(context)
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
                    hit = hit_at(context, script, second, "Either use Wget or Curl but not both")
                    # One of them less is worth it where the image gets both.
                    yield hit if context.parity or stage in installing else replace(hit, strict=True)


def _installing(context: Context) -> set[int]:
    """Stages whose files reach an image and that install both themselves."""
    found: dict[int, set[str]] = {}
    for script in context.runs:
        for command in script.shell.commands:
            if command.name in _MANAGERS:
                found.setdefault(script.entry.stage, set()).update({"curl", "wget"}.intersection(command.words))
    return {stage for stage, names in found.items() if len(names) == 2 and stage in context.kept}


_MANAGERS = frozenset(["apt", "apt-get", "apk", "dnf", "microdnf", "yum", "zypper", "tdnf"])
