"""Traces in the daemon: spans of its builds, and those that clients send; sent on where the environment says so, and
kept with the builds that they belong to: in memory while these run, beside their records in the history after that.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dockc.base.aside import aside
from dockc.engine import otlp, tracing
from dockc.protocol.names import TRACES
from dockc.rpc.calls import Call, Handler, unary
from dockc.rpc.pb import trace_pb2

if TYPE_CHECKING:
    from dockc.daemon.builds import Build

_log = logging.getLogger("dockc.daemon")
_EVERY = 1.0
"""Seconds between two messages to the collector."""
_WAITING = 64 << 20
"""Bytes of spans that wait for a collector at most; beyond, they are dropped."""
_KEEP, _ALL = 50, 64 << 20
"""Builds whose traces are kept, and bytes of all of them."""
_SIZE = 8 << 20
"""Bytes that are kept of one."""

Keep = Callable[[str, bytes, str, int], Awaitable[bool]]
"""Takes what is new of the trace of a build, when it is over and when more comes: the build's name, the spans, digest
and size of the whole trace. It says whether they are kept there; if not, they stay in memory."""


class _Kept:
    """The trace of one build, in the form of the history."""

    def __init__(self, trace: bytes) -> None:
        self.trace = trace
        self.over = False
        self.size = 0
        self.lock = asyncio.Lock()  # what is new is kept in its order
        self.parts: list[bytes] = []
        self.stored = False
        self._hasher = hashlib.sha256()

    def add(self, text: bytes) -> None:
        if self.size + len(text) <= _SIZE:
            self.parts.append(text)
            self._hasher.update(text)
            self.size += len(text)

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(map(len, self.parts))

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)


class Tracing:
    """All traces of a daemon. To be used on its loop.

    Args:
        keep: keeps the traces of builds.
        environ: says where traces go.

    Raises:
        UsageError: the environment wants what is not there.
    """

    def __init__(self, keep: Keep, environ: os._Environ[str] = os.environ) -> None:
        self._store, self._environ = keep, environ
        self._way = otlp.way(environ)
        tracing.is_sampled(tracing.Context(b"\0" * 16), environ)  # what is wrong with it is said now
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._waiting: list[trace_pb2.ResourceSpans] = []
        self._size = 0
        self._dropped = False
        self._sender: asyncio.Task[None] | None = None

    def handlers(self) -> dict[str, Handler]:
        """The one call of the service."""
        return {TRACES: unary(trace_pb2.ExportTraceServiceRequest, self._export)}

    async def _export(
        self, request: trace_pb2.ExportTraceServiceRequest, _: Call
    ) -> trace_pb2.ExportTraceServiceResponse:
        for one in request.resource_spans:
            self._forward(one)
            traces = {span.trace_id for scope in one.scope_spans for span in scope.spans}
            for ref in [ref for ref, kept in self._kept.items() if kept.trace in traces]:
                await self._keep(ref, one)
        return trace_pb2.ExportTraceServiceResponse()

    # --- builds -----------------------------------------------------------------------------------------

    def begin(self, build: Build, call: Call) -> tracing.Trace:
        """The sink of a build that begins, which makes spans of its progress."""
        context = tracing.Context.read(call.get("traceparent"), call.get("tracestate"))
        if not build.request.Internal:
            self._kept[build.ref] = _Kept(context.trace)
            self._kept.move_to_end(build.ref)
            self._forget()
        return tracing.Trace(build.sink, "moby.buildkit.v1.Control/Solve", context, server=True)

    async def end(self, build: Build, trace: tracing.Trace, error: BaseException | None) -> None:
        """A build is over."""
        if build.request.Internal:
            return
        spans = tracing.packed(trace.spans(error, {"dockc.build": build.ref}), self._environ)
        if tracing.is_sampled(trace.above, self._environ):
            self._forward(spans)
        kept = self._kept.get(build.ref)
        if kept is not None:
            kept.over = True
            await self._keep(build.ref, spans)

    async def _keep(self, ref: str, spans: trace_pb2.ResourceSpans) -> None:
        text = await asyncio.to_thread(otlp.as_history, [spans])
        kept = self._kept.get(ref)
        if kept is None:
            return
        async with kept.lock:
            kept.add(text)
            if kept.over and kept.parts:
                kept.stored = await self._store(ref, kept.data, kept.digest, kept.size)
                if kept.stored:
                    kept.parts.clear()
        self._forget()

    def _forget(self) -> None:
        over = [ref for ref, kept in self._kept.items() if kept.over]
        total = sum(kept.held for kept in self._kept.values())
        for ref in over[:-1]:
            if len(self._kept) <= _KEEP and total <= _ALL:
                return
            total -= self._kept.pop(ref).held

    def find(self, digest: str) -> bytes | None:
        """The trace of a build, as a blob; None where it is none, lies in the history, or is not kept any more."""
        return next(
            (kept.data for kept in self._kept.values() if kept.parts and kept.over and kept.digest == digest), None
        )

    # --- the collector ----------------------------------------------------------------------------------

    def _forward(self, spans: trace_pb2.ResourceSpans) -> None:
        if self._way is None:
            return
        size = spans.ByteSize()
        if self._size + size > _WAITING:
            if not self._dropped:
                _log.warning("the collector of traces is too slow: spans are dropped")
            self._dropped = True
            return
        self._waiting.append(spans)
        self._size += size
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        await asyncio.sleep(_EVERY)
        while self._waiting:
            await self._flush()
        self._sender = None

    async def _flush(self) -> None:
        assert self._way is not None
        spans, self._waiting, self._size, self._dropped = self._waiting, [], 0, False
        problem = await aside(otlp.send, self._way, spans)
        if problem:
            _log.warning("traces could not be sent: %s", problem)

    async def close(self) -> None:
        """Send what waits."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._waiting:
            await self._flush()
