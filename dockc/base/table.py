"""Tables of kinds: a name, and where what it names is made. Imported when it is asked for; packages may add to them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def load(place: str) -> Any:
    """What is at `module:attribute`."""
    from importlib import import_module

    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


class Table:
    """Names to `module:attribute`.

    A package adds a kind by an entry point of the table's group; a name that is in the table is never looked for
    elsewhere.
    """

    __slots__ = ("_places", "group")

    def __init__(self, group: str, places: Mapping[str, str]) -> None:
        """Set up without importing anything.

        Args:
            group: of entry points, such as `dockc.frontends`.
            places: name to `module:attribute`.
        """
        self.group = group
        self._places = dict(places)

    @property
    def names(self) -> tuple[str, ...]:
        """The table's own names, in their order."""
        return tuple(self._places)

    def find(self, name: str) -> Any:
        """What a name stands for; None where nobody knows it."""
        place = self._places.get(name)
        if place is not None:
            return load(place)
        if not name:
            return None
        from importlib.metadata import entry_points

        for entry in entry_points(group=self.group, name=name):
            return entry.load()
        return None
