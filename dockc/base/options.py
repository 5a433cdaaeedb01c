"""What a command takes on its line, declared once: the plain reader, the help, completion and the reference page come
from it.

    class FormatOptions(Options):
        '''Format Dockerfiles.'''

        files: tuple[str, ...] = argument(help="Files or directories.")
        check: bool = option("--check", help="Write nothing.")

A command's options are a frozen record of that class. Annotations say the kind of value: `str`, `int`, `bool`, `Path |
None`, and
`tuple[str, ...]` for what may be repeated.
"""

from __future__ import annotations

from dockc.base.record import Record, _RecordType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Final

TEXT, LIST, PATH, FLAG, NUMBER = "text", "list", "path", "flag", "number"
_KINDS = {"str": TEXT, "int": NUMBER, "bool": FLAG, "Path": PATH, "tuple[str, ...]": LIST}
_EMPTY: dict[str, Any] = {TEXT: "", LIST: (), PATH: None, FLAG: False, NUMBER: 0}
TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
"""Values of a flag, as Go's `strconv.ParseBool` reads them: docker's flags take them."""


class Required:
    """The default of an argument that must be given."""


class Row:
    """One option or argument.

    Attributes:
        name: the field of the record.
        flags: such as `--file` and `-f`; none for an argument.
        off: flags that say no.
        kind: TEXT, LIST, PATH, FLAG or NUMBER.
        default: the field's value where the line does not say; `Required` for an argument without which there is no
            command.
        help: a sentence or two.
        metavar: what stands for the value in help.
        variable: environment variable that says the value where the line does not.
        low, high: bounds of a number, both included; None is none.
        bare: the number that the flag means without a value, as docker's flag of this name has none; None where there
            must be one.
        hidden: taken, but in no help.
        group: heading in help; "" is the command's own.
        completes: what completion offers for the value: `file`, `directory`, `stage`, `rule`, `pass`, `image`, or words
            between `|`.
    """

    __slots__ = (
        "bare", "completes", "default", "flags", "group", "help", "hidden", "high", "kind", "low", "metavar", "name", "off", "variable",
    )  # fmt: skip

    def __init__(self, name: str, annotation: str, flags: tuple[str, ...], what: dict[str, Any]) -> None:
        self.name: Final = name
        self.flags: Final = flags
        self.kind: Final = _KINDS[annotation.removesuffix(" | None")]
        self.off: Final[tuple[str, ...]] = what.get("off", ())
        self.default: Final = what["default"] if "default" in what else default_of(annotation)
        self.help: Final[str] = what.get("help", "")
        self.metavar: Final[str] = what.get("metavar", "")
        self.variable: Final[str] = what.get("variable", "")
        self.low: Final[int | None] = what.get("low")
        self.high: Final[int | None] = what.get("high")
        self.bare: Final[int | None] = what.get("bare")
        self.hidden: Final[bool] = what.get("hidden", False)
        self.group: Final[str] = what.get("group", "")
        self.completes: Final[str] = what.get("completes", "")


def default_of(annotation: str) -> Any:
    """The value of a field that nobody sets: None where the annotation allows it, else nothing of its kind."""
    return None if annotation.endswith(" | None") else _EMPTY[_KINDS[annotation]]


class _Declared:
    """What `option` and `argument` were told, until the class is made."""

    __slots__ = ("flags", "what")

    def __init__(self, flags: tuple[str, ...], what: dict[str, Any]) -> None:
        self.flags = flags
        self.what = what


def option(
    *flags: str,
    off: tuple[str, ...] = (),
    default: Any = None,
    help: str = "",  # noqa: A002 - the word of every command line library
    metavar: str = "",
    variable: str = "",
    low: int | None = None,
    high: int | None = None,
    bare: int | None = None,
    hidden: bool = False,
    group: str = "",
    completes: str = "",
) -> Any:
    """An option of a command; see `Row`. Without a default, the field is empty in the way of its kind."""
    what: dict[str, Any] = {
        "off": off,
        "help": help,
        "metavar": metavar,
        "variable": variable,
        "low": low,
        "high": high,
        "bare": bare,
    }
    what |= {"hidden": hidden, "group": group, "completes": completes}
    if default is not None:
        what["default"] = default
    return _Declared(flags, what)


def argument(
    default: Any = None,
    *,
    required: bool = False,
    metavar: str = "",
    help: str = "",  # noqa: A002 - the word of every command line library
    completes: str = "",
) -> Any:
    """An argument of a command; one of kind LIST takes all that is left."""
    what: dict[str, Any] = {"help": help, "metavar": metavar, "completes": completes}
    if required:
        what["default"] = Required
    elif default is not None:
        what["default"] = default
    return _Declared((), what)


class _OptionsType(_RecordType):
    """Keeps the declarations, and leaves the fields their defaults."""

    _declared: dict[str, tuple[str, _Declared]]

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _OptionsType:
        parent = bases[0] if bases and isinstance(bases[0], _OptionsType) else None
        declared = dict(parent._declared) if parent else {}
        for field, annotation in namespace.get("__annotations__", {}).items():
            told = namespace.get(field)
            if isinstance(told, _Declared):
                declared[field] = (annotation, told)
                if told.what.get("default") is Required:
                    del namespace[field]
                else:
                    namespace[field] = told.what["default"] if "default" in told.what else default_of(annotation)
        cls = super().__new__(mcls, name, bases, namespace)
        assert isinstance(cls, _OptionsType)
        cls._declared = declared
        return cls


class Options(Record, metaclass=_OptionsType):
    """Base of the records that say what a command takes; the class's text is the command's help."""

    if TYPE_CHECKING:
        interspersed: ClassVar[bool]
        examples: ClassVar[tuple[str, ...]]
    else:
        interspersed = True
        examples = ()

    @classmethod
    def table(cls) -> tuple[Row, ...]:
        """One row for each option and argument, in the order they are declared."""
        return tuple(Row(name, annotation, told.flags, told.what) for name, (annotation, told) in cls._declared.items())
