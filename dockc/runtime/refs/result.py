"""A ref as the solver's `Result`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dockc.solver.lent import Key

if TYPE_CHECKING:
    from dockc.runtime.refs.core import ProviderFactory
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result


PROVIDERS: Key[ProviderFactory] = Key("providers")
"""Finds who fetches blobs for a build, with its own credentials, by where they come from (`LayerDescriptor.origin`)."""


class RefResult:
    """What operations return: owns one hold on `ref`."""

    __slots__ = ("ref",)

    def __init__(self, ref: ImmutableRef) -> None:
        self.ref = ref

    @property
    def id(self) -> str:
        """The ref's id."""
        return self.ref.id

    @property
    def value(self) -> object:
        """The ref."""
        return self.ref

    def release(self) -> None:
        """Give up the hold."""
        self.ref.release()


def ref_of(result: Result) -> ImmutableRef:
    """The ref of an operation's input; it stays the result's (clone it to keep it).

    Raises:
        TypeError: the result comes from another kind of worker.
    """
    from dockc.runtime.refs.ref import ImmutableRef

    value = result.value
    if not isinstance(value, ImmutableRef):
        raise TypeError(f"result {result.id} holds {type(value).__name__}, not a file system")
    return value


async def make_present(ctx: OpContext, result: Result) -> None:
    """Fetch and unpack an input before the step that reads it starts (a `CacheDep.preprocess`).

    Transfers show as work of the step that named the layer, or else, as for layers of an imported cache, of the step
    that reads it: it is seen to work, and not to be done before it has begun in earnest.
    """
    ref = ref_of(result)
    later = ctx.later(waiting=False)
    begun: list[bool] = []
    lock = threading.Lock()

    def report(digest: str, current: int, total: int, done: bool) -> None:
        with lock:
            if not begun:
                begun.append(True)
                later.begin()
        later.status(digest, name=digest, current=current, total=total, done=done)

    try:
        instead = ctx.lent(PROVIDERS)
        await ctx.run_blocking(ref.prefetch, cancelled=ctx.cancelled, progress=report, instead=instead)
    finally:
        if begun:
            ctx.later(waiting=True)
            later.end()
