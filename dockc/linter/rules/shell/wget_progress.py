"""DL3047 wget-progress."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.linter.context import Context, Script
from dockc.linter.families import CommandRule, insert_word
from dockc.linter.rule import Fix, Severity
from dockc.linter.shell.commands import Command


class WgetProgress(CommandRule):
    """Reports `wget` that would print its progress bar into the build log.

    ## Fix

    Adds `-nv`.

    ## Why

    A line for every few kilobytes buries what matters.
    """

    code = "DL3047"
    name = "wget-progress"
    summary = "`wget` fills the log with its progress bar"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3047",)
    message = "Avoid use of wget without progress bar. Use `wget --progress=dot:giga <url>`. Or consider using `-q` or `-nv` (shorthands for `--quiet` or `--no-verbose`)."
    fixable = "safe"
    changes = "more words in RUN"
    bad = "FROM debian:12\nRUN wget https://example.org/a.zip\n"
    good = "FROM debian:12\nRUN wget -nv https://example.org/a.zip\n"
    fixed = "FROM debian:12\nRUN wget -nv https://example.org/a.zip\n"

    def offends(self, command: Command, script: Script) -> bool:
        """See the class."""
        if command.name != "wget" or command.has_flag("progress"):
            return False
        quiet = command.has_flag("q", "quiet", "o", "output-file", "a", "append-output", "no-verbose")
        return not quiet and not command.has_argument("-nv")

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """What is small fills no log; and busybox' wget knows no `-nv`."""
        if 0 <= script.entry.stage < len(context.bases) and context.bases[script.entry.stage].shell == "busybox":
            return True
        return not any(_LARGE.search(text) for text in command.texts)

    def mend(self, command: Command, script: Script) -> Fix | None:
        """Adds the flag."""
        return insert_word(command, script, -1, "-nv", "Add -nv")


#: Archives, packages and images.
_LARGE = pattern(
    r"\.(?:tar(?:\.\w+)?|t[gbx]z2?|zip|gz|xz|bz2|zst|7z|deb|rpm|iso|img|jar|war|whl|run|bin|onnx|model|safetensors|exe|msi|AppImage)(?:$|[?#\"'])",
    re.IGNORECASE,
)
