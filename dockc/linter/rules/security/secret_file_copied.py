"""DK0103 secret-file-copied."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class SecretFileCopied(Rule):
    """Reports sources of the build context such as `.env`, private keys, `.npmrc`, `.netrc` and the folders of cloud
    credentials.

    ## Why

    They are in a layer then, also when a later step deletes them. Mount them: `RUN
    --mount=type=secret,id=npmrc,target=/root/.npmrc`.
    """

    code = "DK0103"
    name = "secret-file-copied"
    summary = "COPY or ADD takes a file that usually holds secrets"
    severity = Severity.WARNING
    bad = "FROM debian:12\nCOPY .env /app/.env\n"
    good = "FROM debian:12\nRUN --mount=type=secret,id=env,target=/app/.env /app/setup\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, copy in [*context.all(ast.Copy), *context.all(ast.Add)]:
            if isinstance(copy, ast.Copy) and copy.from_.text:
                continue
            for word in copy.sources:
                path = unquoted(word.text).lower().rstrip("/")
                name = path.rpartition("/")[2]
                if name in _FILES or path.endswith(_PATHS) or _PATTERN.fullmatch(name):
                    yield Hit(word.span, f"{unquoted(word.text)} usually holds secrets", entry.node.lines)


_FILES = frozenset(
    [".env", ".netrc", "_netrc", ".pypirc", ".git-credentials", ".aws", ".ssh", ".gnupg", ".kube", "id_rsa", "id_dsa", "id_ecdsa",
     "id_ed25519", ".htpasswd", ".pgpass", ".my.cnf", ".vault-token", ".terraformrc"]
)  # fmt: skip
_PATHS = (".docker/config.json", ".aws/credentials", ".kube/config", ".config/gcloud", ".gem/credentials")
_PATTERN = pattern(
    r"\.env\.(?:local|prod|production|staging|dev|development)|.*\.(?:p12|pfx|jks|keystore)|.*(?:private|server|client|tls)[-_.]?key\.pem"
)
