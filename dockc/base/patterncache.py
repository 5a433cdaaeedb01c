"""Regular expressions as earlier runs compiled them: to short commands their compilation is a fifth of the time.

As the interpreter keeps the bytecode of modules, so `install` keeps what `re` makes of dockc's own patterns, in one
file in the user's cache, for
exactly this interpreter. The matching engine checks every code that it is given; whatever is wrong with the file, the
pattern
is compiled from its text.
"""

from __future__ import annotations

import _sre  # type: ignore[import-not-found]  # the engine below `re`
import marshal
import sys

from dockc.base import cachefiles
from dockc.base import pattern as patterns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from typing import Any

    #: What the engine needs besides the text: flags, code (words of 32 bits), number of groups, names of groups.
    Code = tuple[int, bytes, int, dict[str, int]]

#: More patterns than this there are not; a larger file has those of many versions and is begun anew.
_MANY = 1000
_IDENTITY = f"1 {_sre.MAGIC} {sys.version}"


class Patterns:
    """Patterns by text and flags, and where they are kept."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = f"{folder}/patterns"
        self._known: dict[tuple[str, int], Code] | None = None
        self._more = False

    def _load(self) -> dict[tuple[str, int], Code]:
        data = cachefiles.read(self._path) if cachefiles.ours(self._folder) else None
        if data is not None:
            try:
                identity, known = marshal.loads(data)  # noqa: S302  our own file, and whole
                if identity == _IDENTITY and isinstance(known, dict):
                    return known
            except (ValueError, TypeError, EOFError):
                pass
        return {}

    def compile(self, text: str, flags: int = 0) -> re.Pattern[str]:
        """As `re.compile`."""
        known = self._known
        if known is None:
            known = self._known = self._load()
        key = text, int(flags)
        code = known.get(key)
        if code is not None:
            try:
                return restored(text, code)
            except (RuntimeError, TypeError, ValueError, OverflowError):
                pass
        import re

        found = re.compile(text, flags)
        code = code_of(text, int(flags))
        if code is not None:
            known[key] = code
            self._more = True
        return found

    def save(self) -> None:
        """Keep what was compiled, where that is possible."""
        if self._more and self._known is not None and cachefiles.made(self._folder):
            self._more = False
            known = self._known if len(self._known) <= _MANY else {}
            cachefiles.write(self._path, marshal.dumps((_IDENTITY, known)))


def restored(text: str, code: Code) -> re.Pattern[str]:
    """A pattern from what `code_of` said."""
    flags, body, groups, names = code
    by_number: list[str | None] = [None] * (groups + 1)
    for name, number in names.items():
        by_number[number] = name
    found: re.Pattern[str] = _sre.compile(
        text, flags, list(memoryview(body).cast("I")), groups, names, tuple(by_number)
    )
    return found


def code_of(text: str, flags: int) -> Code | None:
    """What `re` makes of a pattern; None where this interpreter's `re` is made in another way."""
    import re

    try:
        parser, compiler = sys.modules["re._parser"], sys.modules["re._compiler"]
        parsed: Any = parser.parse(text, flags)
        code: Code = (
            int(flags | parsed.state.flags),
            b"".join(int(word).to_bytes(4, sys.byteorder) for word in compiler._code(parsed, flags)),
            parsed.state.groups - 1,
            dict(parsed.state.groupdict),
        )
        return code if restored(text, code) == re.compile(text, flags) else None
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError, OverflowError):
        return None


def install(environ: Mapping[str, str]) -> Patterns | None:
    """Let `base.pattern` and the parser use the cache from now on; whoever installs it saves it. None where there is no
    place for it.
    """
    folder = cachefiles.place(environ)
    if folder is None:
        return None
    found = Patterns(folder)
    patterns.compiler = found.compile
    return found
