"""What the standard library offers, for less time at every start: records and named tuples.

`Record` gives what `@dataclass(frozen=True, slots=True)` gives, `Mutable` what `@dataclass(slots=True)` gives,
`NamedTuple` what typing's gives; type checkers treat them alike.
The standard decorators compile half a dozen methods for each class and load `inspect`, `ast` and `typing`; here methods
are shared, or made when they are first called. `dataclasses.fields`, `replace` and `is_dataclass` work on records.
This module imports nothing heavy and nothing of ours; everyone may import it.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # what collections.namedtuple is made of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, TypeVar, dataclass_transform
    from typing import NamedTuple as NamedTuple

    R = TypeVar("R", bound="Record")
    T = TypeVar("T")
    Setter = Callable[[Any, Any], None]
else:

    def dataclass_transform(**_):
        """A word to type checkers only."""
        return lambda cls: cls


class _Made:
    """A default that is made anew for each record."""

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


if TYPE_CHECKING:

    def made(factory: Callable[[], T]) -> T:
        """The default of a field: what the factory makes for each record, as `field(default_factory=...)`."""
        ...

else:
    made = _Made

_FIELDS: dict[type, Mapping[str, Any]] = {}
_made: dict[type, int] = {}
_compared: dict[type, int] = {}
_own_eq: set[type] = set()
_FEW = 40
"""How often the shared methods serve a class; one that is used more often gets its own, three times as fast."""


class _Fields:
    """`__dataclass_fields__`, made when somebody asks for it."""

    def __get__(self, instance: object, owner: type[Record]) -> Mapping[str, Any]:
        found = _FIELDS.get(owner)
        if found is None:
            import dataclasses

            model = dataclasses.make_dataclass(owner.__name__, list(owner._setters))
            found = _FIELDS[owner] = {field.name: field for field in dataclasses.fields(model)}
            for name, default in owner._defaults.items():
                if type(default) is _Made:
                    found[name].default_factory = default.factory
                else:
                    found[name].default = default
        return found


class _Setters:
    """`_setters`, made for a class when its first record is: many commands make none of most classes."""

    def __get__(self, instance: object, owner: _RecordType) -> dict[str, Setter]:
        found: dict[str, Setter] = {}
        for base in reversed(owner.__mro__):
            members = base.__dict__
            for field in members.get("_own", ()):
                found[field] = members[field].__set__
        owner._setters = found
        return found


_SETTERS = _Setters()


class _RecordType(type):
    """Turns annotations into slots."""

    _setters: dict[str, Setter]
    _defaults: dict[str, Any]
    __match_args__: tuple[str, ...]

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kw_only: bool = False,
        identity: bool = False,
    ) -> _RecordType:
        own = [field for field, kind in namespace.get("__annotations__", {}).items() if "ClassVar" not in str(kind)]
        namespace["_own"], namespace["_setters"] = own, _SETTERS
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        parent = bases[0] if bases and isinstance(bases[0], _RecordType) else None
        namespace["__slots__"] = (
            *namespace.get("__slots__", ()),
            *own,
        )  # others than the fields hold what is worked out later
        # What `Record` has is inherited as it is, for it never gets methods of its own; those between may.
        between = parent is not None and parent is not Record
        # identity only
        if between and (parent in _made or parent.__init__ is Record.__init__):  # type: ignore[misc]
            namespace.setdefault(
                "__init__", Record.__init__
            )  # not the parent's own, which does not know the new fields
        # identity only
        if between and "__eq__" not in namespace and (parent in _own_eq or parent.__eq__ is Record.__eq__):  # type: ignore[comparison-overlap]
            # identity only
            shared = parent in _own_eq or parent.__hash__ is Record.__hash__  # type: ignore[comparison-overlap]
            namespace["__eq__"] = Record.__eq__
            namespace.setdefault("__hash__", Record.__hash__ if shared else parent.__hash__)
        if identity:
            namespace |= {"__eq__": object.__eq__, "__hash__": object.__hash__, "__repr__": object.__repr__}
        namespace["__match_args__"] = (*(parent.__match_args__ if parent else ()), *(() if kw_only else own))
        namespace["_defaults"] = {**parent._defaults, **defaults} if parent is not None else defaults
        return super().__new__(mcls, name, bases, namespace)


@dataclass_transform(frozen_default=True, eq_default=True)
class Record(metaclass=_RecordType):
    """Base of frozen records: fields are the annotations of the class and its bases, in that order.

    A class may say `kw_only=True`: its own fields, and not those of classes derived from it, are given by name. With
    `identity=True` it and all that derive from it compare and hash as the objects they are, for nodes of graphs. Fields
    named in `_unshown` are left out of its `repr`: secrets, and what is long.
    """

    if TYPE_CHECKING:  # words that nobody can look up when the program runs
        _setters: ClassVar[dict[str, Setter]]
        _defaults: ClassVar[dict[str, Any]]
        __dataclass_fields__: ClassVar[Any]
        _unshown: ClassVar[tuple[str, ...]]
    else:
        _unshown = ()
        __dataclass_fields__ = _Fields()

    def __init__(self, *args: Any, **values: Any) -> None:
        setters = self._setters
        _made[type(self)] = made = _made.get(type(self), 0) + 1
        if made == _FEW:
            _specialise(type(self))
        if args:
            order = type(self).__match_args__
            if len(args) == len(setters) == len(order) and not values:
                for put, value in zip(setters.values(), args, strict=True):
                    put(self, value)
                return
            if len(args) > len(order):
                raise TypeError(f"{type(self).__name__} has {len(order)} fields, not {len(args)}")
            placed = dict(zip(order, args, strict=False))
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
                    setters[name](self, default.factory() if type(default) is _Made else default)
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
        if type(other) is not type(self):
            return NotImplemented
        _often_compared(type(self))
        return self._values() == other._values()

    def __hash__(self) -> int:
        _often_compared(type(self))
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._setters if name not in self._unshown)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), dict(zip(self._setters, self._values(), strict=True)))


@dataclass_transform(eq_default=True)
class Mutable(metaclass=_RecordType):
    """Base of records whose fields change, as `@dataclass(slots=True)` makes them: equal by their fields, no hash."""

    if TYPE_CHECKING:
        _setters: ClassVar[dict[str, Setter]]
        _defaults: ClassVar[dict[str, Any]]
        _unshown: ClassVar[tuple[str, ...]]
    else:
        _unshown = ()
        __dataclass_fields__ = _Fields()
        __init__, __eq__, __repr__, __reduce__ = Record.__init__, Record.__eq__, Record.__repr__, Record.__reduce__
        _values = Record._values
        __hash__ = None


def _specialise(cls: type[Record]) -> None:
    """Give a class a constructor of its own, as `dataclass` would have written it."""
    if cls.__init__ is not Record.__init__:
        return  # it brings its own
    names: dict[str, Any] = {f"put_{name}": put for name, put in cls._setters.items()}
    names |= {f"default_{name}": default for name, default in cls._defaults.items()}
    ordered = list(cls._setters)
    placed = cls.__match_args__
    optional = next((at for at, name in enumerate(placed) if name in cls._defaults), len(placed))
    named = [name for name in ordered if name not in placed]
    shown = [f"{name}=default_{name}" if name in cls._defaults else name for name in (*placed, *named)]
    declared = [*shown[: len(placed)], *(["*"] if named else []), *shown[len(placed) :]]
    if any(name not in cls._defaults for name in placed[optional:]):
        return  # a field without a default follows one with a default: only by name, which the shared constructor knows
    names |= {f"make_{name}": default.factory for name, default in cls._defaults.items() if type(default) is _Made}
    values = {
        name: f"{name} if {name} is not default_{name} else make_{name}()" if f"make_{name}" in names else name
        for name in ordered
    }
    body = "".join(f"    put_{name}(self_, {values[name]})\n" for name in ordered) or "    pass\n"
    exec(f"def __init__({', '.join(('self_', *declared))}):\n{body}", names)  # noqa: S102  field names only
    cls.__init__ = names["__init__"]  # type: ignore[method-assign]


def _often_compared(cls: type[Record]) -> None:
    """Count; in time give a class comparison and hash of its own, as `dataclass` would have written them."""
    _compared[cls] = count = _compared.get(cls, 0) + 1
    if count != _FEW:
        return
    mine, theirs = ("".join(f"{who}.{name}, " for name in cls._setters) for who in ("self_", "other_"))
    made: dict[str, Any] = {}
    if cls.__eq__ is Record.__eq__ and cls.__hash__ is Record.__hash__:
        code = f"def __eq__(self_, other_):\n    return ({mine}) == ({theirs}) if other_.__class__ is self_.__class__ else NotImplemented\n"
        code += f"def __hash__(self_):\n    return hash(({mine}))\n"
        exec(code, made)  # noqa: S102  field names only
        _own_eq.add(cls)
        cls.__hash__ = made["__hash__"]  # type: ignore[method-assign]
        cls.__eq__ = made["__eq__"]  # type: ignore[method-assign]


def fields_of(record: Record | Mutable | type[Record | Mutable]) -> tuple[str, ...]:
    """The names of a record's fields, or of its class's."""
    return tuple(record._setters)


def as_dict(record: Record | Mutable) -> dict[str, Any]:
    """Names and values of a record's fields; the values are the record's own."""
    return {name: getattr(record, name) for name in record._setters}


def _restore(cls: type[Record], values: dict[str, Any]) -> Record:
    return cls(**values)


def replace(record: R, /, **changes: Any) -> R:
    """A copy of a record with some fields changed, as `dataclasses.replace` makes it."""
    values = {name: getattr(record, name) for name in record._setters}
    return type(record)(**(values | changes))


if not TYPE_CHECKING:

    class _RowType(type):
        """Turns annotations into the items of a tuple."""

        def __new__(mcls, name, bases, namespace):
            fields = tuple(namespace.get("__annotations__", ()))
            namespace["__slots__"] = ()
            if fields:
                defaults = {field: namespace.pop(field) for field in fields if field in namespace}
                namespace.update((field, _tuplegetter(at, field)) for at, field in enumerate(fields))
                namespace.update(_fields=fields, _field_defaults=defaults, __match_args__=fields, __new__=_first)
            return super().__new__(mcls, name, bases, namespace)

    def _first(cls, *args, **values):
        """The constructor until it is first called: makes the real one."""
        owner = next(base for base in cls.__mro__ if "_fields" in base.__dict__)
        names = {f"default_{field}": default for field, default in owner._field_defaults.items()}
        declared = ", ".join(
            f"{field}=default_{field}" if field in owner._field_defaults else field for field in owner._fields
        )
        code = f"lambda cls, {declared}: new(cls, ({', '.join(owner._fields)},))"
        # field names only
        owner.__new__ = make = eval(code, {"new": tuple.__new__, "__name__": owner.__module__, **names})  # noqa: S307
        return make(cls, *args, **values)

    class NamedTuple(tuple, metaclass=_RowType):
        """Base of named tuples: fields are the annotations of the class."""

        _fields = ()
        _field_defaults = {}  # noqa: RUF012

        @classmethod
        def _make(cls, values):
            row = tuple.__new__(cls, values)
            if len(row) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(row)}")
            return row

        def _replace(self, **changes):
            row = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"{type(self).__name__} has no field {', '.join(changes)}")
            return row

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self):
            return tuple(self)
