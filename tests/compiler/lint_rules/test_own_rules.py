"""The edges of dockc's own rules: what fires and what does not, a line each."""

from __future__ import annotations

import pytest

from dockc.grammar.source import Source
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source


def lines(code: str, text: str) -> list[int]:
    options = LintOptions(select=(code,), extend=frozenset([code]), shellcheck=False)
    return [f.line for f in lint_source(Source.from_text(text), options).findings]


FIRES = [
    ("DK0002", "# check:skip=all\nFROM debian:12\n"),
    ("DK0002", "# hello\n# syntax=docker/dockerfile:1\nFROM debian:12\n"),
    ("DK0002", "\n# escape=`\nFROM debian:12\n"),
    ("DK0002", "FROM debian:12\n# dockc: ignore=DL3020\nADD a /b\n"),
    ("DK0002", "FROM debian:12\n# dockc ignore DL3020\nADD a /b\n"),
    ("DK0002", "FROM debian:12\n# dockc ignore=\nADD a /b\n"),
    ("DK0002", "FROM debian:12\n# hadolint ignore=DL3020 the archive\nADD a /b\n"),
    ("DK0002", "FROM debian:12\n# hadolint ignore: DL3020\nADD a /b\n"),
    ("DK0003", "FROM debian:12\n# hadolint ignore=DK9999\nRUN a\n"),
    ("DK0003", "FROM debian:12\n# check=skip=Nope\nRUN a\n"),
    ("DK0102", "FROM debian:12\nARG API_SECRET\nRUN x --s=${API_SECRET}\n"),
    ("DK0103", "FROM debian:12\nCOPY conf/.env.production /\n"),
    ("DK0103", "FROM debian:12\nADD [\"id_rsa\", \"/root/.ssh/\"]\n"),
    ("DK0201", "FROM debian:12@sha256:" + "0" * 64 + "\nCOPY --from=alpine:3 /a /a\n"),
    ("DK0202", "FROM debian:12\nRUN wget -qO- https://x.org/i | sudo -E bash -\n"),
    ("DK0202", "FROM debian:12\nRUN bash <(curl -s https://x.org/i)\n"),
    ("DK0202", "FROM debian:12\nRUN sh -c \"$(curl -fsSL https://x.org/i)\"\n"),
    ("DK0202", "FROM debian:12\nRUN a && curl https://x.org/i | tac | python3 - --yes\n"),
    ("DK0203", "FROM debian:12\nADD https://github.com/a/b.git#main /src\n"),
    ("DK0205", "FROM debian:12\nRUN git config --global http.sslVerify false\n"),
    ("DK0205", "FROM debian:12\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n"),
    ("DK0205", "FROM debian:12\nRUN pip install --trusted-host x.org a\n"),
    ("DK0205", "FROM debian:12\nRUN curl -fsSLk https://x.org/\n"),
    ("DK0206", "FROM debian:12\nRUN echo 'deb [trusted=yes] https://x.org/ /' > /etc/apt/sources.list\n"),
    ("DK0206", "FROM alpine:3\nRUN apk add --allow-untrusted tool\n"),
    ("DK0207", "FROM debian:12\nADD http://example.org/a /a\n"),
    ("DK0301", "FROM python:3\nCOPY . /app\nRUN pip install -r /app/requirements.txt\n"),
    ("DK0302", "FROM golang:1\nRUN go build ./...\n"),
    ("DK0303", "FROM alpine:3\nRUN apk update\n"),
    ("DK0304", "FROM fedora:40\nRUN dnf -y update && dnf clean all\n"),
    ("DK0305", "FROM debian:12\nCOPY run.sh /usr/bin/\nRUN chmod +x /usr/bin/run.sh && true\n"),
    ("DK0306", "FROM node:22\nRUN yarn install --frozen-lockfile\nCMD [\"node\", \"a.js\"]\n"),
    ("DK0401", "FROM debian:12\nARG UNUSED=1\nCOPY a /a\n"),
    ("DK0402", "FROM debian:12\nFROM alpine:3\n"),
    ("DK0403", "FROM debian:12\nENV A=1\nRUN x && unset A\n"),
    ("DK0404", "FROM debian:12\nENTRYPOINT [\"/app\", \"--port\", \"${PORT}\"]\n"),
    ("DK0405", "FROM debian:12\nENTRYPOINT exec app\nCMD [\"a\"]\n"),
    ("DK0406", "FROM debian:12\nVOLUME [\"/data\"]\nRUN chown -R app /data/x\n"),
    ("DK0406", "FROM debian:12\nVOLUME /proc\n"),
    ("DK0407", "FROM debian:12\nLABEL a=1\nLABEL b=1 a=2\n"),
    ("DK0408", "FROM debian:12\nEXPOSE 80\nEXPOSE 80/tcp\n"),
    ("DK0409", "FROM debian:12\nRUN mkdir /a && cd /a\n"),
    ("DK0410", "FROM debian:12\nRUN <<-'EOT'\n\ta\n\tb\nEOT\n"),
    ("DK0411", "ARG A=1\nFROM debian:12\nENV B=2\nRUN echo ${A}\n"),
    ("DK0501", "FROM debian:12 AS base\nFROM base\nCMD [\"a\"]\n"),
    ("DK0502", "FROM debian:12\nEXPOSE 23/tcp\n"),
    ("DK0503", "FROM debian:12\nCOPY --chmod=0777 a /a\n"),
    ("DK0503", "FROM debian:12\nRUN chmod a+rwx /app\n"),
]

