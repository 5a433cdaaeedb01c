"""SecretsUsedInArgOrEnv secrets-used-in-arg-or-env."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.checked import DROPPED, CheckRule, instruction_at, quoted_part
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class SecretsUsedInArgOrEnv(CheckRule):
    """Reports names that hold a word such as password, token, secret, key or credentials.

    ## Why

    Values of ENV are in the image's config, those of ARG in its history and build record. Whoever has the image reads them. `RUN --mount=type=secret` leaves nothing behind.

    ## Known problems

    BuildKit looks at names alone. dockc's own profile takes a finding back where the value in the file cannot be a secret: a URL without
    credentials, a path, a key's fingerprint, a commit, yes or no.
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
        if any(pair.key.text == name and _public(name, pair.value) for pair in found.pairs):
            return DROPPED
        span = next((pair.key.span for pair in found.pairs if pair.key.text == name), found.span)
        return Hit(span, finding.message, help="Use RUN --mount=type=secret.")


def _public(name: str, value: ast.Word | None) -> bool:
    """Whether a value can be read by anybody, whatever it is called."""
    if value is None:
        return False
    text = value.text.strip("\"'")
    if _NOT_SECRET.fullmatch(text) is not None:
        return True
    words = set(name.upper().split("_"))
    if words & {"SECRET", "TOKEN", "PASSWORD", "PASSWD", "PWD"}:
        return False
    known = _FINGERPRINTS if words & _IDENTIFIED else _FINGERPRINT
    return known.fullmatch(text) is not None


_NOT_SECRET = pattern(r"https?://[^@\s]+|(\$\{?\w+\}?)?(/[\w.${}-]+)+/?|true|false|yes|no|on|off|0|1", re.IGNORECASE)
#: Words of names whose hexadecimal values say which key or commit is meant.
_IDENTIFIED = frozenset(("GPG", "PGP", "APT", "RPM", "KEYRING", "FINGERPRINT", "COMMIT", "REVISION", "REV", "SHA", "SHA1", "SHA256", "SHA512"))
_FINGERPRINTS = pattern(r"(0x)?[0-9A-F]{8,128}([\s,;]+(0x)?[0-9A-F]{8,128})*", re.IGNORECASE)
#: How GnuPG prints a key's fingerprint.
_FINGERPRINT = pattern(r"[0-9A-F]{40}|0x[0-9A-F]{16,40}")
