"""What somebody once reported as wrong, as kinds: whole files with the findings of the default profile, fixes and `fmt`."""

from __future__ import annotations

import pytest

from dockc.commands.lint import shellcheck as shellcheck_runner
from dockc.compiler.compile import read
from dockc.compiler.format import format_file
from dockc.grammar.source import Source
from dockc.linter.fixes import fix_source
from dockc.linter.formats.codeclimate import render
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source


def findings(text: str, **options: object) -> list[tuple[int, str]]:
    """Line and code; with ShellCheck where it is installed."""
    chosen = shellcheck_runner.with_checker(LintOptions(**options))  # type: ignore[arg-type]
    return [(f.line, f.code) for f in lint_source(Source.from_text(text), chosen).findings]


SILENT = {
    "a git commit is a checksum": "FROM debian:12\nARG C=aa1ba87e99b68e0113bd27ec26c60b88f9d4ccd9\nADD https://github.com/a/b.git?commit=${C}&keep-git-dir=1 /x\n",
    "a git commit as fragment": "FROM debian:12\nARG C=aa1ba87e99b68e0113bd27ec26c60b88f9d4ccd9\nADD https://github.com/a/b.git#${C}:docs /x\n",
    "busybox has pipefail": 'FROM alpine:3.20\nSHELL ["/bin/sh", "-eo", "pipefail", "-c"]\nRUN wget -qO- https://example.org/x | tar x\n',
    "any spelling of pipefail": 'FROM debian:12\nSHELL ["/usr/bin/env", "bash", "-e", "-u", "-o", "pipefail", "-c"]\nRUN wget -qO- https://example.org/x | tar x\n',
    "SHELL of an own stage": 'FROM debian:12 AS a\nSHELL ["bash", "-euxo", "pipefail", "-c"]\nFROM a\nRUN wget -qO- https://example.org/x | tar x\n',
    "apk's own cache place": "FROM alpine:3.20\nRUN --mount=type=cache,target=/etc/apk/cache apk add curl\n",
    "cache mount above the cache": "FROM alpine:3.20\nRUN --mount=type=cache,target=/var/cache apk add curl\n",
    "stages that a variable chooses from": 'FROM almalinux:8 AS base-amd64\nFROM almalinux:8 AS base-arm64\nFROM base-${TARGETARCH} AS base\nRUN echo "${HOME//./-}"\n',
    "sh that is bash": 'FROM quay.io/pypa/manylinux2014_x86_64:2024 AS a\nRUN echo "${HOME//./-}"\nFROM amazon/aws-lambda-python:3.12\nRUN echo "${HOME//./-}"\n',
    "process substitution of busybox": "FROM python:3.12-alpine\nRUN diff <(echo a) <(echo a)\n",
    "caches of stages whose files are thrown away": (
        "FROM python:3.12 AS build\nRUN pip install --prefix=/install flask==3\nFROM fedora:40 AS tool\nRUN dnf install -y gcc-14\n"
        "FROM python:3.12-slim\nCOPY --from=build /install /usr/local\nCOPY --from=tool /usr/bin/gcc /x\n"
    ),
    "a stage used by a mount alone": "FROM node:20 AS deps\nRUN yarn install\nFROM node:20\nRUN --mount=from=deps,target=/d cp /d/a /a\n",
    "cd within one step": "FROM debian:12\nRUN git clone https://example.org/y && cd y && make && cd / && rm -rf y\nRUN (cd /opt && ./a) && (cd /srv && ./b)\n",
    "a known directory": "FROM debian:12\nENV D=/srv/\nCOPY a b $D\nCOPY a b /usr/local/bin\n",
    "a directory made before": "FROM debian:12\nWORKDIR /app\nCOPY a b /app\nRUN mkdir /data\nCOPY a b /data\n",
    "exec form with pipefail": 'FROM debian:12\nRUN ["/bin/bash", "-o", "pipefail", "-c", "a | b"]\n',
    "a bar in exec form is no pipe": 'FROM debian:12\nRUN ["grep", "a|b", "/etc/passwd"]\n',
    "go.mod says the version": "FROM golang:1.22\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go install github.com/gohugoio/hugo\n",
    "errexit in its long spelling": 'FROM debian:12\nSHELL ["/bin/bash", "-o", "errexit", "-o", "pipefail", "-c"]\nRUN <<EOF\nfalse\necho more\nEOF\n',
    "versions in known values": (
        'FROM python:3.12 AS py\nARG TAG=1.2\nARG REPO="https://example.org/y@${TAG}"\nRUN pip install --no-cache-dir "git+${REPO}"\n'
        'FROM node:20 AS js\nARG PNPM="pnpm@9.1.0"\nRUN npm install -g $PNPM\n'
        "RUN npm install -g \"$(node -p 'require(\"./package.json\").packageManager')\"\n"
        "FROM debian:12\nARG UID=1000\nRUN useradd -u $UID -ms /bin/bash ducker\n"
    ),
    "pip's cache is gone or off": (
        "FROM python:3.12-slim\nRUN pip install some==1 && pip cache purge\nRUN pip install other==1 && rm -rf /root/.cache\n"
        "ARG PIP_NO_CACHE_DIR=1\nRUN pip install third==1\n"
    ),
    "the project itself, and groups": 'FROM python:3.12\nRUN pip install --no-cache-dir ".[dev]"\nRUN pip install --no-cache-dir --group dev\n',
    "names of secrets that are none": (
        'FROM debian:12\nENV AUTH_MODE=none TOKEN_TTL=60\nENV DB_PASSWORD=""\nARG RELEASE_KEY=https://packages.example.org/a.key\n'
        "ENV PACKAGES_KEY=${RELEASE_KEY} KEY_ALIAS=foo SECRET_PATH=/x\n"
    ),
    "sudo of an ordinary user": "FROM debian:12 AS a\nUSER app\nFROM a AS b\nRUN sudo mkdir /x\nFROM cimg/base:2024.01\nRUN sudo mkdir /y\n",
    "a variable with a fallback": "FROM debian:12\nENV LD_LIBRARY_PATH=/usr/local/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\nENV A=${X:-y}\n",
    "Windows by ARG": (
        "ARG WINDOWS_BASE=mcr.microsoft.com/windows/servercore\nFROM ${WINDOWS_BASE}:ltsc2022\nRUN mkdir C:\\tmp && dir C:\\ | find \"x\"\n"
        "RUN powershell if ((Get-FileHash /x).Hash -ne 1) { Throw \\\"no\\\" }\n"
    ),
    "a drive letter": "# escape=`\nFROM mcr.microsoft.com/windows/nanoserver:1809\nWORKDIR C:\\app\n",
    "words of other programs": 'FROM python:3.12\nRUN chmod =2775 /opt/conda\nRUN pip install --no-cache-dir "black[d]==1" && pip install --no-cache-dir black[colorama,d]==1\n',
}


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_is_silent(text: str) -> None:
    assert findings(text) == []


