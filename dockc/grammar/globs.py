"""Path patterns: Go's filepath.Match, and the pattern lists of .dockerignore, --exclude and include filters.

Two languages that look alike and differ:

`match` (Go's path/filepath): one whole path; `*` and `?` stay within a component, `**` is no more than `*`.
    For wildcards in the sources of COPY, ADD and rm.
`PatternMatcher` (moby): a list in which later patterns win, `!` takes back, `**` crosses components, and a
    pattern that matches a directory covers what is in it.

Paths are relative, with slashes, as `str`; bytes that are not UTF-8 are surrogate escapes, as `os.fsdecode`
gives. Everything here is pure, and linear or quadratic in the sizes of pattern and path whatever the
pattern; a list of many patterns is asked about many paths in the time of both, not of their product, as long as the
patterns have letters in which they differ.

Sources: documentation of Go's path/filepath.Match; github.com/moby/patternmatcher (behaviour).
"""

from __future__ import annotations

import functools
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.golang.regex import BadExpression, Expression

GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's strings.TrimSpace removes; `str.strip()` would also take the separators U+001C to U+001F."""

_ESCAPED = frozenset(".+()$")
"""Escaped on the way to a regular expression; `|`, `{`, `}` and `^` keep the meaning they have there."""


class BadPattern(DockcError):
    """A pattern that cannot be read, such as an unclosed `[`."""

    def __init__(self, message: str = "syntax error in pattern") -> None:
        super().__init__(message)


def clean(path: str) -> str:
    """The shortest equal path, as Go's filepath.Clean: `.` for the empty one, no trailing slash."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def contains_wildcards(name: str) -> bool:
    """Whether `name` has a `*`, `?` or `[` that no backslash escapes."""
    at = 0
    while at < len(name):
        if name[at] in "*?[":
            return True
        at += 2 if name[at] == "\\" else 1
    return False


def split_wildcards(path: str) -> tuple[str, str]:
    """Cut `path` before its first component with a wildcard.

    Returns:
        The literal directory part (`/a/b`, `/`, or "" for a relative path that begins with a wildcard), and
        the rest, relative, "" where there is no wildcard.
    """
    if not path:
        return "", ""
    parts = clean(path).split("/")
    cut = next((i for i, part in enumerate(parts) if contains_wildcards(part)), len(parts))
    literal = "/".join(parts[:cut])
    if cut and not literal:
        literal = "/"
    return literal, "/".join(parts[cut:])


# --- filepath.Match -------------------------------------------------------------------------------


class _Class(Record):
    """A bracket class; as in Go it can match a slash."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool


_Element = bytes | _Class | None
"""Literal bytes, a class, or None for `?`."""


class _Chunk(Record):
    """What stands between two stars.

    Attributes:
        star: a `*` stands before it.
        elements: what must match, in order; None if this part of the pattern has a syntax error.
    """

    star: bool
    elements: tuple[_Element, ...] | None


def match(pattern: str, name: str, *, strict: bool = False) -> bool:
    """Whether all of `name` matches `pattern`: `*` any run without slash, `?` one character, `[...]`,
    escapes.

    Args:
        pattern: the pattern, e.g. `/src/*.go`.
        name: the path to try, e.g. `/src/main.go`.
        strict: as Go's path.Match, report a syntax error anywhere in the pattern. Otherwise, as
            filepath.Match, only one in the part that was needed for the answer.

    Raises:
        BadPattern: the pattern has a syntax error.
    """
    chunks = _chunks(pattern)
    if strict and any(chunk.elements is None for chunk in chunks):
        raise BadPattern()
    rest = name.encode("utf-8", "surrogateescape")
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        if chunk.star and chunk.elements == ():
            return b"/" not in rest
        taken = _match_chunk(chunk, rest, last)
        if taken is None:
            return False
        rest = taken
    return not rest


