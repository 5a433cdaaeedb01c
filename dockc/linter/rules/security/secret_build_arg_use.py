"""DK0102 secret-build-arg-use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.rule import Fix, Hit, Rule, Severity
from dockc.linter.words import mounts


class SecretBuildArgUse(Rule):
    """Reports RUN that reads an ARG with the name of a secret.

    ## Why

    The argument's value is part of the step: it stays in the image's history and in the build record. A secret mount is
    neither.

    ## Fix

    Adds `--mount=type=secret,id=NAME,env=NAME`. The secret has to be given with `--secret id=NAME` from then on.
    """

    code = "DK0102"
    name = "secret-build-arg-use"
    summary = "RUN uses a build argument that holds a secret"
    severity = Severity.INFO
    fixable = "unsafe"
    bad = "FROM debian:12\nARG NPM_TOKEN\nRUN npm-login $NPM_TOKEN\n"
    good = "FROM debian:12\nRUN --mount=type=secret,id=NPM_TOKEN,env=NPM_TOKEN npm-login $NPM_TOKEN\n"
    fixed = "FROM debian:12\nARG NPM_TOKEN\nRUN --mount=type=secret,id=NPM_TOKEN,env=NPM_TOKEN npm-login $NPM_TOKEN\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for stage in context.stages:
            names = {
                pair.key.text
                for e in stage
                if isinstance(e.instruction, ast.Arg)
                for pair in e.instruction.pairs
                if _NAME.search(pair.key.text)
            }
            for entry in stage:
                run = entry.instruction
                if not names or not isinstance(run, ast.Run):
                    continue
                given = {
                    value
                    for mount in mounts(run)
                    if mount.get("type") == "secret"
                    for value in (mount.get("id", ""), mount.get("env", ""))
                }
                text = context.source.slice(run.span)
                for name in sorted(names - given):
                    found = re.search(rf"\$\{{?{re.escape(name)}(?!\w)", text)
                    if found:
                        span = Span(
                            run.span.start + found.start(),
                            run.span.start + found.end() + (text[found.end() : found.end() + 1] == "}"),
                        )
                        at = run.name_span.end
                        mount = f" --mount=type=secret,id={name},env={name}"
                        fix = Fix("Add a secret mount", (Edit(Span(at, at), mount),), Applicability.UNSAFE)
                        yield Hit(span, f"{name} is a build argument: its value stays in the image's history", fix=fix)


_NAME = pattern(r"(?:^|_)(?:apikey|auth|credentials?|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE)
