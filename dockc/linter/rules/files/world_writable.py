"""DK0503 world-writable."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class WorldWritable(Rule):
    """Reports `chmod 777`, `chmod a+w` and `--chmod=777`, unless the sticky bit is set, and new setuid bits.

    ## Why

    Any process in the container can then change programs and settings that others trust.
    """

    code = "DK0503"
    name = "world-writable"
    summary = "Everybody may write to files of the image"
    severity = Severity.INFO
    equivalents = ("sonar:S2612",)
    bad = "FROM debian:12\nRUN chmod -R 777 /app\n"
    good = "FROM debian:12\nRUN chmod -R 755 /app\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry in context.entries:
            found = entry.instruction
            if (
                isinstance(found, ast.SourcesAndDest)
                and entry.stage in context.kept
                and _offends(unquoted(found.chmod.text))
            ):
                yield Hit(found.chmod.span, f"mode {found.chmod.text} lets everybody write", entry.node.lines)
        for script in context.runs:
            if not context.left_behind(script):
                continue
            for command in script.shell.commands:
                if command.name != "chmod" or not command.words:
                    continue
                argument = next(
                    (a for a in command.arguments if not re.fullmatch(r"-(?:[RvcfhHLP]+|-[a-z-]+)", a.text)), None
                )
                if (
                    argument is not None
                    and _offends(argument.text)
                    and not any(a.text in _SHARED for a in command.arguments)
                ):
                    yield Hit(script.span(argument.start, argument.end), f"mode {argument.text} lets everybody write")


_SHARED = frozenset(["/tmp", "/var/tmp"])  # noqa: S108  everybody writes there, as everywhere


def _offends(mode: str) -> bool:
    """Whether a mode, numeric or symbolic, gives write permission to all without the sticky bit."""
    if re.fullmatch("[0-7]{3,4}", mode):
        bits = int(mode, 8)
        return bool(bits & 0o002) and not bits & 0o1000
    for part in mode.split(","):
        found = re.fullmatch(r"([ugoa]*)([+=])([rwxXst]*)", part)
        if found and "w" in found[3] and set(found[1]) & {"o", "a"} and "t" not in mode:
            return True
    return False
