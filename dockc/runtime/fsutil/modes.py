"""Symbolic file modes (`u=rwX,go-w`), as in `COPY --chmod`.

The grammar is chmod(1)'s: clauses separated by commas, each with users (`u g o a`), and operations (`+ -
=`) with permissions (`r w x X s t`) or one user class to copy from (`u g o`). There is no umask here.
"""

from __future__ import annotations

from collections.abc import Callable

from dockc.base.record import Record
from dockc.golang.numbers import NumberError, parse_int
from dockc.runtime.fsutil.failure import FileError

_STANDARD = 0o6777
_STICKY = 0o1000
_ALL = 0o7777
_WHO = {"a": _STANDARD, "u": 0o4700, "g": 0o2070, "o": 0o0007}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": 0o111}
_EXECUTE = 0o111
_SHIFT = {"u": 6, "g": 3, "o": 0}

_Change = Callable[[int, int, bool], int]
"""From (original mode, mode so far, is a directory) to the new mode."""


class ModeSet(Record):
    """A parsed mode; `apply` gives the new permission bits."""

    changes: tuple[_Change, ...]

    def apply(self, mode: int, *, directory: bool) -> int:
        """The new permission bits (at most 0o7777) for a file that has `mode`."""
        original = now = mode & _ALL
        for change in self.changes:
            now = change(original, now, directory)
        return now


def parse(text: str) -> ModeSet:
    """Parse an octal or symbolic mode.

    Raises:
        FileError: it is neither.
    """
    if not text:
        raise FileError("invalid syntax")
    if text[0].isdigit():
        return _octal(text)
    changes: list[_Change] = []
    for clause in text.split(","):
        _clause(clause, changes)
    return ModeSet(tuple(changes))


def _octal(text: str) -> ModeSet:
    try:
        value = parse_int(text, base=8, bits=16)
    except NumberError as exc:
        raise FileError(str(exc)) from None
    if value & ~_ALL:
        raise FileError("invalid syntax")
    return ModeSet((lambda original, now, directory: value,))


def _clause(clause: str, changes: list[_Change]) -> None:
    at = 0
    who = 0
    while at < len(clause) and clause[at] in _WHO:
        who |= _WHO[clause[at]]
        at += 1
    if at >= len(clause):
        raise FileError("invalid syntax")
    while at < len(clause):
        operator = clause[at]
        if operator not in "+-=":
            raise FileError("invalid syntax")
        at = _operation(clause, at + 1, operator, who, changes)


def _operation(clause: str, at: int, operator: str, who: int, changes: list[_Change]) -> int:
    """One operator and what follows it; where the next operator stands."""
    reach = who & ~_STICKY
    bits = conditional = 0
    cleared = operator != "="

    def flush(*, final: bool) -> None:
        nonlocal bits, conditional, cleared
        if bits or (final and not cleared):
            mask = reach or _ALL
            if operator == "=":
                gone = reach or _STANDARD
                changes.append(lambda original, now, directory: now & ~gone)
                cleared = True
            changes.append(_set_or_clear(bits & mask, clear=operator == "-"))
        if conditional:
            changes.append(_conditional(conditional & (reach or _ALL)))
        bits = conditional = 0

    while at < len(clause):
        letter = clause[at]
        if letter in _PERMISSIONS:
            bits |= _PERMISSIONS[letter]
        elif letter == "X":
            if operator == "-":
                bits |= _EXECUTE
            else:
                conditional |= _EXECUTE
        elif letter in "st":
            if reach == 0 or reach & ~0o007:  # for "others" alone these bits mean nothing
                bits |= 0o6000 if letter == "s" else _STICKY
                if letter == "t":
                    reach |= _STICKY
        elif letter in _SHIFT:
            flush(final=False)
            cleared = True
            changes.append(_copy_from(_SHIFT[letter], operator, reach))
        else:
            break
        at += 1
    flush(final=True)
    return at


def _set_or_clear(bits: int, *, clear: bool) -> _Change:
    if clear:
        return lambda original, now, directory: now & ~bits
    return lambda original, now, directory: now | bits


def _conditional(bits: int) -> _Change:
    return lambda original, now, directory: now | bits if original & _EXECUTE or directory else now


def _copy_from(shift: int, operator: str, who: int) -> _Change:
    classes = [s for s in (6, 3, 0) if not who or who & (0o400 >> (6 - s))]

    def change(original: int, now: int, directory: bool) -> int:
        value = now >> shift & 0o7
        for target in classes:
            if operator == "=":
                now &= ~(0o7 << target)
            if operator == "-":
                now &= ~(value << target)
            else:
                now |= value << target
        return now

    return change