def _match_chunk(chunk: _Chunk, text: bytes, last: bool) -> bytes | None:
    """Match one chunk at the first place where its star lets it stand; the text after it, or None.

    The first place is final, also where a later one would let the whole pattern match: that is how Go does
    it.
    """
    if chunk.elements is None:
        raise BadPattern()
    start = 0
    while True:
        end = _match_elements(chunk.elements, text, start)
        if end is not None and (end == len(text) or not last):
            return text[end:]
        if not chunk.star or start >= len(text) or text[start] == 0x2F:
            return None
        start += 1


def _match_elements(elements: tuple[_Element, ...], text: bytes, at: int) -> int | None:
    for element in elements:
        if isinstance(element, bytes):
            if not text.startswith(element, at):
                return None
            at += len(element)
            continue
        if at >= len(text):
            return None
        if element is None:
            if text[at] == 0x2F:
                return None
            at += _rune(text, at)[1]
        else:
            code, width = _rune(text, at)
            if any(low <= code <= high for low, high in element.ranges) == element.negated:
                return None
            at += width
    return at


def _rune(text: bytes, at: int) -> tuple[int, int]:
    """The code point at `at` and its width; U+FFFD and 1 for bytes that are not UTF-8."""
    lead = text[at]
    if lead < 0x80:
        return lead, 1
    width = 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF5 else 0
    if width:
        try:
            return ord(text[at : at + width].decode()), width
        except (UnicodeDecodeError, TypeError):
            pass
    return 0xFFFD, 1


@functools.lru_cache(maxsize=1024)
def _chunks(pattern: str) -> tuple[_Chunk, ...]:
    data = pattern.encode("utf-8", "surrogateescape")
    chunks: list[_Chunk] = []
    at = 0
    while at < len(data):
        star = False
        while at < len(data) and data[at] == 0x2A:
            star = True
            at += 1
        end = _chunk_end(data, at)
        try:
            elements: tuple[_Element, ...] | None = tuple(_elements(data[at:end]))
        except BadPattern:
            elements = None
        chunks.append(_Chunk(star, elements))
        at = end
    return tuple(chunks)


def _chunk_end(data: bytes, at: int) -> int:
    """The next star that is neither escaped nor after an open bracket, or the end."""
    bracket = False
    while at < len(data):
        byte = data[at]
        if byte == 0x5C:
            at += 1
        elif byte in b"[]":
            bracket = byte == 0x5B
        elif byte == 0x2A and not bracket:
            return at
        at += 1
    return len(data)


def _elements(data: bytes) -> Iterator[_Element]:
    literal = bytearray()
    at = 0
    while at < len(data):
        byte = data[at]
        if byte in b"[?":
            if literal:
                yield bytes(literal)
                literal.clear()
            if byte == 0x3F:
                yield None
                at += 1
            else:
                element, at = _bracket(data, at + 1)
                yield element
            continue
        if byte == 0x5C:
            at += 1
            if at >= len(data):
                raise BadPattern()
        literal.append(data[at])
        at += 1
    if literal:
        yield bytes(literal)


def _bracket(data: bytes, at: int) -> tuple[_Class, int]:
    negated = data[at : at + 1] == b"^"
    at += negated
    ranges: list[tuple[int, int]] = []
    while not (ranges and data[at : at + 1] == b"]"):
        low, at = _bracket_member(data, at)
        high = low
        if data[at : at + 1] == b"-":
            high, at = _bracket_member(data, at + 1)
        ranges.append((low, high))
    return _Class(tuple(ranges), negated), at + 1


def _bracket_member(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data) or data[at] in b"-]":
        raise BadPattern()
    if data[at] == 0x5C:
        at += 1
        if at >= len(data):
            raise BadPattern()
    code, width = _rune(data, at)
    at += width
    if (code == 0xFFFD and width == 1) or at >= len(data):
        raise BadPattern()
    return code, at


# --- moby's patternmatcher ------------------------------------------------------------------------


