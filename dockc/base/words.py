"""Enumerations of words, such as the levels of findings.

    class Severity(Words):
        ERROR = "error"
        WARNING = "warning"

What `enum.Enum` says of such a class holds here too: members are single objects with `name` and `value`, iterate in the
order of their declaration, are found by `Severity("error")` and `Severity["ERROR"]`, and survive copies and pickles.
Loading `enum` costs as much as parsing a Dockerfile of forty lines; short commands do without. To type checkers the
class is an `enum.Enum`, so that matches over it are checked to be whole.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import Enum  # noqa: TID251

    Words = Enum
    from typing import Any
else:

    class _WordsType(type):
        """Makes the members, and keeps the class as it was declared."""

        def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _WordsType:
            words = {key: value for key, value in namespace.items() if isinstance(value, str) and key.isupper()}
            cls = super().__new__(mcls, name, bases, {k: v for k, v in namespace.items() if k not in words})
            members = {}
            for key, value in words.items():
                member = object.__new__(cls)
                object.__setattr__(member, "name", key)
                object.__setattr__(member, "value", value)
                members[key] = member
                type.__setattr__(cls, key, member)
            type.__setattr__(cls, "__members__", members)
            type.__setattr__(cls, "_by_value", {member.value: member for member in members.values()})
            return cls

        def __call__(cls, value: Any) -> Any:
            if isinstance(value, cls):
                return value
            try:
                return cls._by_value[value]
            except (KeyError, TypeError):
                raise ValueError(f"{value!r} is not a valid {cls.__name__}") from None

        def __getitem__(cls, name: str) -> Any:
            return cls.__members__[name]

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls.__members__.values())

        def __len__(cls) -> int:
            return len(cls.__members__)

        def __contains__(cls, value: object) -> bool:
            return isinstance(value, cls) or (isinstance(value, str) and value in cls._by_value)

        def __setattr__(cls, name: str, value: Any) -> None:
            raise AttributeError(f"cannot change {cls.__name__}.{name}")

        def __delattr__(cls, name: str) -> None:
            raise AttributeError(f"cannot change {cls.__name__}.{name}")

    class Words(metaclass=_WordsType):
        """Base of enumerations whose members are upper case names of strings."""

        __slots__ = ("name", "value")

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __str__(self) -> str:
            return f"{type(self).__name__}.{self.name}"

        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(f"cannot change {self}.{name}")

        __delattr__ = __setattr__

        def __copy__(self) -> Words:
            return self

        def __deepcopy__(self, memo: object) -> Words:
            return self

        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return type(self), (self.value,)
