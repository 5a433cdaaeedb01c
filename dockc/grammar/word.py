"""Words: quotes, escapes and every `$` form, expanded against an environment.

The rules are those of BuildKit's shell lexer (frontend/dockerfile/shell), which is near to, but not the same as,
a POSIX shell: `$x`, `${x}`, `${x:-w}`, `${x-w}`, `${x:+w}`, `${x+w}`, `${x:?w}`, `${x?w}`, `${x#p}`, `${x##p}`,
`${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dockc.errors import DockcError


class WordError(DockcError):
    """A word that cannot be expanded; the message is the reference's own, `failed to process "...": ...`."""


class Expanded(NamedTuple):
    """An expanded word.

    Attributes:
        result: the text.
        matched: names of variables that were found.
        unmatched: names that were not.
    """

    result: str
    matched: frozenset[str]
    unmatched: frozenset[str]


class Lex:
    """An expander: an escape character and options. Immutable and safe to share.

    Args:
        escape: the file's escape character, backslash or backtick.
        raw_quotes: keep quote characters.
        raw_escapes: keep escape characters.
        skip_process_quotes: quotes are ordinary characters.
        skip_unset_env: `$x` of an unset `x` stays as written.
    """

    def __init__(
        self,
        escape: str = "\\",
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        skip_process_quotes: bool = False,
        skip_unset_env: bool = False,
    ) -> None:
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.skip_process_quotes = skip_process_quotes
        self.skip_unset_env = skip_unset_env

    def expand(self, text: str, env: Mapping[str, str]) -> Expanded:
        """The whole text as one word, and the names of the variables it asked for. Raises WordError."""
        raise NotImplementedError

    def word(self, text: str, env: Mapping[str, str]) -> str:
        """The whole text as one word. Raises WordError."""
        raise NotImplementedError

    def words(self, text: str, env: Mapping[str, str]) -> list[str]:
        """The text split into words at unquoted space, after expansion. Raises WordError."""
        raise NotImplementedError


def expand(text: str, env: Mapping[str, str], escape: str = "\\") -> Expanded:
    """Expand one word with the default options. Raises WordError."""
    return Lex(escape).expand(text, env)
