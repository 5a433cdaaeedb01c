"""What is known of the layers of many records: as much as memory should hold, the latest used."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 1 << 16
"""Names in all of them: 8 bytes each, since chains share the names themselves."""
RECORD = 32
"""Names for which a record counts by itself: it takes some 250 bytes, and a daemon meets any number of them."""


class Chains:
    """Layers or directories, lowest first, by record. A long chain of records holds the same names over and over, so that
    all of them would grow with its square.

    Not locked: the caller's affair.

    Attributes:
        size: names in all of them, and `RECORD` for each.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.size = 0
        self._known: dict[str, tuple[str, ...]] = {}  # the latest used last

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._known

    def __getitem__(self, record_id: str) -> tuple[str, ...]:
        """What is known of a record, which counts as used; raises KeyError."""
        found = self._known[record_id] = self._known.pop(record_id)
        return found

    def get(self, record_id: str) -> tuple[str, ...] | None:
        """The same; None where nothing is known."""
        return self[record_id] if record_id in self._known else None

    def __setitem__(self, record_id: str, chain: Sequence[str]) -> None:
        self.drop(record_id)
        self._known[record_id] = tuple(chain)
        self.size += RECORD + len(chain)

    def drop(self, record_id: str) -> None:
        """Forget what is known of a record, if anything is."""
        found = self._known.pop(record_id, None)
        if found is not None:
            self.size -= RECORD + len(found)

    def trim(self) -> list[str]:
        """Forget what was not used for long, as far as there is too much; never the latest. Returns the records."""
        gone: list[str] = []
        while self.size > self._most and len(self._known) > 1:
            gone.append(next(iter(self._known)))
            self.drop(gone[-1])
        return gone

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self.size = 0
