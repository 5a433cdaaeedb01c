"""DL3033 yum-pin."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import hit_at
from dockc.linter.rpm import unpinned_runs
from dockc.linter.rule import Hit, Rule, Severity


class YumPin(Rule):
    """Reports `yum install` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions. Mirrors drop old versions, though, so that pins break when
    there is an update; this is why the rule is off in dockc's own profile.
    """

    code = "DL3033"
    name = "yum-pin"
    summary = "`yum install` without versions"
    severity = None
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3033",)
    bad = "FROM img:1\nRUN yum install -y curl\n"
    good = "FROM img:1\nRUN yum install -y curl-8.0\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script, command in unpinned_runs(context, ("yum",), ("module",)):
            yield hit_at(context, script, command, "Specify version with `yum install -y <package>-<version>`.")
