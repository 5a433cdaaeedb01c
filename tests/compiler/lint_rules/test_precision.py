"""Where dockc's own profile is more precise than the tools it knows: what it leaves out, how severe, and in which words."""

from __future__ import annotations

import pytest

from dockc.grammar.source import Source
from dockc.linter.finding import Finding
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source


def found(code: str, text: str, profile: str = "dockc", *, strict: bool = False) -> list[Finding]:
    extend = frozenset(["strict"]) if strict else frozenset[str]()
    options = LintOptions(profile=profile, select=(code,), extend=extend, shellcheck=False)
    return list(lint_source(Source.from_text(text), options).findings)


def words(code: str, text: str) -> list[str]:
    return [text[f.span.start : f.span.end] for f in found(code, text)]


LEFT_OUT = [
    ("DL3006", "FROM debian:12 AS base-amd64\nFROM base-$TARGETARCH\n"),
    ("DL3006", "FROM debian:12 AS a-x-b-y-c\nFROM a-$X-b-${Y}-c\n"),
    ("DL3006", "FROM debian:12 AS out-linux\nFROM out-${TARGETOS:-linux}\n"),
    ("DL3009", "FROM debian:13\nRUN apt-get update && apt-get install -y a && apt-get dist-clean\n"),
    ("DL3009", "FROM debian:13\nRUN apt-get update && rm -rf /var/lib/{apt,dpkg}/lists\n"),
    ("DL3009", "FROM debian:13\nRUN apt-get update && find /var/lib/apt/lists -delete\n"),
    ("DL3009", "FROM debian-base:1\nRUN apt-get update && clean-install mount\n"),
    ("DL3015", 'FROM debian:13\nRUN o="" && if a; then o="--no-install-recommends"; fi && apt-get install -y $o curl\n'),
    ("DL3015", "FROM debian:13\nENV OPTS='-y --no-install-recommends'\nRUN apt-get install $OPTS curl\n"),
    ("DL3019", "FROM alpine:3\nRUN apk add --no-network --virtual .deps a=1\n"),
    ("DL3021", "FROM mcr.microsoft.com/windows/nanoserver:1809\nCOPY a b C:\\\\x\\\\\n"),
    ("DL3022", "FROM debian:12\nCOPY --from=registry.example.org/tools/x /a /a\n"),
    ("DL3045", "FROM scratch\nCOPY a b\n"),
    ("DL3045", "FROM debian:12 AS A\nWORKDIR /a\nFROM a\nCOPY b c\n"),
    ("DL3062", "FROM golang:1\nRUN go run build.go -x\n"),
    ("DL3067", "FROM debian:12 AS a\nRUN b\nFROM scratch\nCOPY --from=a / /\n"),
    ("DL3067", "FROM debian:12\nCOPY --from=tonistiigi/xx / /\n"),
    ("DL3067", "FROM tonistiigi/xx AS xx\nFROM debian:12\nCOPY --from=xx / /\n"),
    ("DL3067", "FROM scratch AS files\nCOPY a /b\nFROM debian:12\nCOPY --from=files / /\n"),
    ("DL4006", "FROM debian:12\nRUN echo 'abc  file' | sha256sum -c -\n"),
    ("DL4006", "FROM debian:12\nRUN yes | install && printf '%s' a | tee b\n"),
    ("DL4006", "FROM debian:12\nRUN <<EOF bash -eo pipefail\na | b\nEOF\n"),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV GPG_KEY=F7529FAE24811A5C0DF3CA741596BBF0726835D8\n"),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nARG GHC_RELEASE_KEY='88B57FCF7DB53B4DB3BFA4B1588764FBE22D19C4'\n"),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV PG_AUTH_COMMIT=fe099eef7662cbc85b0b79191f47f52f1e96b779\n"),
    ("DL4006", "FROM debian:12\nRUN ARCH=$(uname -m | sed s/x86_64/amd64/) && curl -o a b/$ARCH\n"),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nARG SIGNING_KEY=https://example.org/a.asc\n"),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV ALLOW_EMPTY_PASSWORD=yes TLS_KEY=/etc/tls/tls.key\n"),
    ("SecretsUsedInArgOrEnv", "ARG SIGNING_KEY=https://example.org/a.asc\nFROM debian:12\nARG SIGNING_KEY\n"),
    ("WorkdirRelativePath", "FROM golang:1\nWORKDIR $SRC\n"),
]


