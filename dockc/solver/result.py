"""Results: what a vertex's outputs are, held by reference count.

The solver does not know what a result is (in dockc, a snapshot). It knows three things: a stable `id` under
which the result store can load it again, the `value` that operations work with, and that `release()` must be
called exactly once by each holder.
"""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable


@runtime_checkable
class Result(Protocol):
    """One output of an operation, held by the caller until `release()`."""

    @property
    def id(self) -> str:
        """Stable identity: the store loads an equal result by it, in another process too."""
        ...

    @property
    def value(self) -> object:
        """What operations work with; a `runtime.refs.ref.ImmutableRef` in a real build."""
        ...

    def release(self) -> None:
        """Give up this hold. Called from any thread, once; may block for file system work."""
        ...


class SharedResult:
    """Counts the holders of one result and releases it with the last of them.

    Mutable state: `_holders` and `_released`, under `_lock`; any thread may call.
    """

    __slots__ = ("_holders", "_lock", "_released", "result")

    def __init__(self, result: Result) -> None:
        self.result = result
        self._holders = 0
        self._released = False
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The id of the shared result."""
        return self.result.id

    @property
    def value(self) -> object:
        """The value of the shared result."""
        return self.result.value

    def acquire(self) -> HeldResult:
        """Return one more hold; raises RuntimeError when the result has already been released."""
        with self._lock:
            if self._released:
                raise RuntimeError(f"result {self.result.id} has already been released")
            self._holders += 1
        return HeldResult(self)

    def drop(self) -> Result | None:
        """One holder less; returns the result when it must be released now."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0 and not self._released
            self._released = self._released or last
        return self.result if last else None


class HeldResult:
    """One hold on a `SharedResult`; itself a `Result`. A second `release()` raises RuntimeError."""

    __slots__ = ("_open", "_shared")

    def __init__(self, shared: SharedResult) -> None:
        self._shared = shared
        self._open = True

    @property
    def id(self) -> str:
        """The id of the shared result."""
        return self._shared.id

    @property
    def value(self) -> object:
        """The value of the shared result."""
        return self._shared.value

    def shared_result(self) -> Result:
        """The result itself, borrowed."""
        return self._shared.result

    def clone(self) -> HeldResult:
        """One more hold on the same result."""
        return self._shared.acquire()

    def release(self) -> None:
        """Give this hold up; the last one releases the result itself."""
        left = self.give_up()
        if left is not None:
            left.release()

    def give_up(self) -> Result | None:
        """Give this hold up without blocking; returns the result if the caller must now release it."""
        if not self._open:
            raise RuntimeError(f"result {self.id} released twice by one holder")
        self._open = False
        return self._shared.drop()

    def __repr__(self) -> str:
        return f"HeldResult({self.id!r}{'' if self._open else ', released'})"
