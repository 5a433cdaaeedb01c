"""Command lines as hadolint takes them.

They differ from what the shell gets: blanks after a continuation become one, a line with `<<` in it loses its heredoc
and all that
follows the opener, and a heredoc that stands for the whole command is taken without surrounding space.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple
from dockc.linter.peer.scan import Scanner, Unreadable, literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class CommandLine(NamedTuple):
    """A command line: its text, the exec form's words joined by blanks."""

    text: str
    exec_form: bool


_SPACE = pattern(r"\s")
_REDIRECT = pattern(r"(?:\||>)[ \t]*")


def command_line(scanner: Scanner) -> CommandLine:
    """The command line that begins here."""
    before = scanner.pos
    for form in (_heredoc, _exec_form, _shell_with_heredoc):
        try:
            return form(scanner)
        except Unreadable:
            scanner.pos = before
    return CommandLine(scanner.rest(), False)


def _heredoc(scanner: Scanner) -> CommandLine:
    return CommandLine(heredoc_body(scanner, heredoc_marker(scanner)), False)


def _exec_form(scanner: Scanner) -> CommandLine:
    def word() -> str:
        scanner.need('"')
        return scanner.quoted('"')

    return CommandLine(" ".join(_listed(scanner, word)), True)


def _shell_with_heredoc(scanner: Scanner) -> CommandLine:
    out: list[str] = []
    text = scanner.text
    if scanner.last_opener < scanner.pos:
        raise Unreadable("no heredoc")
    while not scanner.at("<<"):
        if (left := scanner.brk()) is not None:
            out.append(left)
        elif scanner.pos == len(text) or scanner.at("\n"):
            raise Unreadable("no heredoc")
        else:
            out.append(text[scanner.pos])
            scanner.pos += 1
    heredoc_body(scanner, heredoc_marker(scanner))
    return CommandLine("".join(out).strip(), False)


def heredoc_marker(scanner: Scanner) -> str:
    """The marker of a heredoc whose opener begins here. Unless it is quoted, the space behind it is gone past."""
    scanner.need("<<")
    while scanner.take("-"):
        pass
    before = scanner.pos
    for quote in "\"'":
        if scanner.at(quote):
            try:
                marker = literal(scanner, quote)
                break
            except Unreadable:
                scanner.pos = before
    else:
        found = _SPACE.search(scanner.text, scanner.pos)
        if found is None:
            raise Unreadable("marker")
        marker = scanner.text[scanner.pos : found.start()]
        scanner.pos = found.end()
    if found := _REDIRECT.match(scanner.text, scanner.pos):
        scanner.pos = found.end()
        scanner.rest()
    return marker


def heredoc_body(scanner: Scanner, marker: str) -> str:
    """The body without surrounding space; goes past the marker and the line end behind it."""
    text, at = scanner.text, scanner.pos
    if text.startswith(f"{marker}\n", at):
        scanner.pos = at + len(marker) + 1
        return ""
    if text[at:] == marker:
        scanner.pos = len(text)
        return ""
    end = text.find(f"\n{marker}", at)
    after = end + 1 + len(marker)
    if end < 0 or text[after : after + 1] not in {"", "\n"}:
        raise Unreadable("heredoc")  # also where a line begins with the marker and goes on
    scanner.pos = min(after + 1, len(text))
    return text[at:end].strip()


def string_list(scanner: Scanner) -> list[str]:
    """`["a", "b"]` of COPY and ADD."""
    return _listed(scanner, lambda: literal(scanner, '"'))


def _listed(scanner: Scanner, word: Callable[[], str]) -> list[str]:
    """Words in brackets, with commas between them; `word` reads one, its quotes included."""
    scanner.need("[")
    scanner.space()
    found: list[str] = []
    while scanner.at('"'):
        found.append(word())
        scanner.space()
        if not scanner.take(","):
            break
        scanner.space()
        if not scanner.at('"'):
            raise Unreadable("string")
    scanner.need("]")
    scanner.space()
    return found
