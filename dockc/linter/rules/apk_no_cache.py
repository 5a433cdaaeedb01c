"""DL3019 apk-no-cache."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, caches, insert_word, position
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class ApkNoCache(CommandRule):
    """Reports `apk add` without `--no-cache`.

    ## Why

    The index stays in the layer. `--no-cache` fetches it and leaves nothing behind.

    ## Fix

    Adds `--no-cache`.
    """

    code = "DL3019"
    name = "apk-no-cache"
    summary = "`apk add` leaves its index in the layer"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3019",)
    message = "Use the `--no-cache` switch to avoid the need to use `--update` and remove `/var/cache/apk/*` when done installing packages"
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM alpine:3\nRUN apk add curl\n"
    good = "FROM alpine:3\nRUN apk add --no-cache curl\n"
    fixed = "FROM alpine:3\nRUN apk add --no-cache curl\n"

    def excuses(self, script: Script, context: Context) -> bool:
        """With a cache mount nothing is left in the layer."""
        return caches(script.instruction, "/var/cache/apk")

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        kept = ("no-cache",) if self.parity else ("no-cache", "no-network")  # without a network there is no index to fetch
        return command.name == "apk" and command.has_argument("add") and not command.has_flag(*kept)

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `add`."""
        return insert_word(command, script, position(command, "add"), "--no-cache", "Add --no-cache")
