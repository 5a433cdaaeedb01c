"""Answers of pure functions, kept: as `functools.lru_cache`, without what loading `functools` costs a short command."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Asked = TypeVar("Asked")
    Answer = TypeVar("Answer")

_NOTHING: Any = object()


def remembered(most: int) -> Callable[[Callable[[Asked], Answer]], Callable[[Asked], Answer]]:
    """Keep the answers of a function of one hashable argument.

    Args:
        most: this many answers; when there are more, all are forgotten, so that memory stays bounded. An error is no
            answer.
    """

    def decorate(function: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
        answers: dict[Asked, Answer] = {}

        def ask(asked: Asked) -> Answer:
            found: Answer = answers.get(asked, _NOTHING)
            if found is _NOTHING:
                found = function(asked)
                if len(answers) >= most:
                    answers.clear()
                answers[asked] = found
            return found

        ask.__name__, ask.__qualname__ = function.__name__, function.__qualname__
        ask.__doc__, ask.__module__ = function.__doc__, function.__module__
        ask.__wrapped__ = function  # type: ignore[attr-defined]  # where `inspect` looks for the signature
        return ask

    return decorate
