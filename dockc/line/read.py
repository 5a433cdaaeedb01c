"""Plain command lines, read without a command line library: loading one takes several times as long as compiling a
Dockerfile.

`read` understands well-formed lines. Whatever it is not sure of (help, an unknown option, a value that may be wrong) it
leaves to `dockc.cli`, which
reads from the same table and says what is wrong.
"""

from __future__ import annotations

from dockc.base.options import FALSE, FLAG, LIST, NUMBER, PATH, TRUE, Required

_DIGITS = frozenset(("0", "1"))
"""Numbers that are words of a flag, too."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeVar

    from dockc.base.options import Options, Row

    Asked = TypeVar("Asked", bound=Options)


def read(command: type[Asked], arguments: Sequence[str], environment: Mapping[str, str]) -> Asked | None:
    """The options that a line gives; None where the command line library had better look.

    Args:
        arguments: the line after the command's name.
        environment: says what the line does not, for options that have a variable.
    """
    rows = command.table()
    values: dict[str, Any] = {}
    for row in rows:
        if row.variable and (text := environment.get(row.variable)):
            values[row.name] = of_variable(row, text)
    rest = _take(
        arguments, {flag: row for row in rows for flag in (*row.flags, *row.off)}, values, command.interspersed
    )
    if rest is None or not _place(rest, [row for row in rows if not row.flags], values):
        return None
    return command(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def of_variable(row: Row, text: str) -> Any:
    """The value of an option that its environment variable says.

    Raises:
        UsageError: a flag's variable that is neither true nor false.
    """
    if row.kind in (LIST, NUMBER):
        raise TypeError(f"{row.name}: lists and numbers come from no variable")
    if row.kind == FLAG:
        if text not in TRUE | FALSE:
            from dockc.errors import UsageError

            raise UsageError(f"{row.variable}={text} is neither true nor false", hint="Write 1 or 0.")
        return text in TRUE
    return _path(text) if row.kind == PATH else text


def _take(
    arguments: Sequence[str], by_flag: Mapping[str, Row], values: dict[str, Any], interspersed: bool
) -> list[str] | None:
    """Put options into `values`; returns the arguments, or None at the first thing that is not plain."""
    found: list[str] = []
    at = 0
    while at < len(arguments):
        text = arguments[at]
        at += 1
        if not text.startswith("-") or text == "-":
            if not interspersed:
                return [text, *arguments[at:]]
            found.append(text)
            continue
        if text.startswith("--") or text[2:3] == "=":  # `-f=FILE`, too, as docker's flags have it
            flag, equals, value = text.partition("=")
        else:
            flag, equals, value = text[:2], text[2:], text[2:]
        row = by_flag.get(flag)
        if row is None:
            return None
        if row.kind == FLAG:
            if equals and (not equals.startswith("=") or value not in TRUE | FALSE):  # `-it` is two flags
                return None
            values[row.name] = (flag not in row.off) is not (bool(equals) and value in FALSE)
            continue
        if row.bare is not None and (spelled := _bare(row, equals, value, arguments[at : at + 1])) is not None:
            values[row.name] = spelled
            continue
        if not equals:
            if at == len(arguments):
                return None
            value = arguments[at]
            at += 1
            if value.startswith("-") and value != "-":
                return None
        if row.kind == LIST:
            values.setdefault(row.name, []).append(value)
        elif row.kind == PATH:
            values[row.name] = _path(value)
        elif row.kind == NUMBER:
            if (number := _number(value, row.low, row.high)) is None:
                return None
            values[row.name] = number
        else:
            values[row.name] = value
    return found


def _bare(row: Row, equals: str, value: str, following: Sequence[str]) -> int | None:
    """The number of a flag that needs no value, where it has none or one of a flag; None where it has a number."""
    if equals:
        return row.bare if value in TRUE - _DIGITS else row.default if value in FALSE - _DIGITS else None
    return None if following and following[0].isdecimal() else row.bare


def _place(found: list[str], rows: Sequence[Row], values: dict[str, Any]) -> bool:
    """Give the arguments to their rows; False where there are too many or too few."""
    for row in rows:
        if row.kind == LIST:
            if found:
                values[row.name] = tuple(found)
            found = []
        elif found:
            text = found.pop(0)
            values[row.name] = _path(text) if row.kind == PATH else text
        elif row.default is Required:
            return False
    return not found


def plain_flags(rows: Iterable[Row], arguments: Sequence[str], *, interspersed: bool = True) -> list[str]:
    """A line whose flags have no values: `--push=true` is `--push`, and `--push=false` is nothing, or the flag that
    says no; and whose short options have theirs without `=`: `-f=FILE` is `-fFILE`. Where options end at the first
    argument (`interspersed` is false), what follows it is somebody else's and stays.
    """
    rows = tuple(rows)
    short = {flag for row in rows if row.kind != FLAG for flag in row.flags if not flag.startswith("--")}
    flags = {flag: row for row in rows if row.kind == FLAG for flag in row.flags}
    valued = {flag for row in rows if row.kind != FLAG and row.bare is None for flag in row.flags}
    awaited = False
    numbers = {flag: row for row in rows if row.bare is not None for flag in row.flags}
    found: list[str] = []
    for at, text in enumerate(arguments):
        if text == "--" or not (interspersed or awaited or (text.startswith("-") and text != "-")):
            return [*found, *arguments[at:]]
        if awaited:
            found.append(text)
            awaited = False
            continue
        awaited = text in valued
        flag, equals, value = text.partition("=")
        if equals and flag in flags and value in TRUE | FALSE:
            found += [flag] if value in TRUE else flags[flag].off[:1]
        elif (
            flag in numbers and (spelled := _bare(numbers[flag], equals, value, arguments[at + 1 : at + 2])) is not None
        ):
            found.append(f"{flag}={spelled}")
        elif equals and flag in short:
            found += [flag + value] if value else [flag, ""]
        else:
            found.append(text)
    return found


def _number(text: str, low: int | None, high: int | None) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        return None
    number = int(text)
    return number if (low is None or number >= low) and (high is None or number <= high) else None


def _path(text: str) -> Path:
    from pathlib import Path

    return Path(text)
