"""Findings of the compiler as people read them: a line each, or as `docker build --check` shows them."""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.checks import Warning
    from dockc.grammar.source import Source


def render_warnings(warnings: Sequence[Warning], source: Source) -> str:
    """One line a finding, with its place."""
    from dockc.console.errors import visible

    if not warnings:
        return ""
    lines = [
        f"{source.name}:{warning.lines[0] if warning.lines else 1}: warning: {warning.message} ({warning.rule})\n"
        for warning in warnings
    ]
    return visible("".join(lines))


def render_checks(warnings: Sequence[Warning], source: Source, *, failed: bool = False) -> str:
    """The findings of a check as a terminal can take them; see `checks_text`."""
    from dockc.compiler.checktext import checks_text
    from dockc.console.errors import visible

    return visible(checks_text(warnings, source, failed=failed))
