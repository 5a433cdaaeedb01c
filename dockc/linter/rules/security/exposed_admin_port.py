"""DK0502 exposed-admin-port."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity


class ExposedAdminPort(Rule):
    """Reports EXPOSE of ports such as 22 (SSH), 23 (Telnet), 2375 (Docker without TLS), 3389 (RDP) and 5900 (VNC).

    ## Why

    A container is changed by building a new image, not by logging in, and such services are what attackers look for
    first.
    """

    code = "DK0502"
    name = "exposed-admin-port"
    summary = "A port of remote administration is exposed"
    severity = Severity.INFO
    equivalents = (
        "checkov:CKV_DOCKER_1",
        "trivy:DS-0004",
        "kics:5907595b-5b6d-4142-b173-dbb0e73fbff8",
    )
    bad = "FROM debian:12\nEXPOSE 23\n"
    good = "FROM debian:12\nEXPOSE 8080\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry, expose in context.all(ast.Expose):
            for port in expose.ports:
                name = _PORTS.get(port.text.partition("/")[0])
                if name:
                    # Port 22 is often that of git, or what the image is for.
                    yield Hit(
                        port.span,
                        f"port {port.text.partition('/')[0]} is {name}",
                        entry.node.lines,
                        strict=name == "SSH",
                    )


_PORTS = {
    "22": "SSH",
    "23": "Telnet",
    "135": "RPC",
    "139": "NetBIOS",
    "445": "SMB",
    "512": "rexec",
    "513": "rlogin",
    "514": "rsh",
    "2375": "Docker without TLS",
    "3389": "RDP",
    "5900": "VNC",
}
