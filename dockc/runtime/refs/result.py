"""A ref as the solver's `Result`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.solver.result import Result


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