class Pattern:
    """One line of a pattern list, cleaned.

    Attributes:
        text: the cleaned pattern, without the `!`.
        exclusion: it began with `!`: what it matches is taken out again.
    """

    __slots__ = ("_matcher", "exclusion", "text")

    def __init__(self, text: str, *, exclusion: bool = False) -> None:
        self.text = text
        self.exclusion = exclusion
        self._matcher = _compile(text)

    def __repr__(self) -> str:
        return f"Pattern({'!' if self.exclusion else ''}{self.text!r})"

    def match(self, path: str) -> bool:
        """Whether the pattern matches this very path (not a parent of it).

        Raises:
            BadPattern: the pattern cannot be read.
        """
        kind, operand = self._matcher
        if isinstance(operand, Expression):
            return operand.match(path)
        if kind == "exact":
            return path == operand
        if kind == "prefix":
            return path.startswith(operand)
        if kind == "suffix":
            return path.endswith(operand) or (operand.startswith("/") and path == operand[1:])
        raise BadPattern()


@functools.lru_cache(maxsize=1024)
def _compile(text: str) -> tuple[str, str | Expression]:
    """How to match: ("exact" | "prefix" | "suffix", operand), ("regex", expression) or ("bad", "")."""
    kind, expression = _expression(text)
    if kind == "exact":
        return kind, text
    if kind == "prefix":
        return kind, text[:-2]
    if kind == "suffix":
        return kind, text[2:]
    try:
        return kind, Expression(expression)
    except BadExpression:
        return "bad", ""


def _expression(text: str) -> tuple[str, str]:
    """The pattern as a regular expression, and the simplest way in which it can be matched.

    Brackets and escaped characters go over as they are, and a star or question mark becomes a class even
    inside brackets. So some odd patterns mean odd things, and they are kept: `\\d` matches a digit, and
    `[*]` does not match a star.
    """
    kind = "exact"
    out = ["^"]
    at = 1 if text.startswith("\ufeff") else 0
    for step in range(len(text)):
        if at >= len(text):
            break
        char = text[at]
        at += 1
        if char == "*" and text.startswith("*", at):
            at += 1
            at += text.startswith("/", at)
            if at < len(text):
                out.append("(.*/)?")
                kind = "regex"
            elif kind == "exact":
                kind = "prefix"
            else:
                out.append(".*")
                kind = "regex"
            if step == 0:
                kind = "suffix"
        elif char in "*?":
            out.append("[^/]*" if char == "*" else "[^/]")
            kind = "regex"
        elif char in _ESCAPED:
            out.append("\\" + char)
        elif char == "\\":
            if at < len(text):
                out.append("\\" + text[at])
                at += 1
                kind = "regex"
            else:
                out.append("\\")
        else:
            out.append(char)
            if char in "[]":
                kind = "regex"
    out.append("$")
    return kind, "".join(out)


MatchInfo = frozenset[int] | None
"""Which patterns matched a directory, by number; handed down to the entries of that directory."""

NO_PARENT: MatchInfo = None
"""Nothing is known of the parent directories."""

_UNSURE = frozenset("\\[]{}|^\ufeff\ufffd")
"""Characters with which a pattern may match paths that have its letters in other places, or others in theirs."""


class _Index:
    """The patterns of a list by letters that every path which they match begins or ends with, so that a path is held only
    against those that it may match: time grows with the patterns or with the paths, not with their product.
    """

    __slots__ = ("_ends", "_starts", "always")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        letters = [_letters(pattern.text) for pattern in patterns]
        alike = Counter(letter for letter in chain.from_iterable(letters) if letter)
        starts: dict[str, list[int]] = {}
        ends: dict[str, list[int]] = {}
        always: list[int] = []
        for number, (start, end) in enumerate(letters):
            if not start and not end:
                always.append(number)
            elif end and (not start or alike[end] < alike[start]):
                ends.setdefault(end, []).append(number)
            else:
                starts.setdefault(start, []).append(number)
        self.always = tuple(always)
        self._starts = _by_length(starts)
        self._ends = _by_length(ends)

    def find(self, path: str) -> list[int]:
        """Numbers of patterns that may match the path, besides `always`; in no order."""
        found: list[int] = []
        size = len(path)
        for length, table in self._starts:
            if length > size:
                break
            found += table.get(path[:length], ())
        for length, table in self._ends:
            if length > size:
                break
            found += table.get(path[size - length :], ())
        return found


