"""Two ends of one connection in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from dockc.rpc.calls import Channel, Handler
from dockc.rpc.transports import Wire


@asynccontextmanager
async def pair(handlers: Mapping[str, Handler]) -> AsyncIterator[tuple[Channel, Channel]]:
    """The client's channel and the server's, over a socket pair."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    _, server = await loop.create_connection(lambda: Wire(handlers), sock=there)
    _, client = await loop.create_connection(Wire, sock=here)
    try:
        async with asyncio.timeout(60):
            yield client.channel, server.channel
    finally:
        client.channel.shut()
        server.channel.shut()
        await asyncio.sleep(0.01)
