"""What builds lend to their steps: secrets, agents, directories, clients; each under a key that knows its type.

A step that several builds wait for is lent what any of them has: the builds are asked in the order in which they came,
and the
first that can serve does. A build that has ended is not asked any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from dockc.errors import DockcError

R = TypeVar("R")
T = TypeVar("T")


class Lender(Protocol):
    """Whoever knows what is lent: an `op.OpContext`."""

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        """What is lent under `key`, by the builds in the order in which they came."""
        ...


class Key(Generic[T]):
    """The name of one kind of thing that is lent."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def of(self, ctx: Lender) -> T | None:
        """What the first build lends that lends any."""
        return next(iter(ctx.lent(self)), None)

    def ask(self, ctx: Lender, question: Callable[[T], R | None]) -> R | None:
        """The first answer of a build that has one; where none has, the first failure, or None.

        Raises:
            DockcError: a build could not answer, and no other could.
        """
        failure: DockcError | None = None
        asked: list[T] = []
        # Looked at anew each time: while one was asked, which may take long, other builds may have come to wait, too.
        while (
            one := next((one for one in ctx.lent(self) if all(one is not other for other in asked)), None)
        ) is not None:
            asked.append(one)
            try:
                found = question(one)
            except DockcError as error:
                failure = failure or error
                continue
            if found is not None:
                return found
        if failure is not None:
            raise failure
        return None


class Lent:
    """What one build lends, by key. Filled before the build starts, read by many threads."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Key[Any], Any] = {}

    def put(self, key: Key[T], value: T) -> Self:
        """Lend `value` under `key`."""
        self._values[key] = value
        return self

    def end(self) -> None:
        """The build has ended: nothing is lent any more, and what was is free to go."""
        self._values.clear()

    def has(self, key: Key[Any]) -> bool:
        """Whether anything is lent under `key`."""
        return key in self._values

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        """See `Lender.lent`."""
        return (self._values[key],) if key in self._values else ()
