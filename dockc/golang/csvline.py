"""One line of comma separated values, as `--mount`, `--device` and option texts carry them.

Source: RFC 4180 quoting; error wording of the reference's CSV reader.
"""

from __future__ import annotations


class CsvError(ValueError):
    """A line whose quoting is broken, or an empty line (`EOF`)."""


def fields(line: str) -> list[str]:
    """The fields of one record; one trailing line end is allowed.

    Raises:
        CsvError: a bare or unbalanced quote, or nothing at all.
    """
    if line.endswith("\n"):
        line = line[:-2] if line.endswith("\r\n") else line[:-1]
    if not line:
        raise CsvError("EOF")
    if '"' not in line:
        return line.split(",")
    out: list[str] = []
    position = 0
    while True:
        if line[position : position + 1] != '"':
            comma = line.find(",", position)
            end = len(line) if comma < 0 else comma
            bare = line.find('"', position, end)
            if bare >= 0:
                raise _error(line, bare, 'bare " in non-quoted-field')
            out.append(line[position:end])
            if comma < 0:
                return out
            position = comma + 1
            continue
        text, position = _quoted(line, position + 1)
        out.append(text)
        if position >= len(line):
            return out
        position += 1


def _quoted(line: str, position: int) -> tuple[str, int]:
    """The content of a quoted field that starts at `position`, and the place of what follows it."""
    parts: list[str] = []
    while True:
        close = line.find('"', position)
        if close < 0:
            raise _error(line, position, 'extraneous or missing " in quoted-field')
        parts.append(line[position:close])
        following = line[close + 1 : close + 2]
        if following == '"':
            parts.append('"')
            position = close + 2
        elif following in ("", ","):
            return "".join(parts), close + 1
        else:
            raise _error(line, close, 'extraneous or missing " in quoted-field')


def _error(line: str, index: int, what: str) -> CsvError:
    column = len(line[:index].encode("utf-8", "surrogateescape")) + 1
    return CsvError(f"parse error on line 1, column {column}: {what}")
