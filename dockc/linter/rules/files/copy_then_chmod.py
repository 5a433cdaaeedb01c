"""DK0305 copy-then-chmod."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context, Entry, Script
from dockc.linter.rule import Fix, Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import unquoted


class CopyThenChmod(Rule):
    """Reports a RUN with `chmod` or `chown` of what the COPY or ADD right above it brought.

    ## Why

    The RUN stores the files a second time. `COPY --chmod=… --chown=…` stores them once, and needs no shell.

    ## Fix

    Moves the mode to the COPY, where one file gets a numeric mode and the RUN does nothing else. It is unsafe because
    `--chmod` holds for all that is copied, and the source may be a directory.
    """

    code = "DK0305"
    name = "copy-then-chmod"
    summary = "Files are copied, and get another mode or owner in a RUN right after it"
    severity = Severity.INFO
    equivalents = ("sonar:S6597",)
    fixable = "unsafe"
    bad = "FROM debian:12\nCOPY run.sh /run.sh\nRUN chmod 755 /run.sh\n"
    good = "FROM debian:12\nCOPY --chmod=755 run.sh /run.sh\n"
    fixed = "FROM debian:12\nCOPY --chmod=755 run.sh /run.sh\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts = {script.entry.index: script for script in context.runs if not script.onbuild}
        for before, after in itertools.pairwise(context.entries):
            copy, script = before.instruction, scripts.get(after.index)
            if not isinstance(copy, ast.SourcesAndDest) or script is None or before.stage != after.stage:
                continue
            if not context.left_behind(script):
                continue
            paths = _copied(copy)
            for command in script.shell.commands:
                if command.name not in {"chmod", "chown"} or len(command.words) < 2:
                    continue
                if all(word.rstrip("/") in paths for word in command.words[1:]):
                    flag = "--chmod" if command.name == "chmod" else "--chown"
                    message = f"`{command.name}` stores the files a second time; COPY {flag} stores them once"
                    yield Hit(
                        script.span(command.start, command.end),
                        message,
                        fix=_fix(context, before, copy, after, script, command),
                    )
                    break


def _copied(copy: ast.SourcesAndDest) -> set[str]:
    """Where the sources are afterwards, as far as the text says."""
    dest = unquoted(copy.dest.text)
    paths = {dest.rstrip("/")}
    for source in copy.sources:
        name = unquoted(source.text).rstrip("/").rpartition("/")[2]
        if name and not any(c in name for c in "*?[$"):
            paths.add(f"{dest.rstrip('/')}/{name}")
    return {path for path in paths if path not in {"", "."}}


def _fix(
    context: Context, before: Entry, copy: ast.SourcesAndDest, after: Entry, script: Script, command: Command
) -> Fix | None:
    if (
        len(script.shell.commands) != 1
        or command.name != "chmod"
        or len(command.words) != 2
        or command.flags
        or copy.chmod.text
    ):
        return None
    if (
        len(copy.sources) != 1
        or not re.fullmatch("[0-7]{3,4}", command.words[0])
        or any(c in copy.sources[0].text for c in "*?[")
    ):
        return None
    run = after.instruction
    if not isinstance(run, ast.Run) or run.flags or run.files:
        return None
    at = copy.name_span.end
    # From behind the COPY to the end of the RUN: comments in between stay, for whoever reads the change to judge.
    edits = (Edit(Span(at, at), f" --chmod={command.words[0]}"), Edit(after.node.span, ""))
    return Fix("Give COPY the mode", edits, Applicability.UNSAFE)
