"""The sessions of clients by their ids, and how a thread of the engine asks one of them something."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dockc.base.aside import OnLoop, aside
from dockc.base.threads import given_up, waiting
from dockc.daemon.arrivals import Arrivals
from dockc.daemon.mirrors import Mirrors
from dockc.errors import DockcError
from dockc.protocol.errors import from_rpc
from dockc.protocol.names import HEALTH, SESSION_HEALTH, SESSION_ID, SESSION_KEY, SESSION_METHODS
from dockc.rpc.calls import Call, Channel, parsed
from dockc.rpc.status import DEADLINE_EXCEEDED, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, RpcError
from dockc.rpc.transports import Tunnel
from dockc.runtime.cancel import Cancelled

if TYPE_CHECKING:
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

T = TypeVar("T")

_WAIT = 5.0
"""Seconds that a build waits for its session."""
_PULSE, _PATIENCE, _FAILURES = 5.0, 15.0, 2
_LOOK = 0.2
"""Seconds between two looks whether what a thread waits for is still wanted."""
ANSWER = 120.0
"""Seconds for a small answer. The client may have to ask its user; but a step that another build waits for, too, must
not wait for a client that never answers."""


class SessionGone(DockcError):
    """A client that a build needs has gone."""


class Caller:
    """One client's session.

    Attributes:
        id, shared_key: what the client calls itself and its files.
        peer: who it is, as the connection says; "" where it does not.
        methods: what it serves, by path.
        health: seconds between two looks at whether it lives, and for the answer; 0 for the usual, which is patient.
        over: once it is set nobody waits for the client; None where it is nobody's of one build.
    """

    def __init__(
        self,
        name: str,
        shared_key: str,
        methods: Sequence[str],
        channel: Channel,
        *,
        health: float = 0.0,
        peer: str = "",
    ) -> None:
        self.health, self.peer = health, peer
        self.id, self.shared_key, self.methods = name, shared_key, frozenset(methods)
        self.channel = channel
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.over: threading.Event | None = None

    def within(self, over: threading.Event) -> Caller:
        """The same client for one build: once `over` is set nobody waits for it."""
        one = copy.copy(self)
        one.over = over
        return one

    def serves(self, path: str) -> bool:
        """Whether the client said that it serves a method; Go's clients write the method's first letter small, too."""
        service, _, method = path.rpartition("/")
        return (
            path in self.methods
            or f"{service}/{method[:1].lower()}{method[1:]}" in self.methods
            or f"{service}/{method.lower()}" in self.methods
        )

    async def unary(
        self,
        path: str,
        request: Message,
        answer: type[M],
        metadata: Sequence[tuple[str, str]] = (),
        *,
        limit: float | None = None,
    ) -> M:
        """Ask the client, and wait for `limit` seconds.

        Raises:
            RpcError: it says no, says nothing, or has gone.
        """
        try:
            async with asyncio.timeout(limit):
                return parsed(await self.channel.unary(path, request.SerializeToString(), metadata), answer)
        except TimeoutError:
            method = path.rpartition("/")[2]
            raise RpcError(
                f"the client gave no answer to {method} in {limit:g} seconds", code=DEADLINE_EXCEEDED
            ) from None

    def wait(self, work: Coroutine[Any, Any, T], cancelled: threading.Event | None = None) -> T:
        """Run something on the loop for a thread that waits, as long as it is wanted. It has ended when this ends: what it
        works with is the thread's.

        Raises:
            DockcError: what it raises; words of the client keep their details.
            Cancelled: `cancelled` was set, or the thread's work was given up.
        """
        running = OnLoop(work, self._loop)
        with waiting():
            while not running.wait(_LOOK):
                try:
                    self.check(cancelled)
                except DockcError:
                    running.end()
                    raise
        try:
            return running.result()
        except (RpcError, asyncio.CancelledError) as exc:
            raise self.told(exc) from None

    def check(self, cancelled: threading.Event | None = None) -> None:
        """Go on only while it is wanted; for a thread.

        Raises:
            SessionGone: the build is over that lent what is asked for.
            Cancelled: `cancelled` was set, or the thread's work was given up.
        """
        if (cancelled is not None and cancelled.is_set()) or given_up():
            raise Cancelled
        if self.over is not None and self.over.is_set():
            raise SessionGone(f"the build of the client's session {self.id} is over")

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let the loop begin something that nobody waits for; from any thread."""

        def start() -> None:
            task = self._loop.create_task(work())
            self._tasks.add(task)  # the loop itself keeps no hold on it
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(start)

    def told(self, error: BaseException) -> DockcError:
        """What a call failed with, for people; words of the client keep their details."""
        if not isinstance(error, RpcError):
            return SessionGone(f"the client's session {self.id} has gone")
        if error.code == UNAVAILABLE:
            return SessionGone(f"the client's session {self.id} has gone: {error.message}")
        return from_rpc(error)


