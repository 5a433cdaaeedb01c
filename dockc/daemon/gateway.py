"""`LLBBridge` on the control socket: each call goes to the gateway of the build that its metadata names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dockc.engine.gateway import answers
from dockc.protocol.names import BUILD_ID
from dockc.rpc.status import INVALID_ARGUMENT, RpcError

if TYPE_CHECKING:
    from dockc.daemon.builds import Builds
    from dockc.engine.gateway import Gateway
    from dockc.rpc.calls import Call, Handler


def handlers(builds: Builds) -> dict[str, Handler]:
    """All calls, by path."""

    async def gateway(call: Call) -> Gateway:
        name = call.get(BUILD_ID)
        if not name:
            raise RpcError("no buildid found in context", code=INVALID_ARGUMENT)
        build = await builds.find(name)
        return await asyncio.shield(build.gateway)  # it is everybody's: who leaves does not take it along

    return answers(gateway)