@pytest.mark.parametrize(("code", "text"), LEFT_OUT)
def test_is_left_out(code: str, text: str) -> None:
    assert found(code, text) == []
    peer = "hadolint" if code.startswith("DL") else "buildkit"
    if code not in {"DL3019", "DL3009", "DL3021"} or "dist-clean" in text:
        assert found(code, text, peer), "the other tool reports it"


_ADD = "FROM debian:12 AS a\nADD https://example.org/t.tgz /x/\n"


@pytest.mark.parametrize(
    "check",
    ['echo "abc  /x/t.tgz" | sha256sum -c -', "sha512sum --check t.tgz.sums t.tgz", "gpg --verify sig /x/t.tgz", "cosign verify-blob --bundle b t.tgz",
     "openssl dgst -sha256 -verify key -signature s t.tgz", "minisign -Vm t.tgz", "gpgv s t.tgz"],
)  # fmt: skip
def test_a_download_that_a_later_step_checks_needs_no_checksum(check: str) -> None:
    assert found("DK0203", f"{_ADD}RUN cd /x && {check}\n") == []


REPORTED = [
    ("DL3006", "FROM debian:12 AS base-amd64\nFROM other-$TARGETARCH\n", ["other-$TARGETARCH"]),
    ("DL3006", f"FROM debian:12 AS {'a' * 4000}\nFROM {'a$X-' * 60}b\n", [f"{'a$X-' * 60}b"]),
    ("DL3006", "FROM debian:12 AS ab\nFROM ab$X-b\n", ["ab$X-b"]),
    ("DL3009", "FROM debian:12\nRUN a && apt-get update && apt-get install -y b\n", ["apt-get update"]),
    ("DL3022", "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=biuld /a /a\n", ["biuld"]),
    ("DL3032", "FROM centos:7\nRUN a && yum install -y b-1\n", ["yum install -y b-1"]),
    ("DL3033", "FROM centos:7\nRUN a && yum install -y b\n", ["yum install -y b"]),
    ("DL3036", "FROM opensuse:15\nRUN a && zypper in -y b=1\n", ["zypper in -y b=1"]),
    ("DL3040", "FROM fedora:40\nRUN a && dnf install -y b-1 && c\n", ["dnf install -y b-1"]),
    ("DL3041", "FROM fedora:40\nRUN a && dnf install -y b\n", ["dnf install -y b"]),
    ("DL3045", "FROM debian:12\nCOPY a b\n", ["b"]),
    ("DL3060", "FROM node:22\nRUN a && yarn install\n", ["yarn install"]),
    ("DL3062", "FROM golang:1\nRUN a && go install x.org/y@latest && go run x.org/z\n", ["go run x.org/z"]),
    ("DL3067", "FROM debian:12 AS a\nRUN b\nFROM debian:12\nCOPY --from=a / /\n", ["COPY --from=a / /"]),
    ("DL4001", "FROM debian:12\nRUN apt-get install -y curl wget\nRUN curl -O x && a && wget -q y\n", ["wget -q y"]),
    ("DL4006", "FROM debian:12\nRUN echo a | b && \\\n  curl x | sh\n", ["curl x | sh"]),
    ("DL4006", "FROM debian:12\nRUN curl x | tar xz\n", ["curl x | tar xz"]),
    ("DL4006", "FROM debian:12\nRUN curl x | gpg --dearmor -o k\n", ["curl x | gpg --dearmor -o k"]),
    ("DL4006", "FROM debian:12\nRUN tar -cz x | gzip -c | curl -T - y\n", ["tar -cz x | gzip -c | curl -T - y"]),
    ("DL4006", "FROM debian:12\nRUN curl x | tar -c -f a -T -\n", ["curl x | tar -c -f a -T -"]),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV A_TOKEN=88B57FCF7DB53B4DB3BFA4B1588764FBE22D19C4\n", ["A_TOKEN"]),
    ("SecretsUsedInArgOrEnv", "ARG A_KEY=https://u:p@example.org\nFROM debian:12\nARG A_KEY\n", ["A_KEY"]),
    ("DK0203", f"{_ADD}RUN sha256sum -c sums && x\n", ["https://example.org/t.tgz"]),
    ("DK0203", "FROM debian:12\nRUN sha256sum -c t.tgz\nADD https://example.org/t.tgz /t.tgz\n", ["https://example.org/t.tgz"]),
    ("DK0203", f"{_ADD}FROM debian:12\nRUN sha256sum -c t.tgz\n", ["https://example.org/t.tgz"]),
    ("DK0203", f"{_ADD}RUN sha256sum t.tgz\n", ["https://example.org/t.tgz"]),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV JWT_SIGNING_KEY=fe099eef7662cbc85b0b79191f47f52f1e96b779\n", ["JWT_SIGNING_KEY"]),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV GPG_PASSWORD=0123456789ABCDEF\n", ["GPG_PASSWORD"]),
    ("SecretsUsedInArgOrEnv", f"FROM debian:12\nENV GPG_KEY={'A1' * 5000}z\n", ["GPG_KEY"]),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV A_KEY=0123456789abcdef0123456789abcdef\n", ["A_KEY"]),
    ("SecretsUsedInArgOrEnv", "FROM debian:12\nENV A_TOKEN=https://user:pass@example.org/\nARG B_TOKEN\n", ["A_TOKEN", "B_TOKEN"]),
    ("WorkdirRelativePath", "FROM golang:1\nWORKDIR a\n", ["a"]),
]


