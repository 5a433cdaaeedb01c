"""Where the store is; known without opening it."""

from __future__ import annotations

from pathlib import Path

from dockc.base.files import store_root


def default_root() -> Path:
    """The user's store: `base.files.store_root` as a path."""
    return Path(store_root())
