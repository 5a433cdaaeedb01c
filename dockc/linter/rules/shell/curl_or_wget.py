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
                    yield hit if context.parity or _installed(context, stage) else replace(hit, strict=True)


def _installed(context: Context, stage: int) -> bool:
    """Whether a stage whose files reach an image installs both itself."""
    if stage not in context.kept:
        return False
    installs = [c for s in context.runs if s.entry.stage == stage for c in s.shell.commands if c.name in _MANAGERS]
    return all(any(name in c.words for c in installs) for name in ("curl", "wget"))


_MANAGERS = frozenset(["apt", "apt-get", "apk", "dnf", "microdnf", "yum", "zypper", "tdnf"])
