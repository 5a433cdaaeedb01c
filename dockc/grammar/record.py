"""Frozen records that cost little to define.

`Record` gives what `@dataclass(frozen=True, slots=True)` gives, and type checkers treat it alike. The standard
decorator compiles half a dozen methods for each class, about half a millisecond a class at every start; here the
methods are shared. `dataclasses.fields`, `replace` and `is_dataclass` work on records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

_Setter = Callable[[Any, Any], None]
_FIELDS: dict[type, Mapping[str, Any]] = {}


class _Fields:
    """`__dataclass_fields__`, made when somebody asks for it."""

    def __get__(self, instance: object, owner: type[Record]) -> Mapping[str, Any]:
        found = _FIELDS.get(owner)
        if found is None:
            import dataclasses

            model = dataclasses.make_dataclass(owner.__name__, list(owner._setters))
            found = _FIELDS[owner] = {field.name: field for field in dataclasses.fields(model)}
        return found


class _RecordType(type):
    """Turns annotations into slots."""

    _setters: dict[str, _Setter]
    _defaults: dict[str, Any]

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, kw_only: bool = False
    ) -> _RecordType:
        own = [field for field, kind in namespace.get("__annotations__", {}).items() if "ClassVar" not in str(kind)]
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        namespace["__slots__"] = tuple(own)
        cls = super().__new__(mcls, name, bases, namespace)
        parent = bases[0] if bases and isinstance(bases[0], _RecordType) else None
        cls._setters = dict(parent._setters) if parent else {}
        cls._setters.update((field, cls.__dict__[field].__set__) for field in own)
        cls._defaults = {**(parent._defaults if parent else {}), **defaults}
        return cls


@dataclass_transform(frozen_default=True, eq_default=True)
class Record(metaclass=_RecordType):
    """Base of frozen records: fields are the annotations of the class and its bases, in that order."""

    _setters: ClassVar[dict[str, _Setter]]
    _defaults: ClassVar[dict[str, Any]]
    __dataclass_fields__: ClassVar[Any] = _Fields()

    def __init__(self, *args: Any, **values: Any) -> None:
        setters = self._setters
        if args:
            if len(args) == len(setters) and not values:
                for put, value in zip(setters.values(), args, strict=True):
                    put(self, value)
                return
            if len(args) > len(setters):
                raise TypeError(f"{type(self).__name__} has {len(setters)} fields, not {len(args)}")
            placed = dict(zip(setters, args, strict=False))
            if twice := placed.keys() & values.keys():
                raise TypeError(f"{type(self).__name__} got {', '.join(sorted(twice))} twice")
            values = {**placed, **values}
        try:
            for name, value in values.items():
                setters[name](self, value)
        except KeyError as error:
            raise TypeError(f"{type(self).__name__} has no field {error}") from None
        if len(values) != len(setters):
            for name, default in self._defaults.items():
                if name not in values:
                    setters[name](self, default)
            if missing := [name for name in setters if name not in values and name not in self._defaults]:
                raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._setters)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._setters)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), dict(zip(self._setters, self._values(), strict=True)))


def _restore(cls: type[Record], values: dict[str, Any]) -> Record:
    return cls(**values)
