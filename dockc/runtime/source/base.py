"""What a source must offer to `runtime.ops.source.SourceOp`, and what builds lend to sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dockc.base.record import Record, made
from dockc.runtime.session.secrets import SECRETS

if TYPE_CHECKING:
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.secrets import SecretStore
    from dockc.solver.op import OpContext, Preimage

REGISTRY = "registry"
"""`OpContext.value` key: the build's `registry.client.Client`."""
OCI_STORES = "oci-stores"
"""`OpContext.value` key: `Mapping[str, Path]`, OCI layout directories or archives by store name."""


class SourceKey(Record):
    """What a source stands for.

    Attributes:
        key: text that changes when the content may have changed.
        pin: the exact thing, for provenance: manifest digest, commit, content digest.
        preimage: what went into `key`, for explanations.
        more: other names of the same content: other keys may lead to equal bytes.
    """

    key: str
    pin: str = ""
    preimage: Preimage = made(dict)
    more: tuple[str, ...] = ()


class Source(Protocol):
    """One source operation's way to its content; made per vertex, used from one thread at a time."""

    def key(self, ctx: OpContext) -> SourceKey:
        """Find out what the source stands for now; blocks."""
        ...

    def snapshot(self, ctx: OpContext) -> ImmutableRef | None:
        """Bring it in; None is the empty file system. Blocks; the caller owns the hold."""
        ...


def registry_of(ctx: OpContext) -> Client:
    """The build's registry client, or the process's own when the build brought none."""
    from dockc.runtime.registry.client import Client, default_client

    client = ctx.value(REGISTRY)
    return client if isinstance(client, Client) else default_client()


def oci_stores(ctx: OpContext) -> Mapping[str, Path]:
    """The named OCI layouts that the build brought."""
    return cast("Mapping[str, Path]", ctx.value(OCI_STORES) or {})


def secrets_of(ctx: OpContext) -> SecretStore | None:
    """The build's secrets, or None."""
    return cast("SecretStore | None", ctx.value(SECRETS))
