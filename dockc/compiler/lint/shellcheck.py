"""ShellCheck on the scripts of a Dockerfile, through what `runtime` finds of it: see `dockc.compiler.lint.shellcheck`'s `Checker`.

The compiler starts no processes. Whoever may (the command line, the language server) sets a checker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.compiler.lint.context import Context
    from dockc.compiler.lint.finding import Finding
    from dockc.compiler.lint.options import LintOptions
    from dockc.compiler.lint.pragmas import Pragmas


def findings(context: Context, pragmas: Pragmas, options: LintOptions) -> Iterator[Finding]:
    """Findings of all scripts; none where no checker is set."""
    yield from ()
