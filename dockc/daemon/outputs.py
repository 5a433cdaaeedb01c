"""Outputs that a client names only when the result is there, and that it is told of when they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dockc.protocol.errors import from_rpc
from dockc.protocol.names import EXPORTER
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import UNAVAILABLE, UNIMPLEMENTED, RpcError

if TYPE_CHECKING:
    from dockc.daemon.sessions import Caller
    from dockc.engine.bridge import Result
    from dockc.engine.gateway import Gateway
    from dockc.runtime.exporter.options import Output


class SessionOutputs:
    """A client's service of outputs (`runtime.session.base.MoreOutputs`).

    Args:
        caller: the client.
        gateway: names file systems so that the client may look into them; None where nobody drives the build.
        read: makes an output of its type and attributes.
    """

    def __init__(
        self, caller: Caller, gateway: Callable[[], Gateway | None], read: Callable[[str, dict[str, str]], Output]
    ) -> None:
        self._caller, self._gateway, self._read = caller, gateway, read

    async def find(self, result: Result) -> tuple[Output, ...]:
        """Ask for outputs; a client that offers none has none."""
        gateway = self._gateway()
        refs = [] if gateway is None else [gateway.name(ref) for ref in result.refs.values() if ref is not None]
        request = session_pb2.FindExportersRequest(metadata=dict(result.metadata), refs=refs)
        try:
            found = await self._caller.unary(EXPORTER + "FindExporters", request, session_pb2.FindExportersResponse)
        except RpcError as exc:
            if exc.code in {UNAVAILABLE, UNIMPLEMENTED}:
                return ()
            raise from_rpc(exc) from None
        return tuple(self._read(one.Type, dict(one.Attrs)) for one in found.exporters)

    async def made(self, response: Mapping[str, str]) -> None:
        """Tell what came of all outputs; a client that does not want to know need not."""
        request = session_pb2.FinalizeExportRequest(exporter_response=dict(response))
        try:
            await self._caller.unary(EXPORTER + "FinalizeExport", request, session_pb2.FinalizeExportResponse)
        except RpcError as exc:
            if exc.code not in {UNAVAILABLE, UNIMPLEMENTED}:
                raise from_rpc(exc) from None
