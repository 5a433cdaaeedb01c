"""What failed steps leave behind, for builds whose client may want to look into it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record
from dockc.solver.lent import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.solver.op import OpContext


class Failed(Record):
    """One step that failed.

    Attributes:
        op: the operation (`pb.Op`).
        inputs: file systems that it was given: to each mount of a process, else as the operation reads them; None for
            an empty one.
        mounts: file systems as it left them: of each mount of a process, of each action on files. Those that are no
            inputs are nobody else's.
        action: which action on files failed, -1 for none.
        content: the content of which input could not be looked up, -1 for none.
    """

    op: Any
    inputs: tuple[ImmutableRef | None, ...] = ()
    mounts: tuple[ImmutableRef | None, ...] = ()
    action: int = -1
    content: int = -1

    def release(self) -> None:
        """Let go of all. What the step left goes: it may be what has filled the disk, and is of use to nobody now."""
        given = {ref.id for ref in self.inputs if ref is not None}
        for ref in reversed(self.mounts):  # a later one may stand on an earlier one
            if ref is not None and ref.id not in given:
                ref.drop()
        for ref in (*self.inputs, *(one for one in self.mounts if one is not None and one.id in given)):
            if ref is not None:
                ref.release()


class Failures:
    """The failed steps of one build, by their digests. Any thread."""

    def __init__(self) -> None:
        self._left: dict[str, Failed] = {}
        self._guard = threading.Lock()
        self._over = False

    def keep(self, vertex: str, failed: Failed) -> None:
        """Take over what a step left."""
        with self._guard:
            old = failed if self._over else self._left.get(vertex)
            if not self._over:
                self._left[vertex] = failed
        if old is not None:
            old.release()

    def find(self, vertex: str) -> Failed | None:
        """What a step left; it stays ours."""
        with self._guard:
            return self._left.get(vertex)

    def close(self) -> None:
        """Let go of everything; what comes later is not kept."""
        with self._guard:
            self._over = True
            left, self._left = self._left, {}
        for one in left.values():
            one.release()


FAILURES: Key[Failures] = Key("failed steps")
"""Where a build keeps what failed steps leave; lent only by those that want it."""


def leave(
    ctx: OpContext,
    inputs: Sequence[ImmutableRef | None],
    mounts: Callable[[], Sequence[ImmutableRef | None]] = tuple,
    *,
    action: int = -1,
    content: int = -1,
) -> None:
    """Keep what a step leaves, if anybody wants it.

    Args:
        ctx: the step's.
        inputs: stay the caller's.
        mounts: makes what it left, holds that are taken over.
        action, content: see `Failed`.
    """
    wanted = ctx.lent(FAILURES)
    if not wanted:
        return
    made = mounts()
    for number, keeper in enumerate(wanted):
        own = tuple(made) if number == 0 else tuple(None if one is None else one.clone() for one in made)
        failed = Failed(
            ctx.vertex.op, tuple(None if one is None else one.clone() for one in inputs), own, action, content
        )
        keeper.keep(ctx.vertex.digest, failed)
