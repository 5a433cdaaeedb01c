"""Which certificates count for a registry, and which are shown to it."""

from __future__ import annotations

from dockc.base.record import Record


class Trust(Record):
    """Certificates of one registry.

    Attributes:
        verify: whether the server's must be valid.
        ca_files: PEM files with further trusted authorities.
        pairs: of ours, each with its key (PEM files).
    """

    verify: bool = True
    ca_files: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