@pytest.mark.parametrize(("code", "text", "marked"), REPORTED)
def test_is_reported_in_exact_words(code: str, text: str, marked: list[str]) -> None:
    assert sorted(words(code, text)) == sorted(marked)


@pytest.mark.parametrize(
    ("text", "severity", "message"),
    [
        ("FROM golang:1\nWORKDIR $GOPATH/src\n", "info", "Usage of undefined variable '$GOPATH'"),
        ("FROM golang:1\nENV PATH=/x:$PATH\nCOPY $GOPATH /b\n", "info", "Usage of undefined variable '$GOPATH'"),
        ("FROM golang:1 AS a\nFROM a\nCOPY $X /b\n", "info", "Usage of undefined variable '$X'"),
        ("FROM scratch\nCOPY $GOPATH /b\n", "warning", "Usage of undefined variable '$GOPATH'"),
        ("FROM golang:1\nARG VERSION=1\nCOPY $VERSOIN /b\n", "warning", "Usage of undefined variable '$VERSOIN' (did you mean $VERSION?)"),
    ],
)
def test_a_variable_that_the_base_image_may_set_is_less_severe(text: str, severity: str, message: str) -> None:
    (finding,) = found("UndefinedVar", text, strict=severity == "info")
    assert (finding.severity.value, finding.message) == (severity, message)
    assert bool(finding.fix) == ("did you mean" in message)


def test_what_ends_the_build_is_never_taken_back() -> None:
    text = "# check=error=true\nFROM golang:1\nWORKDIR $SRC\n"
    assert [f.severity.value for f in found("WorkdirRelativePath", text)] == ["error"]


@pytest.mark.parametrize(
    ("text", "code", "twin"),
    [
        ("FROM debian:12\nEXPOSE 99999\n", "DL3011", "build-error"),
        ("FROM debian:12 AS a\nCOPY --from=a /x /y\n", "DL3023", "build-error"),
        ("FROM debian:12\nONBUILD FROM x\n", "DL3043", "DL1000"),
    ],
)
def test_what_no_build_comes_over_is_said_once_and_never_hidden(text: str, code: str, twin: str) -> None:
    def codes(text: str, **more: frozenset[str]) -> list[str]:
        return [f.code for f in lint_source(Source.from_text(text), LintOptions(shellcheck=False, **more)).findings]  # type: ignore[arg-type]

    assert codes(text) == [code]
    assert codes(text, ignored=frozenset([code])) == [twin]
    first, second, _ = text.split("\n")
    assert codes(f"{first}\n# hadolint ignore={code}\n{second}\n") == [twin]
