"""MaintainerDeprecated maintainer-deprecated."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.linter.checked import CheckRule, instruction_at, replacing
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class MaintainerDeprecated(CheckRule):
    """Reports MAINTAINER.

    ## Why

    The instruction is deprecated since 2016. A label says the same, and every tool shows labels.

    ## Fix

    Writes the label that the OCI image specification has for this. It is unsafe because the image config has a label
    afterwards and no author.
    """

    code = "MaintainerDeprecated"
    name = "maintainer-deprecated"
    summary = "MAINTAINER is deprecated"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:MaintainerDeprecated",
        "hadolint:DL4000",
    )
    replaces = ("DL4000",)
    fixable = "unsafe"
    bad = "FROM alpine:3\nMAINTAINER Ada <ada@example.org>\n"
    good = 'FROM alpine:3\nLABEL org.opencontainers.image.authors="Ada <ada@example.org>"\n'
    fixed = 'FROM alpine:3\nLABEL org.opencontainers.image.authors="Ada <ada@example.org>"\n'

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, ast.Maintainer):
            return None
        value = found.maintainer.text
        if any(c in value for c in '"\\`$\n'):
            return Hit(found.name_span, finding.message)
        keyword = "label" if found.name.islower() else "LABEL"
        text = f'{keyword} org.opencontainers.image.authors="{value}"'
        return Hit(found.name_span, finding.message, fix=replacing("Write a label", found.span, text, safe=False))
