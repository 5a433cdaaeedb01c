"""What a source must offer to `runtime.ops.source.SourceOp`, and what builds lend to sources."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dockc.base.record import Record, made
from dockc.errors import SolveError
from dockc.solver.lent import Key

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.base import LentLayout
    from dockc.solver.op import OpContext, Preimage

REGISTRY: Key[Client] = Key("registry")
"""What the build speaks to registries and the web with."""
OCI_STORES: Key[Mapping[str, Path | LentLayout]] = Key("oci-stores")
"""OCI layout directories or archives by store name."""


BLOBS = "blobs:"
"""Names of images that start so go on with the last of their `blob_chains`."""


class Claim(Record):
    """A name that is true if the source does not lie; `proven` says whether that is known by now."""

    name: str
    proven: Callable[[], bool]


class SourceKey(Record):
    """What a source stands for.

    Attributes:
        key: text that changes when the content may have changed.
        pin: the exact thing, for provenance: manifest digest, commit, content digest.
        preimage: what went into `key`, for explanations.
        more: other names of the same content: other keys may lead to equal bytes.
        claim: a last name, which is only what the source says of itself.
    """

    key: str
    pin: str = ""
    preimage: Preimage = made(dict)
    more: tuple[str, ...] = ()
    claim: Claim | None = None


class Backing(Protocol):
    """What sources keep their content in: as much of a worker as they need."""

    @property
    def content(self) -> ContentStore:
        """Blobs."""
        ...

    @property
    def refs(self) -> RefManager:
        """File systems."""
        ...


class Source(Protocol):
    """One source operation's way to its content; made per vertex, used from one thread at a time."""

    def key(self, ctx: OpContext) -> SourceKey:
        """Find out what the source stands for now; blocks."""
        ...

    def snapshot(self, ctx: OpContext) -> ImmutableRef | None:
        """Bring it in; None is the empty file system. Blocks; the caller owns the hold."""
        ...


def registry_of(ctx: OpContext) -> Client:
    """The build's registry client.

    Raises:
        SolveError: the build was given none.
    """
    client = REGISTRY.of(ctx)
    if client is None:
        raise SolveError("this build was given nothing to ask registries with")
    return client


def oci_stores(ctx: OpContext) -> Mapping[str, Path | LentLayout]:
    """The named OCI layouts that the builds brought; of one name, the first."""
    # None is written to. Clients elsewhere know alone which names they have: they are asked, not listed.
    return ChainMap(*(cast("dict[str, Path | LentLayout]", stores) for stores in ctx.lent(OCI_STORES)))