FOUND = {
    "a base image by the default of an ARG": (
        "ARG BASE=alpine\nARG TAG=latest\nFROM ${BASE} AS a\nFROM debian:${TAG}\nCOPY --from=a /a /a\n",
        [(3, "DL3006"), (4, "DL3007")],
    ),
    "root of an own stage": ('FROM debian:12 AS b\nUSER root\nFROM b\nCMD ["x"]\n', [(2, "DL3002")]),
    "package managers behind others": (
        (
            "FROM debian:12 AS d\nUSER app\nRUN sudo apt-get install foo\nRUN timeout 60 apt-get install foo\nRUN /usr/bin/apt-get install foo\n"
            "RUN bash -c 'apt-get install foo'\nFROM fedora:41\nRUN dnf5 install git\n"
        ),
        [(3, "DL3014"), (3, "DL3015"), (4, "DL3014"), (4, "DL3015"), (5, "DL3014"), (5, "DL3015"), (6, "DL3014"), (6, "DL3015"),
         (8, "DL3038"), (8, "DL3040")],
    ),
    "a swallowed instruction": (
        "FROM debian:12\nRUN apt-get clean && \\\n    rm -rf /tmp/x \\\n\n# Show the version\nRUN cat /etc/os-release\n",
        [(4, "NoEmptyContinuation"), (6, "DK0412")],
    ),
    "exec form without pipefail": ('FROM debian:12\nRUN ["sh", "-c", "a | b"]\n', [(2, "DL4006")]),
    "dash stops at pipefail": ('FROM debian:12\nSHELL ["/bin/sh", "-o", "pipefail", "-c"]\nRUN a | b\n', [(3, "DL4006")]),
    "caches that reach the image": (
        "FROM python:3.12 AS a\nRUN pip install flask==3\nFROM a AS b\nFROM b\nRUN true\n", [(2, "DL3042")],
    ),
    "a stage copied as a whole": ("FROM alpine:3 AS a\nRUN apk add curl\nFROM scratch\nCOPY --from=a / /\n", [(2, "DL3019")]),
    "cd at the beginning": ("FROM debian:12\nRUN cd /opt/x && make\n", [(2, "DL3003")]),
    "broken JSON": ("FROM python:3.12\nCMD ['python', 'a.py']\n", [(2, "JSONArgsRecommended")]),
    "several files to one name": ("FROM debian:12\nCOPY a b /x\n", [(2, "DL3021")]),
    "an unpinned package in a value": ("FROM node:20\nARG P=pnpm\nRUN npm install -g $P\n", [(3, "DL3016")]),
    "a high number in a value": ("FROM debian:12\nARG U=1234567\nRUN useradd -u $U ada\n", [(3, "DL3046")]),
    "root by a value, sudo": ("FROM debian:12\nARG U=root\nUSER $U\nRUN sudo x\nUSER app\n", [(4, "DL3004")]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FOUND.values(), ids=FOUND)
def test_is_found(text: str, wanted: list[tuple[int, str]]) -> None:
    assert findings(text) == wanted


def test_variables_in_names_stand_where_hadolint_has_them() -> None:
    if shellcheck_runner.find() is None:
        pytest.skip("no shellcheck")
    text = 'FROM centos:7\nARG T\nENV A_${T}_B="x"\nRUN sed -e s/a/b/ -i /x\n'
    assert (4, "SC2086") in findings(text, profile="hadolint")
    assert findings(text, select=("SC",), extend=frozenset(["strict"])) == []


def test_what_hadolint_needs_is_no_unused_comment() -> None:
    text = 'FROM debian:12\n# hadolint ignore=DL4006\nRUN arch=$(uname -m | sed s/a/b/) && echo "$arch"\n'
    assert findings(text) == []
    assert fix_source(Source.from_text(text)).text == text
    assert findings("FROM debian:12\n# hadolint ignore=DL4006\nRUN true\n") == [(2, "DK0001")]


def test_a_comment_for_what_only_the_strict_set_finds_is_in_use() -> None:
    assert findings("FROM debian:12\n# dockc ignore=DL3003 short\nRUN a && cd /x && b\n") == []


FIXED = {
    "comments and lines stay": (
        "FROM debian:12\nENV GPG_KEYS \\\n# Jane Doe, release manager\n    AAAA \\\n# John Roe\n    BBBB\n",
        'FROM debian:12\nENV GPG_KEYS="\\\n# Jane Doe, release manager\nAAAA \\\n# John Roe\n    BBBB"\n',
    ),
    "line ends stay": ("FROM debian:12\r\nENV A b \\\r\n\tc\r\n", 'FROM debian:12\r\nENV A="b \\\r\n\tc"\r\n'),
    "quotes in several lines are not touched": ("FROM debian:12\nENV A 'b' \\\n# x\n c\n", "FROM debian:12\nENV A 'b' \\\n# x\n c\n"),
    "a swallowed instruction stays seen": (
        "FROM debian:12\nRUN rm -rf /a \\\n\nRUN cat /b\n", "FROM debian:12\nRUN rm -rf /a \\\n\nRUN cat /b\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FIXED.values(), ids=FIXED)
def test_fixes_lose_nothing(text: str, wanted: str) -> None:
    result = fix_source(Source.from_text(text))
    assert result.text == wanted
    assert not result.refused


FORMATTED = {
    "line ends stay": ("from a\r\nrun  b\r\n", "FROM a\r\nRUN b\r\n"),
    "few other line ends follow the many": ("from a\r\nrun b\nrun c\r\n", "FROM a\r\nRUN b\r\nRUN c\r\n"),
    "bodies of heredocs are what is built": ("from a\r\nrun <<E\nx\nE\r\nrun c\r\n", "FROM a\r\nRUN <<E\r\nx\nE\r\nRUN c\r\n"),
    "arguments below their command": (
        "FROM alpine:3.20\nRUN \\\n    --mount=type=cache,target=/c \\\n    apk add \\\n        a \\\n        b\n",
        "FROM alpine:3.20\nRUN \\\n    --mount=type=cache,target=/c \\\n    apk add \\\n        a \\\n        b\n",
    ),
    "a swallowed instruction stays seen": (
        "FROM debian:12\nRUN rm -rf /a \\\n\nRUN cat /b\n", "FROM debian:12\nRUN rm -rf /a \\\n\nRUN cat /b\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FORMATTED.values(), ids=FORMATTED)
def test_fmt(text: str, wanted: str) -> None:
    assert format_file(read(Source.from_text(text)).parsed.file) == wanted
    assert format_file(read(Source.from_text(wanted)).parsed.file) == wanted


def test_code_climate_gets_objects_that_end_with_nul() -> None:
    report = lint_source(Source.from_text("FROM debian\nRUN apt-get install foo\n"), LintOptions(shellcheck=False))
    parts = render([report]).split("\0")
    assert parts.pop() == ""
    assert all(part.startswith('{"type":"issue","check_name":"') and "\n" not in part for part in parts)
    assert len(parts) == 3
