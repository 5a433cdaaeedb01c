"""DK0501 missing-user."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule
from dockc.linter.words import alias, unquoted


class MissingUser(Rule):
    """Reports a last stage in which no USER is set, in none of the stages it builds on.

    ## Why

    A hole in the program is then a hole in the hands of root. Many base images have an ordinary user already.

    ## Known problems

    The base image may set a user itself; lint does not ask a registry. The rule is off unless asked for.
    """

    code = "DK0501"
    name = "missing-user"
    summary = "The image runs as root"
    severity = None
    equivalents = (
        "checkov:CKV_DOCKER_3",
        "trivy:DS-0002",
        "kics:fd54f200-402c-4333-a5a4-36ef6709af2f",
        "sonar:S6471",
        "semgrep:missing-user",
        "dockle:CIS-DI-0001",
    )
    bad = 'FROM debian:12\nCMD ["server"]\n'
    good = 'FROM debian:12\nUSER 65532\nCMD ["server"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        stages = list(each_stage(context))
        if not stages:
            return
        by_name = {alias(from_).lower(): (from_, entries) for from_, entries in stages if alias(from_)}
        from_, entries = stages[-1]
        seen: set[int] = set()
        while id(from_) not in seen:
            seen.add(id(from_))
            if any(e.keyword == "USER" for e in entries):
                return
            base = unquoted(from_.base.text).lower()
            if base not in by_name:
                break
            from_, entries = by_name[base]
        if "nonroot" not in from_.base.text:
            last = stages[-1][0]
            yield Hit(last.span, "no USER is set: the image runs as root", last.lines)
