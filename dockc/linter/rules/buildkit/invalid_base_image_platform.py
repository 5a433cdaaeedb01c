"""InvalidBaseImagePlatform invalid-base-image-platform."""

from __future__ import annotations

from dockc.compiler.syntax import ast
from dockc.linter.checked import CheckRule, instruction_at
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class InvalidBaseImagePlatform(CheckRule):
    """Reports base images whose config names another operating system or architecture than the one asked for.

    ## Why

    The image holds programs that the target cannot run.

    ## Known problems

    Lint asks no registry: it knows the platform of an image only where the configuration says it. A build always
    checks.
    """

    code = "InvalidBaseImagePlatform"
    name = "invalid-base-image-platform"
    summary = "A base image is of another platform than the build"
    severity = Severity.WARNING
    equivalents = ("buildkit:InvalidBaseImagePlatform",)
    bad = "FROM arm64v8/alpine:3\n"
    good = "FROM alpine:3\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        return Hit(found.base.span if isinstance(found, ast.From) else found.span, finding.message) if found else None
