"""Build hook: a wheel takes the built playground along where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlaygroundHook(BuildHookInterface[Any]):
    """Puts `playground/dist` to `dockc/playground`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folder, unless the wheel only points to the checkout."""
        built = Path(self.root) / "playground" / "dist"
        if version != "editable" and (built / "index.html").is_file():
            build_data["force_include"][str(built)] = "dockc/playground"
