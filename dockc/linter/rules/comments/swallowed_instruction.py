"""DK0412 swallowed-instruction."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.swallowed import swallowed
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.linter.context import Context
from dockc.linter.rule import Fix, Hit, Rule, Severity


class SwallowedInstruction(Rule):
    """Reports a line that begins like an instruction and is part of the one above, because that one's last line ends
    with the escape character.

    ## Why

    `RUN a \\`, an empty line, `RUN b` is one step: it runs `a RUN b`. After `rm -rf` the words are names of files to be
    removed. BuildKit says at most that there is an empty line.

    ## Fix

    Takes the escape character away. What is built changes, and that is the point.
    """

    code = "DK0412"
    name = "swallowed-instruction"
    summary = "A backslash too many makes an instruction part of the one above"
    severity = Severity.ERROR
    status = "preview"
    fixable = "unsafe"
    bad = "FROM debian:12\nRUN apt-get clean && \\\n    rm -rf /a \\\n\n# Show the version\nRUN cat /etc/os-release\n"
    good = "FROM debian:12\nRUN apt-get clean && \\\n    rm -rf /a\n\n# Show the version\nRUN cat /etc/os-release\n"
    fixed = "FROM debian:12\nRUN apt-get clean && \\\n    rm -rf /a\n\n# Show the version\nRUN cat /etc/os-release\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        escape = context.file.escape
        what = "backslash" if escape == "\\" else "backtick"
        for entry in context.entries:
            for one in swallowed(entry.node, context.source, escape):
                message = f"{one.keyword} on line {one.line} is part of the {entry.keyword} of line {entry.line}: remove the {what} of line {one.joined}"
                fix = Fix(f"Take the {what} away", (Edit(one.escape, ""),), Applicability.UNSAFE)
                yield Hit(one.span, message, (one.line, one.line), fix)
