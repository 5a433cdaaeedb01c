"""Connections of which the sockets are known to whoever waits for their answers.

Nothing ends a read that another thread waits in, but shutting what it reads from. A server that sends the beginning of
an answer for ever, a byte at a time or one "100 Continue" after the other, would keep that thread for ever.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_asking = threading.local()


class Heard:
    """The sockets that a thread has waited for answers of."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note those of this thread while the block runs."""
        _asking.sockets = self._sockets
        try:
            yield
        finally:
            _asking.sockets = None

    def shut(self) -> None:
        """Let the thread that waits find the end; to be called while it does."""
        for one in self._sockets:
            with suppress(OSError):  # closed by then
                one.shutdown(socket.SHUT_RDWR)


def _note(of: socket.socket | None) -> None:
    sockets: list[socket.socket] | None = getattr(_asking, "sockets", None)
    if sockets is not None and of is not None:
        sockets[:] = [of]


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        _note(self.sock)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        _note(self.sock)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS = {"http": _Pool, "https": _TlsPool}
"""For urllib3's managers: `pool_classes_by_scheme`."""
