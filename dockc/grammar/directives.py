"""Parser directives: `# syntax=`, `# escape=`, `# check=` at the top of a file.

Facts from BuildKit's frontend/dockerfile/parser/directives.go: directives end at the first line that is not one;
names are case-insensitive; a name may come once; `check` is also read from comments above an instruction.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.golang.strings import SPACES
from dockc.grammar.source import BOM, Source

NAMES = frozenset({"syntax", "escape", "check"})
_DIRECTIVE = pattern(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*([^\n]+)\Z")
_BLANKS = "\t\n\f\r "


class Found(NamedTuple):
    """A directive: lower case name, value, 1-based line.

    The reference reads the value up to its first space (`word`), except from a JSON object.
    """

    name: str
    value: str
    line: int
    is_json: bool = False

    @property
    def word(self) -> str:
        """The part of the value that counts."""
        return self.value if self.is_json else self.value.partition(" ")[0]


class DuplicateDirective(ValueError):
    """A directive that was there already; the message is the reference's."""


class DirectiveReader:
    """Reads lines from the top until one is no directive. Its state: the lines seen, the names seen."""

    def __init__(self, comment: str = "#", line: int = 0) -> None:
        self.comment = comment
        self.line = line
        self.seen: set[str] = set()
        self.done = False

    def read(self, line: str) -> Found | None:
        """One line without its line end. Raises DuplicateDirective."""
        self.line += 1
        if self.done:
            return None
        match = None
        if line.startswith(self.comment):
            match = _DIRECTIVE.match(line[len(self.comment) :].lstrip(SPACES))
        name = match.group(1).lower() if match else ""
        if match is None or name not in NAMES:
            self.done = True
            return None
        if name in self.seen:
            raise DuplicateDirective(f"only one {name} parser directive can be used")
        self.seen.add(name)
        value = match.group(2)
        return Found(name, value.rstrip(_BLANKS) or value[0], self.line)


def parse_directive(name: str, source: Source) -> Found | None:
    """A directive of a file, found as `# name=value` only, past a `#!` line and a byte order mark."""
    lines, first = _lines(source)
    return _find(name, lines, first, "#")


def detect_syntax(source: Source) -> Found | None:
    """The frontend a file asks for: `# syntax=`, `// syntax=` or a JSON object's `syntax`.

    The image reference is the `word` of it.
    """
    lines, first = _lines(source)
    found = _find("syntax", lines, first, "#") or _find("syntax", lines, first, "//")
    if found is not None:
        return found
    text = "\n".join(lines)
    if not text.lstrip(" \t\r\n").startswith("{"):
        return None
    import json

    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = whole.get("syntax") if isinstance(whole, dict) else None
    return Found("syntax", value, first, True) if isinstance(value, str) else None


def check_comment(comment: str) -> str | None:
    """The value of a `check=...` comment above an instruction, or None."""
    found = DirectiveReader("").read(comment)
    return found.value if found and found.name == "check" else None


def _lines(source: Source) -> tuple[list[str], int]:
    lines = source.text.removeprefix(BOM).split("\n")
    if lines[0].startswith("#!"):
        return lines[1:], 1
    return lines, 0


def _find(name: str, lines: list[str], first: int, comment: str) -> Found | None:
    reader = DirectiveReader(comment, first)
    try:
        for line in lines:
            found = reader.read(line.removesuffix("\r"))
            if reader.done:
                return None
            if found is not None and found.name == name:
                return found
    except DuplicateDirective:
        pass
    return None
