"""DK0204 download-in-run."""

from __future__ import annotations

from dockc.linter.context import Script
from dockc.linter.families import CommandRule
from dockc.linter.shell.commands import Command


class DownloadInRun(CommandRule):
    """Reports `curl -o` and `wget` to a file in RUN.

    ## Why

    `ADD --checksum=sha256:… URL` is verified, needs no curl in the image, and is fetched while other steps run.
    """

    code = "DK0204"
    name = "download-in-run"
    summary = "RUN downloads what ADD could"
    severity = None
    message = "a download in RUN; ADD --checksum verifies it and keeps it in the cache"
    bad = "FROM debian:12\nRUN curl -fsSLo /usr/local/bin/tool https://example.org/tool\n"
    good = "FROM debian:12\nADD --checksum=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef --chmod=755 https://example.org/tool /usr/local/bin/tool\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if not any(a.text.startswith(("http://", "https://")) and "$" not in a.text for a in command.arguments):
            return False
        if command.name == "curl":
            return command.has_flag("o", "O", "output", "remote-name")
        return command.name == "wget" and not command.has_argument("-O-", "-qO-", "-")
