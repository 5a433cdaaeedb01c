"""How far an edge has got, or is wanted to get."""

from __future__ import annotations

from enum import IntEnum


class EdgeStatus(IntEnum):
    """How far an edge has got, or is wanted to get (`INITIAL`: not wanted)."""

    INITIAL = 0
    CACHE_FAST = 1
    CACHE_SLOW = 2
    COMPLETE = 3

    @property
    def label(self) -> str:
        """The name in texts: `cache-fast`."""
        return self.name.lower().replace("_", "-")


TRANSITIONS: dict[EdgeStatus, frozenset[EdgeStatus]] = {
    EdgeStatus.INITIAL: frozenset({EdgeStatus.CACHE_FAST, EdgeStatus.CACHE_SLOW, EdgeStatus.COMPLETE}),
    EdgeStatus.CACHE_FAST: frozenset({EdgeStatus.CACHE_SLOW, EdgeStatus.COMPLETE}),
    EdgeStatus.CACHE_SLOW: frozenset({EdgeStatus.COMPLETE}),
    EdgeStatus.COMPLETE: frozenset(),
}

INITIAL, CACHE_FAST, CACHE_SLOW, COMPLETE = EdgeStatus