class Sessions:
    """All sessions.

    Args:
        contexts: directory for what clients' directories hold.
    """

    def __init__(self, contexts: Path) -> None:
        self._callers: dict[str, Caller] = {}
        self._arrivals: Arrivals[Caller] = Arrivals()
        self.mirrors = Mirrors(contexts)

    def __len__(self) -> int:
        return len(self._callers)

    async def serve(self, call: Call) -> None:
        """`Control.Session`: hold a client's session until it ends.

        Raises:
            RpcError: it has no name, or one that is taken.
        """
        name = call.get(SESSION_ID)
        if not name:
            raise RpcError("session without an id", code=INVALID_ARGUMENT)
        if name in self._callers:
            raise RpcError(f"session {name} is already open", code=INVALID_ARGUMENT)
        call.start()
        tunnel = Tunnel(call)
        caller = Caller(
            name,
            call.get(SESSION_KEY),
            call.get_all(SESSION_METHODS),
            tunnel.channel,
            health=_health(call.get(SESSION_HEALTH)),
            peer=call.channel.peer,
        )
        self._callers[name] = caller
        self._arrivals.come(name, caller)
        pulse = asyncio.create_task(_pulse(caller))
        try:
            ends: set[asyncio.Future[Any]] = {tunnel.done, tunnel.channel.ended, pulse}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pulse.cancel()
            self._callers.pop(name, None)
            tunnel.channel.lost(RpcError("the session has ended", code=UNAVAILABLE))
            if not caller.shared_key:  # nobody can ask for these copies again
                await aside(self.mirrors.drop, caller.id)

    async def find(self, name: str) -> Caller:
        """A session by its id, which may still be on its way.

        Raises:
            RpcError: it does not come.
        """
        name = name.rpartition(":")[2]
        found = self._callers.get(name)
        if found is not None:
            return found
        found = await self._arrivals.wait(name, _WAIT)
        if found is None:
            raise RpcError(f"no active session for {name}: context deadline exceeded", code=NOT_FOUND)
        return found


def _health(text: str) -> float:
    """Seconds out of a client's wish in milliseconds; no less than one."""
    return max(int(text) / 1000, 1.0) if text.isascii() and text.isdigit() and len(text) < 9 and int(text) else 0.0


async def _pulse(caller: Caller) -> None:
    """Ask whether the client lives, as long as it serves that."""
    pulse, patience, failures = (caller.health, caller.health, 1) if caller.health else (_PULSE, _PATIENCE, _FAILURES)
    missed = 0
    while missed < failures:
        await asyncio.sleep(pulse)
        try:
            async with asyncio.timeout(patience):
                await caller.channel.unary(HEALTH, b"")
            missed = 0
        except (RpcError, TimeoutError) as exc:
            if isinstance(exc, RpcError) and exc.code != UNAVAILABLE:
                missed = 0
                continue
            missed += 1
