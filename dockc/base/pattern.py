"""Regular expressions that are compiled when they are first used: most commands use few of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable
    from typing import Any

# The flags of `re`, whose import is a sixth of the time of a short command that finds its patterns compiled.
IGNORECASE, MULTILINE, DOTALL, UNICODE, ASCII = 2, 8, 16, 32, 256


def _compile(text: str, flags: int) -> re.Pattern[str]:
    import re

    return re.compile(text, flags)


compiler: Callable[[str, int], re.Pattern[str]] = _compile
"""What compiles patterns; a command may put something in its place that remembers what it compiled."""


class _Pattern:
    """A pattern that is compiled when one of its methods is first asked for."""

    __slots__ = ("__dict__", "_flags", "_text")

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(compiler(self._text, self._flags), name)
        setattr(self, name, found)
        return found


if TYPE_CHECKING:

    def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
        """A regular expression, compiled when it is first used."""
        ...

else:

    def pattern(text, flags=0):
        """A regular expression, compiled when it is first used."""
        return _Pattern(text, flags)
