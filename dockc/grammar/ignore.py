"""The .dockerignore file: from bytes to patterns; `globs.PatternMatcher` applies them.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files.
"""

from __future__ import annotations

from dockc.errors import DockcError
from dockc.grammar.globs import GO_SPACE, PatternMatcher, clean

MAX_LINE = 65536
"""A line must be shorter than this many bytes."""

_BOM = b"\xef\xbb\xbf"


class IgnoreFileError(DockcError):
    """An ignore file that cannot be read."""


def parse(data: bytes) -> list[str]:
    """The patterns of an ignore file, cleaned, in order.

    A line that begins with `#` is a comment (one with a space before the `#` is a pattern). Space around a
    pattern and after its `!` goes, `.`, `..` and doubled slashes are worked out, and a leading slash goes,
    since all patterns start at the root of the context. Bytes that are not UTF-8 become surrogate escapes.

    Raises:
        IgnoreFileError: a line is too long.
    """
    patterns: list[str] = []
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines):
        if len(line) >= MAX_LINE:
            raise IgnoreFileError("bufio.Scanner: token too long")
        if number == 0:
            line = line.removeprefix(_BOM)
        if line.startswith(b"#"):
            continue
        text = line.decode("utf-8", "surrogateescape").strip(GO_SPACE)
        if not text:
            continue
        inverted = text.startswith("!")
        if inverted:
            text = text[1:].strip(GO_SPACE)
        if text:
            text = clean(text)
            if len(text) > 1:
                text = text.removeprefix("/")
        patterns.append("!" + text if inverted else text)
    return patterns


def matcher(data: bytes) -> PatternMatcher:
    """The matcher for an ignore file's bytes.

    Raises:
        IgnoreFileError: a line is too long.
        BadPattern: a pattern has a syntax error.
    """
    return PatternMatcher(parse(data))
