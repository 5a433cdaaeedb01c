"""DL3019 apk-no-cache."""

from __future__ import annotations

from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, caches, covered, insert_word, position, removes
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
        """With a cache mount nothing is left in the layer; nor where it is cleaned up, or no image gets the layer."""
        if caches(script.instruction, "/var/cache/apk"):
            return True
        if context.parity:
            return False
        if caches(script.instruction, "/etc/apk/cache") or covered(
            script.instruction, "/var/cache/apk", "/etc/apk/cache"
        ):
            return True
        if not context.left_behind(script):
            return True
        return any(
            removes(c, "/var/cache/apk") or (c.name == "apk" and c.has_argument("cache")) for c in script.shell.commands
        )

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        kept = (
            ("no-cache",) if self.parity else ("no-cache", "no-network")
        )  # without a network there is no index to fetch
        return command.name == "apk" and command.has_argument("add") and not command.has_flag(*kept)

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag after `add`."""
        return insert_word(command, script, position(command, "add"), "--no-cache", "Add --no-cache")