def _letters(text: str) -> tuple[str, str]:
    """What every path begins and ends with that a pattern matches; "" where that is not sure."""
    if not _UNSURE.isdisjoint(text):
        return "", ""
    first = min((at for at in (text.find("*"), text.find("?")) if at >= 0), default=-1)
    if first < 0:
        return text, text
    last = max(text.rfind("*"), text.rfind("?"))
    end = text[last + 1 :]
    if text[: last + 1].endswith("**"):
        end = end.removeprefix("/")  # `**/` may stand for nothing at all
    return text[:first], end


def _by_length(letters: Mapping[str, list[int]]) -> list[tuple[int, dict[str, list[int]]]]:
    tables: dict[int, dict[str, list[int]]] = {}
    for letter, numbers in letters.items():
        tables.setdefault(len(letter), {})[letter] = numbers
    return sorted(tables.items())


class PatternMatcher:
    """An ordered list of patterns: the last one that matches a path decides.

    Attributes:
        patterns: the patterns; blank ones are left out.
        exclusions: whether any begins with `!`.
    """

    __slots__ = ("_index", "exclusions", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Read the patterns.

        Raises:
            BadPattern: a pattern has a syntax error, or is a lone `!`.
        """
        found: list[Pattern] = []
        for raw in patterns:
            text = raw.strip(GO_SPACE)
            if not text:
                continue
            text = clean(text)
            exclusion = text.startswith("!")
            if exclusion:
                text = text[1:]
                if not text:
                    raise BadPattern('illegal exclusion pattern: "!"')
            match(text, ".")
            found.append(Pattern(text, exclusion=exclusion))
        self.patterns: Sequence[Pattern] = tuple(found)
        self.exclusions = any(pattern.exclusion for pattern in found)
        self._index = _Index(self.patterns)

    def matches(self, path: str) -> bool:
        """Whether the list selects `path`, by itself or through a directory above it.

        Raises:
            BadPattern: a pattern turns out to be unreadable.
        """
        return self.matches_under(path, NO_PARENT)[0]

    def matches_under(self, path: str, parent: MatchInfo) -> tuple[bool, MatchInfo]:
        """The same for a walk from the top, where the directory's own answer is at hand.

        Args:
            path: the path of the entry.
            parent: the second part of the answer for its directory; `NO_PARENT` to look at all directories
                above.

        Returns:
            Whether the list selects `path`, and what to pass for its entries.

        Raises:
            BadPattern: a pattern turns out to be unreadable.
        """
        selected = False
        above = _directories(path) if parent is None else []
        may = self._index.find(path)
        for directory in above:
            may += self._index.find(directory)
        if parent:
            may += parent
        hits: list[int] = []
        for number in sorted({*may, *self._index.always}) if may else self._index.always:
            pattern = self.patterns[number]
            if not parent or number not in parent:
                # Only a pattern that could turn the answer round is looked at.
                if pattern.exclusion != selected:
                    continue
                if not pattern.match(path) and not any(map(pattern.match, above)):
                    continue
            hits.append(number)
            selected = not pattern.exclusion
        return selected, frozenset(hits)


def _directories(path: str) -> list[str]:
    """The directories above `path`, outermost first: `a/b/c` gives `a`, `a/b`; `/a/b` gives "", `/a`."""
    parent = clean(posixpath.dirname(path)) if "/" in path else "."
    if parent == ".":
        return []
    if parent == "/":
        return ["", "/"]
    parts = parent.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
