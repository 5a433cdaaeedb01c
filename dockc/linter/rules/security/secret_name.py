"""DL3064 secret-name."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import declared
from dockc.linter.rule import Hit, Rule, Severity


class SecretName(Rule):
    """Reports ARG and ENV whose names are those of secrets.

    ## Why

    Values of ARG and ENV stay in the image's history or config, where everybody who has the image reads them. Use `RUN
    --mount=type=secret`.
    """

    code = "DL3064"
    name = "secret-name"
    summary = "ARG or ENV with a name of a secret"
    severity = None
    status = "superseded"
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3064", "buildkit:SecretsUsedInArgOrEnv")
    bad = "FROM debian:12\nARG GITHUB_TOKEN\n"
    good = "FROM debian:12\nRUN --mount=type=secret,id=token true\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        seen: set[int] = set()
        for entry, name in declared(context):
            if entry.index not in seen and (name.upper() in _NAMES or any(part in name.lower() for part in _PARTS)):
                seen.add(entry.index)
                yield Hit(
                    entry.node.span,
                    "Potentially sensitive data should not be used in the `ARG` or `ENV` commands",
                    entry.node.lines,
                )


_PARTS = ("api_key", "client_key", "password", "private", "secret", "token", "username")
_NAMES = frozenset(
    [
        "APPLICATION_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "CI_DEPLOY_USER",
        "DOCKER_EMAIL",
        "FACEBOOK_APP_ID",
        "HEROKU_API_USER",
        "OKTA_AUTHN_GROUPID",
        "OKTA_CLIENT_ORGURL",
        "OKTA_OAUTH2_CLIENTID",
        "STRIPE_DEVICE_NAME",
        "TRAVIS_OS_NAME",
        "TRAVIS_SECURE_ENV_VARS",
        "TRAVIS_SUDO",
    ]  # the other known names hold one of the parts
)
