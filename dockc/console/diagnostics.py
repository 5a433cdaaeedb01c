"""Findings of the compiler as people read them."""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.checks import Warning
    from dockc.grammar.source import Source


def render_warnings(warnings: Sequence[Warning], source: Source) -> str:
    """One line a finding, with its place."""
    return "".join(
        f"{source.name}:{warning.lines[0] if warning.lines else 1}: warning: {warning.message} ({warning.rule})\n"
        for warning in warnings
    )
