"""Frontends by name: what turns a request into definitions that the solver can solve.

A new one is a function of its own and one line in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.base.table import Table
from dockc.errors import DockcError

if TYPE_CHECKING:
    from dockc.engine.bridge import Frontend

#: Name to module and function; imported when asked for. The empty name stands for a definition that needs no frontend.
FRONTENDS = Table(
    "dockc.frontends",
    {
        "": "dockc.engine.bridge:given",
        "dockerfile.v0": "dockc.engine.dockerfile:dockerfile",
        "gateway.v0": "dockc.engine.imagefrontend:frontend",
    },
)


def find(name: str) -> Frontend:
    """The frontend of a name.

    Raises:
        DockcError: there is none.
    """
    found: Frontend | None = FRONTENDS.find(name)
    if found is None:
        raise DockcError(f"frontend {name} not found", hint=f"Known: {', '.join(filter(None, FRONTENDS.names))}.")
    return found
