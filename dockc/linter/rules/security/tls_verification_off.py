"""DK0205 tls-verification-off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import unquoted


class TlsVerificationOff(Rule):
    """Reports options and variables that switch the check of TLS certificates off: `curl -k`, `wget
    --no-check-certificate`, `git -c http.sslVerify=false`, `npm config set strict-ssl false`, `pip --trusted-host`,
    `NODE_TLS_REJECT_UNAUTHORIZED=0` and the like.

    ## Why

    Anybody on the way can put something else into the image. In ENV it holds for what runs in the container as well.
    Add the missing CA instead.
    """

    code = "DK0205"
    name = "tls-verification-off"
    summary = "Certificates are not checked"
    severity = Severity.WARNING
    equivalents = (
        "checkov:CKV2_DOCKER_2",
        "checkov:CKV2_DOCKER_3",
        "checkov:CKV2_DOCKER_4",
        "checkov:CKV2_DOCKER_5",
        "checkov:CKV2_DOCKER_6",
        "sonar:S4830",
    )
    bad = "FROM debian:12\nRUN curl -k https://example.org/a -o /a\n"
    good = "FROM debian:12\nRUN curl https://example.org/a -o /a\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            for command in script.shell.commands:
                if _offends(command):
                    yield Hit(script.span(command.start, command.end), "certificates are not checked")
            for found in _ASSIGNED.finditer(script.shell.text):
                yield Hit(script.span(found.start(), found.end()), "certificates are not checked")
        for entry in context.entries:
            declared = entry.instruction
            if isinstance(declared, (ast.Env, ast.Arg)):
                for pair in declared.pairs:
                    if pair.value is not None and _ASSIGNED.fullmatch(f"{pair.key.text}={unquoted(pair.value.text)}"):
                        yield Hit(pair.key.span, "certificates are not checked", entry.node.lines)


_ASSIGNED = pattern(
    r"\b(?:NODE_TLS_REJECT_UNAUTHORIZED=[\"']?0[\"']?|PYTHONHTTPSVERIFY=[\"']?0[\"']?|GIT_SSL_NO_VERIFY=[\"']?(?:1|true)[\"']?"
    r"|NPM_CONFIG_STRICT_SSL=[\"']?false[\"']?|npm_config_strict_ssl=[\"']?false[\"']?)(?!\w)"
)


def _offends(command: Command) -> bool:
    texts = command.texts
    match command.name:
        case "curl":
            return any(
                t == "--insecure" or (re.fullmatch(r"-[a-zA-Z]*k[a-zA-Z]*", t) is not None and not t.startswith("-o"))
                for t in texts
            )
        case "wget":
            return "--no-check-certificate" in texts
        case "git":
            joined = " ".join(texts).lower()
            return re.search(r"http(?:\.\S+)?\.sslverify[= ][\"']?(?:false|0)", joined) is not None
        case "npm" | "yarn" | "pnpm":
            joined = " ".join(texts)
            return "strict-ssl false" in joined or "strict-ssl=false" in joined or "--no-strict-ssl" in joined
        case "pip" | "pip3":
            return any(t.startswith("--trusted-host") for t in texts)
        case "apt-get" | "apt":
            return any(
                re.search(r"Acquire::https::[\w.:]*Verify-(?:Peer|Host)=[\"']?(?:false|0)", t, re.IGNORECASE)
                for t in texts
            )
        case _:
            return False
