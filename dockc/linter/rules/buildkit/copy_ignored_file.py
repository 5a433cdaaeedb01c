"""CopyIgnoredFile copy-ignored-file."""

from __future__ import annotations

import posixpath

from dockc.compiler.syntax import ast
from dockc.linter.checked import CheckRule, instruction_at, quoted_part
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class CopyIgnoredFile(CheckRule):
    """Reports sources that `.dockerignore`, or `<Dockerfile>.dockerignore`, keeps out of the build context.

    ## Why

    The build fails, or copies less than it seems to.

    ## Known problems

    The check knows the ignore file beside the Dockerfile. It is silent when the ignore file has exceptions (`!`), and
    takes wildcards in COPY as plain text.
    """

    code = "CopyIgnoredFile"
    name = "copy-ignored-file"
    summary = "COPY or ADD of a file that the ignore file excludes"
    severity = Severity.WARNING
    equivalents = ("buildkit:CopyIgnoredFile",)
    bad = "FROM alpine:3\nCOPY secret.txt /\n"
    good = "FROM alpine:3\nCOPY app.py /\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, ast.SourcesAndDest):
            return None
        path = quoted_part(finding.message)
        span = next(
            (s.span for s in found.sources if posixpath.normpath(s.text).lstrip("/") == path.lstrip("/")), found.span
        )
        return Hit(span, finding.message)
