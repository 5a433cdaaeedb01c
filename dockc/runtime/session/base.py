"""What one client lends to a build, and never sends unasked: directories, image layouts, secrets, SSH agents,
credentials, uploads.

A local build fills it straight from the disk; a daemon fills it with objects of the same shapes that ask through a
tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dockc.base.record import Record, made

if TYPE_CHECKING:
    import threading

    from dockc.oci.platform import Platform
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.session.auth import CredentialStore
    from dockc.runtime.session.files import Directory
    from dockc.runtime.session.secrets import SecretStore, SshAgents
    from dockc.runtime.session.sinks import Sinks


class LentLayout(Protocol):
    """An OCI layout that is not on this machine. Blocks; from any thread."""

    @property
    def path(self) -> Path:
        """What it is called here."""
        ...

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """A file of the layout and its size; `FileNotFoundError` when there is none."""
        ...


class LentCaches(Protocol):
    """A client's directories of caches (`type=local`), by the names that it has for them. Blocks; from any thread."""

    def layout(self, name: str) -> LentLayout:
        """One to read: blobs by digest, no index."""
        ...

    def write(
        self, name: str, blobs: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        """Bring blobs of `content` (digests and sizes) into one, whose client names the cache there itself.

        Raises:
            StoreError: the client did not take them.
        """
        ...


class SourceCheck(Protocol):
    """A client's word on each source that is about to be used. On the loop's thread."""

    async def __call__(
        self, bridge: Any, identifier: str, attrs: Mapping[str, str], platform: Platform | None, /
    ) -> tuple[str, Mapping[str, str]] | None:
        """What the source is to be instead, None for what it is; `bridge` (`engine.bridge.Bridge`) finds out about it.

        Raises:
            DockcError: it may not be used.
        """
        ...


class MoreOutputs(Protocol):
    """Outputs that a client names when the result is there. On the loop's thread."""

    async def find(self, result: Any) -> Sequence[Any]:
        """What else is to be made (`exporter.options.Output`) of a result (`engine.bridge.Result`)."""
        ...

    async def made(self, response: Mapping[str, str]) -> None:
        """All outputs are made; what came of them."""
        ...


class Session(Record, kw_only=True):
    """What one client lends.

    Attributes:
        id: names the session; "" where it needs no name.
        directories: by the name of the local source.
        others: directories of another session by its id, where there may be others; None for that session itself.
        stores: OCI layouts by store name: directories, archives, or what reads one elsewhere.
        secrets, ssh: what steps may use while they run; None for nothing.
        credentials: of registries; None for those of the user whom the engine runs as.
        uploads: files by the addresses that they answer for, such as an archive that came on standard input.
        policy: judges sources, or None.
        keeps_failures: the client may look into what failed steps leave.
        outputs: names further outputs, or None.
        sinks: where outputs go that have no place on the engine's own machine; None: all have one.
        caches: where `type=local` caches are; None: on the engine's own machine.
    """

    id: str = ""
    directories: Mapping[str, Directory] = made(dict)
    others: Callable[[str], Mapping[str, Directory] | None] | None = None
    stores: Mapping[str, Path | LentLayout] = made(dict)
    secrets: SecretStore | None = None
    ssh: SshAgents | None = None
    credentials: CredentialStore | None = None
    uploads: Mapping[str, Path] = made(dict)
    policy: SourceCheck | None = None
    keeps_failures: bool = False
    outputs: MoreOutputs | None = None
    sinks: Sinks | None = None
    caches: LentCaches | None = None
