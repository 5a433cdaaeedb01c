"""What takes space in the daemon's store, removing it, and the rules of its collection, in the protocol's words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dockc.protocol.status import to_time
from dockc.rpc.calls import Call, only
from dockc.rpc.pb import common_pb2, control_pb2
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.refs.plan import last_use, matcher
from dockc.runtime.refs.policy import Rule, check_filters
from dockc.runtime.source.registry import LocalNames
from dockc.runtime.store.images import reachable

if TYPE_CHECKING:
    from dockc.engine.work import Work
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.prune import Pruned
    from dockc.runtime.refs.types import UsageRecord


async def disk_usage(work: Work, request: control_pb2.DiskUsageRequest) -> control_pb2.DiskUsageResponse:
    """`Control.DiskUsage`.

    Raises:
        UsageError: a filter that cannot be understood.
    """
    fits = matcher(check_filters(_texts(request.filter)))
    worker = work.worker

    def find() -> list[UsageRecord]:
        before = time.time_ns() - request.ageLimit
        return [
            one
            for one in worker.refs.usage(reachable(worker.content))
            if fits(one) and (not request.ageLimit or last_use(one) <= before)
        ]

    return control_pb2.DiskUsageResponse(record=[usage(one) for one in await work.blocking(find)])


async def prune(work: Work, call: Call) -> None:
    """`Control.Prune`: tells of each record as it goes. A client that leaves ends it.

    With `all` and no filter, what images with a name hold goes, too, as nothing else can take it from a daemon.

    Raises:
        UsageError: a filter that cannot be understood.
    """
    request = await only(call, control_pb2.PruneRequest)
    filters = check_filters(_texts(request.filter))
    rule = Rule(
        all=request.all,
        filters=filters,
        keep_duration=request.keepDuration,
        reserved_space=request.reservedSpace,
        max_used_space=request.maxUsedSpace,
        min_free_space=request.minFreeSpace,
    )
    everything = request.all and not rule.filters
    loop, cancelled = asyncio.get_running_loop(), threading.Event()
    removed: asyncio.Queue[UsageRecord | None] = asyncio.Queue()
    worker = work.worker

    def told(record: UsageRecord) -> None:
        loop.call_soon_threadsafe(removed.put_nowait, record)
        check_cancelled(cancelled)

    def go() -> Pruned:
        try:
            done = worker.prune((rule,), {} if everything else partial(reachable, worker.content), told)
            if everything:
                _forget_names(worker.content)
            return done
        finally:
            loop.call_soon_threadsafe(removed.put_nowait, None)

    pruning = asyncio.ensure_future(work.blocking(go, cancelled=cancelled))
    try:
        while (record := await removed.get()) is not None:
            await call.send(usage(record).SerializeToString())
    except BaseException:
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        raise
    await pruning


def _texts(found: Sequence[str]) -> tuple[str, ...]:
    """Filters; an empty one, as clients send it, lets everything through."""
    return () if "" in found else tuple(found)


def _forget_names(content: ContentStore) -> None:
    """Names of images that are gone."""
    names = LocalNames(content)
    for ref, target in list(names.built()):
        if not content.has(target.digest):
            names.remove(ref)


def usage(one: UsageRecord) -> control_pb2.UsageRecord:
    """A record of the store."""
    out = control_pb2.UsageRecord(
        ID=one.id,
        Mutable=one.mutable,
        InUse=one.in_use,
        Size=one.size,
        CreatedAt=to_time(one.created_at),
        UsageCount=one.usage_count,
        Description=one.description,
        RecordType=str(one.record_type),
        Shared=one.shared,
        Parents=one.parents,
    )
    if one.last_used_at is not None:
        out.LastUsedAt.CopyFrom(to_time(one.last_used_at))
    return out


def rules(found: Sequence[Rule]) -> list[common_pb2.GCPolicy]:
    """The rules of collection, as a worker tells them."""
    return [
        common_pb2.GCPolicy(
            all=one.all,
            filters=one.filters,
            keepDuration=one.keep_duration,
            reservedSpace=one.reserved_space,
            maxUsedSpace=one.max_used_space,
            minFreeSpace=one.min_free_space,
        )
        for one in found
    ]