SILENT = [
    ("DK0001", "FROM debian:12\n# dockc ignore=DL3020 so be it\nADD a /a\n"),
    ("DK0001", "FROM debian:12\n# hadolint ignore=SC2086\nRUN echo $a\n"),
    ("DK0001", "FROM debian:12\n# hadolint ignore=DL3008\nRUN apt-get install -y --no-install-recommends a\n"),
    ("DK0002", "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM debian:12\n"),
    ("DK0002", "# Note: this builds the image\n# check: all is well here\nFROM debian:12\n"),
    ("DK0002", "FROM debian:12\n# syntax: see the manual\nRUN a\n"),
    ("DK0002", "FROM debian:12\n# dockc ignore=DL3020 the archive\nADD a /b\n# hadolint ignore=DL3020 # so be it\nADD c /d\n# dockc ignores this\nRUN a\n"),
    ("DK0003", "# check=skip=all\nFROM debian:12\n# hadolint ignore=SC2086,DL3008\nRUN a\n"),
    ("DK0102", "FROM debian:12\nARG API_SECRET\nRUN --mount=type=secret,id=API_SECRET x $API_SECRET\n"),
    ("DK0103", "FROM debian:12\nCOPY .env.example /app/.env\nCOPY --from=x /root/.ssh /a\nCOPY ca.pem environment /\n"),
    ("DK0201", "ARG A=1\nFROM scratch AS a\nFROM a\nCOPY --from=0 /a /a\nCOPY --from=a /b /b\n"),
    ("DK0202", "FROM debian:12\nRUN curl -s https://x.org/a | tar xz && curl https://x.org/b | python3 -c 'import sys'\n"),
    ("DK0202", "FROM debian:12\nRUN curl https://x.org/k | gpg --dearmor > /k && sh /local.sh | cat\n"),
    ("DK0203", "FROM debian:12\nADD https://github.com/a/b.git#" + "a" * 40 + " /src\nADD --checksum=sha256:" + "0" * 64 + " https://x.org/a /a\n"),
    ("DK0205", "FROM debian:12\nRUN curl -o k https://x.org/ && git config http.sslVerify true\nENV NODE_TLS_REJECT_UNAUTHORIZED=1\n"),
    ("DK0207", "FROM debian:12\nRUN curl http://localhost:8080/ && curl -x http://proxy.example.org:3128 https://x.org/\n"),
    ("DK0301", "FROM node:22\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build\n"),
    ("DK0301", "FROM node:22\nCOPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci\n"),
    ("DK0301", "FROM node:22\nCOPY --from=x . .\nRUN npm ci\n"),
    ("DK0302", "FROM golang:1\nRUN --mount=type=cache,target=/go/pkg/mod go build ./...\nRUN go version\n"),
    ("DK0303", "FROM debian:12\nRUN apt-get update && ./install.sh\nRUN apt-get update && apt-get install -y a\n"),
    ("DK0304", "FROM fedora:40\nRUN dnf -y update curl\n"),
    ("DK0305", "FROM debian:12\nCOPY a /a\nRUN chmod 755 /b\nCOPY c /c\nRUN make\nRUN chmod 755 /c\n"),
    ("DK0306", "FROM node:22 AS build\nRUN npm ci && npm run build\nFROM node:22\nRUN npm ci --omit=dev\n"),
    ("DK0306", "FROM node:22\nENV NODE_ENV=production\nRUN npm ci\n"),
    ("DK0401", "ARG HTTP_PROXY\nARG V=1\nFROM debian:${V}\nARG W\nRUN make\n"),
    ("DK0401", "ARG V=1\nFROM debian:12\nARG V\nRUN make\n"),
    ("DK0401", "ARG A=1\nARG B=$A\nFROM debian:$B\n"),
    ("DK0402", "FROM debian:12\nFROM alpine:3\nCOPY --from=0 /a /a\n"),
    ("DK0402", "FROM debian:12 AS dev\nFROM alpine:3\n"),
    ("DK0403", "FROM debian:12\nENV A=1\nRUN unset A && make\n"),
    ("DK0404", "FROM debian:12\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"echo $HOME\"]\n"),
    ("DK0405", "FROM debian:12\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\nFROM debian:12\nENTRYPOINT a\n"),
    ("DK0406", "FROM debian:12\nVOLUME /data\nCOPY a /database\nRUN ls /data\n"),
    ("DK0407", "FROM debian:12\nENV A=1\nENV A=2\nLABEL a=1\nFROM debian:12\nLABEL a=2\n"),
    ("DK0408", "FROM debian:12\nEXPOSE 53/tcp 53/udp\n"),
    ("DK0409", "FROM debian:12\nRUN cd /a && make\nRUN (cd /a && make)\n"),
    ("DK0410", "FROM debian:12\nRUN <<EOF\nset -eux\na\nb\nEOF\nRUN <<EOF\na\nEOF\nRUN <<EOF\n#!/bin/bash\na\nb\nEOF\n"),
    ("DK0410", "FROM debian:12\nRUN bash -e <<EOF\na\nb\nEOF\nRUN python3 <<EOF\na\nb\nEOF\n"),
    ("DK0410", "FROM debian:12\nSHELL [\"/bin/bash\", \"-euo\", \"pipefail\", \"-c\"]\nRUN <<EOF\na\nb\nEOF\n"),
    ("DK0411", "ARG A=1\nFROM debian:12\nARG A\nRUN echo $A\nFROM debian:12\nRUN A=2 && echo $A\nRUN for A in x; do echo $A; done\n"),
    ("DK0411", "ARG A=1\nFROM debian:12 AS base\nARG A\nFROM base\nRUN echo $A\n"),
    ("DK0501", "FROM debian:12 AS base\nUSER app\nFROM base\nCMD [\"a\"]\n"),
    ("DK0503", "FROM debian:12\nRUN chmod 1777 /x && chmod 775 /y && chmod u+w /z && chmod 777 /tmp\n"),
]


@pytest.mark.parametrize(("code", "text"), FIRES)
def test_fires(code: str, text: str) -> None:
    assert lines(code, text)


@pytest.mark.parametrize(("code", "text"), SILENT)
def test_is_silent(code: str, text: str) -> None:
    assert lines(code, text) == []
