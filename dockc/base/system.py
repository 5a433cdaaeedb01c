"""What only Linux has."""

from __future__ import annotations

import sys

from dockc.errors import DockcError


def only_linux(what: str) -> None:
    """Say so where a part of dockc is entered that works on Linux alone.

    Args:
        what: is about to be used, in the plural.

    Raises:
        DockcError: this is another system.
    """
    if sys.platform != "linux":
        raise DockcError(
            f"{what} need Linux, and this is {sys.platform}",
            hint="Name a builder that runs there by --builder or --addr: dockc compiles here, and it builds.",
        )
