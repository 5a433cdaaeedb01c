"""What takes space on a builder, on all of its nodes, and removing it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dockc.base.aside import together
from dockc.client import address
from dockc.client.control import Remote
from dockc.protocol.status import time_of
from dockc.rpc.pb import control_pb2
from dockc.runtime.refs.types import RecordType, UsageRecord

if TYPE_CHECKING:
    from dockc.client.builders import Node
    from dockc.runtime.refs.policy import Rule


def record_of(one: control_pb2.UsageRecord) -> UsageRecord:
    """A record as the builder tells it; of a type that is not known here, a regular one."""
    known = one.RecordType if one.RecordType in tuple(RecordType) else RecordType.REGULAR
    return UsageRecord(
        id=one.ID,
        record_type=RecordType(known),
        description=one.Description,
        size=max(one.Size, 0),
        created_at=time_of(one.CreatedAt),
        last_used_at=time_of(one.LastUsedAt) if one.HasField("LastUsedAt") else None,
        usage_count=one.UsageCount,
        in_use=one.InUse,
        mutable=one.Mutable,
        shared=one.Shared,
        lazy=False,
        parents=tuple(one.Parents),
        held_by=("a build",) if one.InUse else (),
    )


def prune_request(rule: Rule) -> control_pb2.PruneRequest:
    """What a rule asks of a builder."""
    return control_pb2.PruneRequest(
        filter=rule.filters,
        all=rule.all,
        keepDuration=rule.keep_duration,
        reservedSpace=rule.reserved_space,
        maxUsedSpace=rule.max_used_space,
        minFreeSpace=rule.min_free_space,
    )


@asynccontextmanager
async def _remote(node: Node) -> AsyncIterator[Remote]:
    link = await address.connect(address.parse(node.addr), node.tls if node.tls else None)
    try:
        yield Remote(link)
    finally:
        await link.close()


async def usage(nodes: Sequence[Node], filters: Sequence[str], age: int) -> list[UsageRecord]:
    """Records of all nodes that match any filter and were not used for so many nanoseconds.

    Raises:
        DockcError: a node does not answer, or says no.
    """

    async def ask(node: Node) -> list[UsageRecord]:
        async with _remote(node) as remote:
            return [record_of(one) for one in await remote.usage(filters, age)]

    return [one for found in await together(*map(ask, nodes)) for one in found]


async def prune(nodes: Sequence[Node], request: control_pb2.PruneRequest) -> list[UsageRecord]:
    """Prune on all nodes; what went.

    Raises:
        DockcError: a node does not answer, or says no.
    """

    async def ask(node: Node) -> list[UsageRecord]:
        async with _remote(node) as remote:
            return [record_of(one) async for one in remote.prune(request)]

    return [one for found in await together(*map(ask, nodes)) for one in found]
