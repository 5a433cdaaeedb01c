"""DK0404 exec-form-variable."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.families import each_stage
from dockc.linter.rule import Hit, Rule, Severity


class ExecFormVariable(Rule):
    """Reports `$NAME` in the JSON form of CMD, ENTRYPOINT and RUN, where no shell runs that would expand it.

    ## Why

    The program gets the text `$NAME`. Use shell form, or `["sh", "-c", "exec prog \"$NAME\""]`.
    """

    code = "DK0404"
    name = "exec-form-variable"
    summary = "A variable in exec form, which nothing expands"
    severity = Severity.WARNING
    bad = 'FROM debian:12\nCMD ["echo", "$HOME"]\n'
    good = 'FROM debian:12\nCMD ["sh", "-c", "echo $HOME"]\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for _, entries in each_stage(context):
            entrypoints = [e.instruction for e in entries if isinstance(e.instruction, ast.Entrypoint)]
            for entry in entries:
                found = entry.instruction
                if (
                    not isinstance(found, (ast.Cmd, ast.Entrypoint, ast.Run))
                    or found.prepend_shell
                    or not found.cmdline
                ):
                    continue
                if _has_shell(found.cmdline) or (
                    isinstance(found, ast.Cmd)
                    and any(_has_shell(e.cmdline or ()) or e.prepend_shell for e in entrypoints)
                ):
                    continue
                text = context.source.slice(found.span)
                for match in _VARIABLE.finditer(text):
                    span = Span(found.span.start + match.start(), found.span.start + match.end())
                    yield Hit(span, f"{match[0]} is not expanded in exec form", entry.node.lines)
                    break


_VARIABLE = pattern(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*[^}]*\})")
_SHELL = pattern(
    r"(?:.*[/\\])?(?:(?:ba|da|a|z|k)?sh|cmd|cmd\.exe|powershell|pwsh|powershell\.exe|env|envsubst|perl|awk|tini|dumb-init)",
    re.IGNORECASE,
)


def _has_shell(words: tuple[str, ...]) -> bool:
    """Whether any word runs a program that reads variables itself."""
    return any(_SHELL.fullmatch(word) for word in words[:4])
