"""Spans that the steps of a local build make themselves: a socket that takes them, and hands them to the build's trace.

Steps find it as BuildKit's do: at `/dev/otel-grpc.sock`, by variables of OpenTelemetry (`runtime/ops/exec.py`).
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.sockets import Address
from dockc.protocol.names import TRACES

if TYPE_CHECKING:
    from dockc.engine.tracing import Trace

MAX_MESSAGE = 4 << 20
"""Bytes of one message of spans: as many as gRPC's own servers take."""
SOCKET_MODE = 0o666
"""Steps may run as any user."""
_BACKLOG = 1024


@asynccontextmanager
async def collecting(trace: Trace) -> AsyncIterator[Path]:
    """Take spans for a trace, at a socket that only this user and the steps reach.

    What speaks gRPC is loaded when the first one calls.
    """

    def wire() -> asyncio.Protocol:
        from dockc.protocol.errors import to_rpc
        from dockc.rpc.calls import Call, unary
        from dockc.rpc.pb import trace_pb2
        from dockc.rpc.transports import Wire

        async def export(request: trace_pb2.ExportTraceServiceRequest, _: Call) -> trace_pb2.ExportTraceServiceResponse:
            trace.receive(request.resource_spans)
            return trace_pb2.ExportTraceServiceResponse()

        handlers = {TRACES: unary(trace_pb2.ExportTraceServiceRequest, export)}
        return Wire(handlers, explain=to_rpc, max_message=MAX_MESSAGE)

    with tempfile.TemporaryDirectory(prefix="dockc-otel-") as folder, socket.socket(socket.AF_UNIX) as made:
        path = _bound(made, Path(folder, "s"))
        server = await asyncio.get_running_loop().create_unix_server(wire, sock=made, backlog=_BACKLOG)
        try:
            yield path
        finally:
            server.close()


def _bound(made: socket.socket, path: Path) -> Path:
    with Address(path) as place:  # the folder of temporary files may have a longer path than a socket
        made.bind(place)
    path.chmod(SOCKET_MODE)
    return path
