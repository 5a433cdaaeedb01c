"""DK0410 heredoc-without-errexit."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.rule import Fix, Hit, Rule, Severity
from dockc.linter.shell.commands import Command, read
from dockc.linter.shell.parser import parse


class HeredocWithoutErrexit(Rule):
    """Reports `RUN <<EOF` with several commands and no `set -e`.

    ## Why

    The shell goes on after a command that failed, and only the last one's status counts: the build succeeds with half
    of the work done.

    ## Fix

    Puts `set -e` at the beginning.
    """

    code = "DK0410"
    name = "heredoc-without-errexit"
    summary = "Failures in a heredoc are passed over"
    severity = Severity.WARNING
    fixable = "unsafe"
    bad = "FROM debian:12\nRUN <<EOF\nmake\nmake install\nEOF\n"
    good = "FROM debian:12\nRUN <<EOF\nset -e\nmake\nmake install\nEOF\n"
    fixed = "FROM debian:12\nRUN <<EOF\nset -e\nmake\nmake install\nEOF\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for entry in context.entries:
            found = entry.instruction
            if not isinstance(found, ast.Run) or len(found.files) != 1 or not 0 <= entry.stage < len(context.stages):
                continue
            state = context.shells[entry.index]
            if not state.posix or state.errexit:
                continue
            document = found.files[0]
            command = (found.cmdline or ("",))[0].strip()
            if not _BARE.fullmatch(command) or document.data.startswith("#!"):
                continue
            shell = read(document.data)
            if len(shell.commands) < 2 or any(_sets_errexit(c) for c in shell.commands):
                continue
            if len(parse(document.data).body) < 2:
                continue
            at = document.span.start
            fix = Fix("Begin with set -e", (Edit(Span(at, at), "set -e\n"),), Applicability.UNSAFE)
            yield Hit(
                found.name_span,
                "the shell goes on after a failing command of this heredoc",
                (entry.line, entry.line),
                fix,
            )


def _sets_errexit(command: Command) -> bool:
    return command.name == "set" and (command.has_flag("e") or command.has_argument("errexit"))


_BARE = pattern(r"<<-?[\"']?\w+[\"']?")
