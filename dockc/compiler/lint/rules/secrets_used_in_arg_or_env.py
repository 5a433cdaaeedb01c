"""SecretsUsedInArgOrEnv secrets-used-in-arg-or-env."""

from __future__ import annotations

from dockc.compiler import ast
from dockc.compiler.lint.checked import CheckRule, instruction_at, quoted_part
from dockc.compiler.lint.context import Context
from dockc.compiler.lint.finding import Finding
from dockc.compiler.lint.rule import Hit, Severity


class SecretsUsedInArgOrEnv(CheckRule):
    """Reports names that hold a word such as password, token, secret, key or credentials.

    ## Why

    Values of ENV are in the image's config, those of ARG in its history and build record. Whoever has the image reads them. `RUN --mount=type=secret` leaves nothing behind.
    """

    code = "SecretsUsedInArgOrEnv"
    name = "secrets-used-in-arg-or-env"
    summary = "ARG or ENV with the name of a secret"
    severity = Severity.WARNING
    equivalents = ("buildkit:SecretsUsedInArgOrEnv", "hadolint:DL3064",)
    replaces = ("DL3064",)
    bad = "FROM alpine:3\nENV API_TOKEN=x\n"
    good = "FROM alpine:3\nRUN --mount=type=secret,id=api_token true\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, (ast.Arg, ast.Env)):
            return None
        name = quoted_part(finding.message)
        span = next((pair.key.span for pair in found.pairs if pair.key.text == name), found.span)
        return Hit(span, finding.message, help="Use RUN --mount=type=secret.")
