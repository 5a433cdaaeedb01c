"""DK0101 secret-value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class SecretValue(Rule):
    """Reports texts that have the form of a key or token of a well-known service, private keys, passwords in URLs, and
    values that look random in an ENV, ARG or LABEL with the name of a secret. The value is not printed.

    ## Why

    Whoever has the file or the image has the secret. It must be taken out, and exchanged for a new one.

    ## See also

    `RUN --mount=type=secret` gives a step a secret that leaves no trace in the image.
    """

    code = "DK0101"
    name = "secret-value"
    summary = "A secret stands in the file"
    severity = Severity.WARNING
    equivalents = (
        "kics:e36d8880-3f78-4546-b9a1-12f0745ca0d5",
        "trivy:secret",
    )
    bad = "FROM debian:12\nENV DEPLOY_TOKEN=ghp_a8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5KoX\n"
    good = "FROM debian:12\nRUN --mount=type=secret,id=deploy_token,env=DEPLOY_TOKEN ./deploy\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        seen: list[Span] = []
        for what, hints, shape in _SHAPES:
            if not any(hint in context.source.text for hint in hints):
                continue
            for found in shape.finditer(context.source.text):
                group = found.lastindex or 0
                if _is_placeholder(found[group]):
                    continue
                span = Span(*found.span(group))
                seen.append(span)
                yield Hit(
                    span, f"{what} in the file", help="Take it out, exchange it, and use RUN --mount=type=secret."
                )
        for key, value in _values(context):
            if value is None or any(s.start < value.span.end and value.span.start < s.end for s in seen):
                continue
            if _NAME.search(key.text) and not _PUBLIC.search(key.text) and _is_random(unquoted(value.text)):
                yield Hit(
                    value.span, f"the value of {key.text} looks like a secret", help="Use RUN --mount=type=secret."
                )


#: What it is, texts of which one must be there, and the whole form.
_SHAPES = (
    ("an AWS access key", ("AKIA", "ASIA"), pattern(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])")),
    (
        "a GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        pattern(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    ),
    ("a GitLab token", ("glpat-",), pattern(r"(?<!\w)glpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", ("xox",), pattern(r"(?<!\w)xox[abprs]-[A-Za-z0-9-]{16,}")),
    ("an npm token", ("npm_",), pattern(r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)")),
    ("a Docker Hub token", ("dckr_pat_",), pattern(r"(?<!\w)dckr_pat_[A-Za-z0-9_-]{20,}")),
    ("a Google API key", ("AIza",), pattern(r"(?<!\w)AIza[A-Za-z0-9_-]{35}(?!\w)")),
    ("a Stripe key", ("k_live_",), pattern(r"(?<!\w)[rs]k_live_[A-Za-z0-9]{20,}")),
    (
        "a private key",
        ("PRIVATE KEY",),
        pattern(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:[^-]{1,16384}-----END (?:[A-Z]+ )?PRIVATE KEY-----)?"),
    ),
    ("a JSON web token", ("eyJ",), pattern(r"(?<!\w)eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    (
        "a password in a URL",
        ("@",),
        pattern(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@'\"$<{]{1,64}:([^\s/@'\"$<{]{3,128})@[A-Za-z0-9]"),
    ),
)
_NAME = pattern(r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE)
_PUBLIC = pattern(
    r"(?:^|_)(?:public|file|path|version|gpg|pgp|fingerprint|sha\d*|checksum|id|url|name)(?:_|$)", re.IGNORECASE
)
_PLACEHOLDERS = frozenset(
    [
        "password",
        "passwd",
        "pass",
        "secret",
        "token",
        "changeme",
        "postgres",
        "root",
        "admin",
        "test",
        "example",
        "user",
    ]
)


def _values(context: Context) -> Iterator[tuple[ast.Word, ast.Word | None]]:
    for entry in context.entries:
        found = entry.instruction
        if isinstance(found, (ast.Env, ast.Arg, ast.Label)):
            for pair in found.pairs:
                yield pair.key, pair.value


def _is_placeholder(text: str) -> bool:
    folded = text.lower()
    return (
        "example" in folded or "xxxx" in folded or "****" in folded or folded in _PLACEHOLDERS or len(set(folded)) < 3
    )


def _is_random(value: str) -> bool:
    """Long, of letters and digits mixed, and with no order in it. Hexadecimal digests and fingerprints are not meant."""
    if not 16 <= len(value) <= 512 or any(c in value for c in "$/ :.") or _is_placeholder(value):
        return False
    if re.fullmatch(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{128}|[0-9A-Fa-f]{16}", value):
        return False
    if not (re.search(r"[0-9]", value) and re.search(r"[A-Za-z]", value)):
        return False
    counts = [value.count(c) / len(value) for c in set(value)]
    return -sum(share * math.log2(share) for share in counts) > 3.3
