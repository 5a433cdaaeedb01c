"""DL4006 pipefail."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler import ast
from dockc.compiler.lint.context import Context
from dockc.compiler.lint.rule import Hit, Rule, Severity
from dockc.compiler.lint.shell.commands import read


class Pipefail(Rule):
    """Reports RUN with a pipe in a stage whose shell does not stop on a failure in it.

    ## Why

    Of `a | b` only `b`'s status counts: when `a` fails, the build goes on with what it did not make.

    ## See also

    `SHELL ["/bin/bash", "-o", "pipefail", "-c"]`, or `set -o pipefail` at the start of the script (dockc's own profile sees that too).
    """

    code = "DL4006"
    name = "pipefail"
    summary = "A pipe without pipefail"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL4006",)
    bad = "FROM debian:12\nRUN a | b\n"
    good = 'FROM debian:12\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN a | b\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        safe = False
        scripts = {id(s.entry): s for s in context.runs if not s.onbuild}
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.From):
                safe = False
            elif isinstance(found, ast.Shell):
                safe = found.shell[:1] != () and _stops(found.shell)
            elif not safe and id(entry) in scripts:
                script = scripts[id(entry)]
                own = any(c.name == "set" and c.has_argument("pipefail") for c in script.shell.commands)
                if script.shell.pipes and (context.parity or not own):
                    message = (
                        "Set the SHELL option -o pipefail before RUN with a pipe in it. If you are using /bin/sh in an alpine image or "
                        "if your shell is symlinked to busybox then consider explicitly setting your SHELL to /bin/ash, or disable "
                        "this check"
                    )
                    yield Hit(script.instruction.span, message, entry.node.lines)


def _stops(shell: tuple[str, ...]) -> bool:
    if shell[0].startswith(("pwsh", "powershell", "cmd")):
        return True
    return any(
        c.name.rsplit("/", 1)[-1] in {"bash", "zsh", "ash"} and c.has_flag("o") and c.has_argument("pipefail")
        for c in read(" ".join(shell)).commands
    )
