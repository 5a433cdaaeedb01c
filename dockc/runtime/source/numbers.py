"""Numbers in the attributes of sources."""

from __future__ import annotations

from dockc.errors import SolveError


def integer(text: str, most: int) -> int:
    """An integer as Go's base 0 reads it: `0o644`, `0644`, `0x1a4`, `420`.

    Raises:
        SolveError: it is none, negative, or larger than `most`.
    """
    try:
        value = int(text, 8) if text[:1] == "0" and text.isdigit() else int(text, 0)
    except ValueError:
        raise SolveError(f"invalid number {text!r}") from None
    if not 0 <= value <= most:
        raise SolveError(f"number {text!r} is out of range")
    return value
