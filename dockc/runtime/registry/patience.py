"""Waiting for somebody who may never answer, no longer than the build lives.

Nothing in Python ends a look-up of a name, a connection or a read that another thread waits in. So what comes before an
answer is
waited for from outside, and left to itself when the build ends; and the sockets of answers are shut under those who
read them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dockc.runtime.cancel import Cancelled

T = TypeVar("T")
_PAUSE = 0.1


def abandonable(
    action: Callable[[], T],
    cancelled: threading.Event,
    seconds: float,
    dispose: Callable[[T], object],
    *,
    end: Callable[[], object] = lambda: None,
) -> T:
    """What an action gives that may take forever.

    Args:
        action: runs in a thread of its own, which dies with the process at the latest.
        cancelled: looked at meanwhile.
        seconds: how long it may take at most, 0 for as long as it likes.
        dispose: takes what an action gives that nobody waits for any more.
        end: called when nobody waits for the action any more, so that it ends soon.

    Raises:
        Cancelled: `cancelled` was set.
        TimeoutError: it took too long.
    """
    lock, done = threading.Lock(), threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []
    abandoned = False

    def work() -> None:
        try:
            result = action()
        except BaseException as error:
            errors.append(error)
        else:
            with lock:
                if not abandoned:
                    results.append(result)
            if not results:
                dispose(result)
        done.set()

    threading.Thread(target=work, name="request", daemon=True).start()
    until = time.monotonic() + seconds if seconds else float("inf")
    while not done.wait(_PAUSE):
        late = time.monotonic() > until
        if not (late or cancelled.is_set()):
            continue
        with lock:
            abandoned = not results
        if abandoned:
            end()
            raise TimeoutError("timed out") if late else Cancelled("cancelled")
    if errors:
        raise errors[0]
    return results[0]


class Watch:
    """Shuts sockets when the builds end that they are read for.

    Mutable state, under `_lock`: the sockets with their builds' cancel events, and the one thread that looks at them
    while there are any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[socket.socket, threading.Event]] = {}
        self._thread: threading.Thread | None = None

    def add(self, peer: socket.socket, cancelled: threading.Event) -> Callable[[], None]:
        """Watch a socket until what is given back is called, by then the socket may serve somebody else."""
        token = object()
        with self._lock:
            self._watched[token] = (peer, cancelled)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()

        def remove() -> None:
            with self._lock:
                self._watched.pop(token, None)

        return remove

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                for token, (peer, cancelled) in list(self._watched.items()):
                    if not cancelled.is_set():
                        continue
                    del self._watched[token]
                    try:
                        peer.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass  # closed by then
            time.sleep(_PAUSE)
