"""What is exported: one root file system per platform, with its image config."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.oci import platform as platforms
from dockc.oci.platform import Platform
from dockc.oci.reference import Reference, parse_normalized

if TYPE_CHECKING:
    from dockc.runtime.refs.ref import ImmutableRef

Report = Callable[[str, bool], None]
"""`(what, done)`: a part of an export begins or has ended; called from any thread."""


class PlatformResult(Record):
    """The result for one platform.

    Attributes:
        platform: what it runs on.
        ref: the file system, None when it is empty; borrowed from the caller.
        config: image config JSON, b"" for none.
        base_config: config of the base image, b"" for none: its history and layers keep their times under
            SOURCE_DATE_EPOCH.
        epoch: SOURCE_DATE_EPOCH that the frontend worked with, Unix seconds, or None.
    """

    platform: Platform
    ref: ImmutableRef | None
    config: bytes = b""
    base_config: bytes = b""
    epoch: int | None = None

    @property
    def id(self) -> str:
        """Name of the platform."""
        return platforms.format_all(self.platform)


class ExportSource(Record):
    """All that an exporter gets.

    Attributes:
        results: one per platform, in the order asked for.
        multi: whether the build asked for several platforms (an index is made even for one).
        names: image names of `-t`, as written.
    """

    results: tuple[PlatformResult, ...]
    multi: bool = False
    names: tuple[str, ...] = ()


def parse_names(names: Iterable[str]) -> tuple[Reference, ...]:
    """Image names with domain and tag, each once, in order; `InvalidReference` for a broken one."""
    return tuple(dict.fromkeys(parse_normalized(name).tag_name_only() for name in names))
