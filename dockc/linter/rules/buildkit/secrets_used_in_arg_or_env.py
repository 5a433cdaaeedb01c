"""SecretsUsedInArgOrEnv secrets-used-in-arg-or-env."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.checked import DROPPED, CheckRule, entry_at, instruction_at, quoted_part
from dockc.linter.context import Context
from dockc.linter.finding import Finding
from dockc.linter.rule import Hit, Severity


class SecretsUsedInArgOrEnv(CheckRule):
    """Reports names that hold a word such as password, token, secret, key or credentials.

    ## Why

    Values of ENV are in the image's config, those of ARG in its history and build record. Whoever has the image reads
    them. `RUN --mount=type=secret` leaves nothing behind.

    ## Known problems

    BuildKit looks at names alone. dockc's own profile takes a finding back where the value that the file gives cannot
    be a secret: nothing, a number, a URL without credentials, a path, a key's fingerprint, a commit, yes or no; and
    where the name's last word says that it is something about a secret, such as its mode, path or lifetime.
    """

    code = "SecretsUsedInArgOrEnv"
    name = "secrets-used-in-arg-or-env"
    summary = "ARG or ENV with the name of a secret"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:SecretsUsedInArgOrEnv",
        "hadolint:DL3064",
    )
    replaces = ("DL3064",)
    bad = "FROM alpine:3\nENV API_TOKEN=x\n"
    good = "FROM alpine:3\nRUN --mount=type=secret,id=api_token true\n"

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        found = instruction_at(context, finding)
        if not isinstance(found, (ast.Arg, ast.Env)):
            return None
        name = quoted_part(finding.message)
        entry = entry_at(context, finding)
        if entry is None:
            return None
        values = [
            _meant(pair.value or _declared(found, name, context), context)
            for pair in found.pairs
            if pair.key.text == name
        ]
        if values and all(
            value is not None and _public(name, value.text, context.values.word(value, entry)) for value in values
        ):
            return DROPPED
        if _ABOUT.search(name) and not any(value is not None and _LOOKS_SECRET.search(value.text) for value in values):
            return DROPPED
        span = next((pair.key.span for pair in found.pairs if pair.key.text == name), found.span)
        return Hit(span, finding.message, help="Use RUN --mount=type=secret.")


def _declared(found: ast.Arg | ast.Env, name: str, context: Context) -> ast.Word | None:
    """For an ARG of a stage without a value: what the ARG of that name before the first FROM is given."""
    if not isinstance(found, ast.Arg):
        return None
    return next(
        (p.value for e, arg in context.all(ast.Arg) if e.stage < 0 for p in arg.pairs if p.key.text == name), None
    )


def _meant(value: ast.Word | None, context: Context) -> ast.Word | None:
    """For `$NAME` alone, what that ARG or ENV of the file is given."""
    found = _REFERENCE.fullmatch(value.text.strip("\"'")) if value is not None else None
    if found is None:
        return value
    return context.given.get(found[1], value)


_REFERENCE = pattern(r"\$\{?([A-Za-z_]\w*)\}?")


def _public(name: str, written: str, known: str | None) -> bool:
    """Whether a value can be read by anybody, whatever it is called: as it is written, or as it is known to be."""
    text = written.strip("\"'") if known is None else known
    if _NOT_SECRET.fullmatch(text) is not None or _NOT_SECRET.fullmatch(written.strip("\"'")) is not None:
        return True
    words = set(name.upper().split("_"))
    if words & {"SECRET", "TOKEN", "PASSWORD", "PASSWD", "PWD"}:
        return False
    fingerprint = _FINGERPRINTS if words & _IDENTIFIED else _FINGERPRINT
    return fingerprint.fullmatch(text) is not None


_NOT_SECRET = pattern(
    r"|https?://[^@\s]+|(file:/)?(\$\{?\w+\}?|~)?(/[\w.${}@+-]+)+/?|\.{1,2}/\S*|true|false|yes|no|on|off|none|null|nil|enabled?|disabled?|-?[0-9]+(\.[0-9]+)?[smhd]?",
    re.IGNORECASE,
)
#: Last words of names of what is about a secret and none itself.
_ABOUT = pattern(
    r"_(?:ALIAS|ALG|ALGO|ALGORITHM|ALLOWED|AUDIENCE|BACKEND|BITS|CLASS|COUNT|DIR|DIRECTORY|ENABLED?|DISABLED?|ENDPOINT|ENV|EXPIRATION|EXPIRY|FILENAME"
    r"|FINGERPRINTS?|FOLDER|FORMAT|HEADER|HOME|HOST|HOSTNAME|IDS?|ISSUER|LABEL|LEN|LENGTH|LIFETIME|LOCATION|METHOD|MODE|MODULE|NAMES?|NAMESPACE|PATH|PLUGIN|PORT"
    r"|PREFIX|PROVIDER|REALM|REFRESH|REGION|REQUIRED|ROTATION|SCHEME|SCOPES?|SERVER|SERVICE|SIZE|SOCK|SOCKET|SOURCE|STORE|STRATEGY|SUFFIX|TIMEOUT|TTL|TYPE|URI|URL|USER|USERNAME"
    r"|VALIDITY|VERSION)$",
    re.IGNORECASE,
)
#: Shapes that nobody would give a mode or a path.
_LOOKS_SECRET = pattern(r"(?:gh[pousr]_|glpat-|xox[abp]-|AKIA|eyJ)\w+|-----BEGIN|://[^/@\s]+:[^/@\s]+@")
#: Words of names whose hexadecimal values say which key or commit is meant.
_IDENTIFIED = frozenset(
    (
        "GPG",
        "PGP",
        "APT",
        "RPM",
        "KEYRING",
        "FINGERPRINT",
        "COMMIT",
        "REVISION",
        "REV",
        "SHA",
        "SHA1",
        "SHA256",
        "SHA512",
    )
)
_FINGERPRINTS = pattern(r"(0x)?[0-9A-F]{8,128}([\s,;]+(0x)?[0-9A-F]{8,128})*", re.IGNORECASE)
#: How GnuPG prints a key's fingerprint.
_FINGERPRINT = pattern(r"[0-9A-F]{40}|0x[0-9A-F]{16,40}")
