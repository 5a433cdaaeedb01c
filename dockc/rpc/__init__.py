"""gRPC over any stream of bytes: sockets, TLS, pipes of a command, and messages of another call.

    rpc/connection.py   one HTTP/2 connection without I/O: streams, windows, limits
    rpc/status.py       codes, statuses, errors
    rpc/calls.py        calls and handlers on asyncio
    rpc/transports.py   what carries the bytes
    rpc/pb              messages of BuildKit's protocol

Knows bytes, calls and statuses; nothing of builds. Rooms below the engine never import it.
"""
