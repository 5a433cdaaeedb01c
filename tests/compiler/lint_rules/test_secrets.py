"""What counts as a secret, and what does not."""

from __future__ import annotations

import pytest

from dockc.grammar.source import Source
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source


def found(text: str) -> list[str]:
    source = Source.from_text(f"FROM debian:12\n{text}\n")
    report = lint_source(source, LintOptions(select=("DK0101",), shellcheck=False))
    return [source.slice(f.span) for f in report.findings]


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "Z7Q4KX2WNB5TJR3M",
        "ghp_" + "a8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5KoX",
        "github_pat_" + "11ABCDEFG0a8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5KoX",
        "glpat-" + "a8Fk2LmQ9ZxT4vWc7RbN",
        "xoxb-" + "1234567890-abcdefGHIJKL",
        "npm_" + "a8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5KoX",
        "dckr_pat_" + "a8Fk2LmQ9ZxT4vWc7RbN1",
        "AIza" + "SyA8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5",
        "sk_live_" + "a8Fk2LmQ9ZxT4vWc7RbN1yHs",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
@pytest.mark.parametrize("form", ["RUN tool --key {}", "ENV A={}", "LABEL a={}", "# {}", "COPY <<EOF /a\nkey={}\nEOF"])
def test_tokens_of_known_form(secret: str, form: str) -> None:
    assert found(form.format(secret)) == [secret]


def test_whole_private_key() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
    assert found(f"COPY <<EOF /key\n{key}\nEOF") == [key]


def test_password_in_a_url() -> None:
    assert found("RUN git clone https://bot:s3cr3tW0rd@example.org/a.git") == ["s3cr3tW0rd"]


@pytest.mark.parametrize(
    "text",
    [
        "ENV GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "ENV API_KEY=$API_KEY",
        "ARG TOKEN",
        "ENV PASSWORD=changeme",
        "ENV TOKEN_URL=https://example.org/oauth2/v1/token0123456789",
        "RUN echo AKIAIOSFODNN7EXAMPLE",
        "ENV URL=postgres://user:password@db/app",
        "ENV URL=postgres://user:$PASSWORD@db/app",
        "FROM debian@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ENV SECRET_KEY_FILE=/run/secrets/0a1b2c3d4e5f6a7b8c9",
    ],
)
def test_what_is_none(text: str) -> None:
    assert found(text) == []
