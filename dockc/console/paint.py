"""Colours on texts that are ready: each kind of text has lines of known shapes. Words stay as they are, so that nothing
a file holds can be taken for a colour, and whoever pipes the text gets the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from dockc.base.pattern import pattern
from dockc.base.style import Style

_NONE: Mapping[str, str] = MappingProxyType({})
_LEVELS = "error|warning|info|style"
#: `warning[DL3008]: words`, as excerpts begin.
_HEAD = pattern(rf"({_LEVELS})\[([\w-]+)\]: (.*)")
#: `Dockerfile:3:5: warning[DL3008] [*] words`, the star where it can be fixed.
_LINE = pattern(rf"(.*?:\d+:\d+): ({_LEVELS})\[([\w-]+)\]( \[\*\])? (.*)")
_ARROW = pattern(r"( *)--> (.*)")
_GUTTER = pattern(r"( *\d* +\|)( [ ~^-]*\^[\^ ~-]*)?(.*)")
_NOTE = pattern(r"( +)= (help|fix|see): (.*)")
_SAID = pattern(r"( *)(error|warning|note|help)(\[[\w-]+\])?(: .*|(?<=\]))")
#: `Dockerfile:3: warning: words`, as the compiler says what it noticed.
_PLACED = pattern(r"(\S.*?:\d+): (error|warning): (.*)")
_MARKED = pattern(r"( +\d+ \| )>>>(.*)")
_ROW = pattern(r"  (\S.*?)(  +)(\S.*)")


def findings(text: str, style: Style, pages: Mapping[str, str] = _NONE) -> str:
    """A report of lint. `pages` has the addresses of rules by their codes, where links lead to."""
    if not style.color:
        return text
    level = "error"
    out = []
    for line in text.split("\n"):
        if found := _HEAD.fullmatch(line):
            level, code, words = found.groups()
            line = f"{style.paint(f'{level}[{_linked(code, style, pages)}]', level)}: {style.paint(words, 'strong')}"
        elif found := _LINE.fullmatch(line):
            place, level, code, star, words = found.groups()
            head = style.paint(f"{level}[{_linked(code, style, pages)}]", level)
            line = f"{style.paint(place, 'place')}: {head}{style.paint(star or '', 'good')} {words}"
        else:
            line = _excerpt(line, style, level)
        out.append(line)
    return "\n".join(out)


def _linked(code: str, style: Style, pages: Mapping[str, str]) -> str:
    return style.link(code, pages.get(code, ""))


def _excerpt(line: str, style: Style, level: str) -> str:
    if found := _ARROW.fullmatch(line):
        return f"{found[1]}{style.paint('-->', 'dim')} {style.paint(found[2], 'place')}"
    if found := _NOTE.fullmatch(line):
        return f"{found[1]}{style.paint('=', 'dim')} {style.paint(found[2], 'good')}: {found[3]}"
    if found := _GUTTER.fullmatch(line):
        return f"{style.paint(found[1], 'dim')}{style.paint(found[2] or '', level)}{found[3]}"
    return line


def error(text: str, style: Style) -> str:
    """An error with its excerpt and hints."""
    if not style.color:
        return text
    out = []
    for line in text.split("\n"):
        if found := _SAID.fullmatch(line):
            kind = {"note": "info", "help": "good"}.get(found[2], found[2])
            line = f"{found[1]}{style.paint(found[2] + (found[3] or ''), kind)}{found[4]}"
        elif found := _PLACED.fullmatch(line):
            line = f"{style.paint(found[1], 'place')}: {style.paint(found[2], found[2])}: {found[3]}"
        elif found := _MARKED.fullmatch(line):
            line = f"{style.paint(found[1], 'dim')}{style.paint('>>>', 'error')}{found[2]}"
        else:
            line = _excerpt(line, style, "error")
        out.append(line)
    return "\n".join(out)


def diff(lines: Iterable[str], style: Style) -> str:
    """A unified diff."""
    if not style.color:
        return "".join(lines)
    out = []
    for text in lines:
        line, end = (text[:-1], "\n") if text.endswith("\n") else (text, "")
        kind = ""
        if line.startswith(("--- ", "+++ ")):
            kind = "strong"
        elif line.startswith("@@"):
            kind = "place"
        elif line.startswith(("+", "-")):
            kind = "added" if line[0] == "+" else "removed"
        out.append((style.paint(line, kind) if kind else line) + end)
    return "".join(out)


def help_text(text: str, style: Style) -> str:
    """A command's help: its headings, and the names in its tables."""
    if not style.color:
        return text
    out = []
    for line in text.split("\n"):
        if line.endswith(":") and line[:1].strip():
            line = style.paint(line, "strong")
        elif line.startswith("Usage: "):
            line = f"{style.paint('Usage:', 'strong')} {line[7:]}"
        elif found := _ROW.fullmatch(line):
            line = f"  {style.paint(found[1], 'name')}{found[2]}{found[3]}"
        elif line.startswith("  ") and not line.startswith("   "):
            line = f"  {style.paint(line[2:], 'name')}"
        out.append(line)
    return "\n".join(out)


def page(text: str, style: Style) -> str:
    """A page of `dockc explain`: headings, code, words between backquotes, and the line that it is about."""
    if not style.color:
        return text
    out = []
    code = False
    for line in text.split("\n"):
        if line.startswith("```"):
            code = not code
            line = style.paint(line, "dim")
        elif code:
            line = style.paint(line, "name")
        elif line.startswith("#"):
            line = style.paint(line, "title" if line.startswith("# ") else "strong")
        elif found := _AT.fullmatch(line):
            line = f"{style.paint(found[1], 'place')}  {style.paint(found[2], 'strong')}"
        else:
            line = _QUOTED.sub(lambda found: style.paint(found[0], "name"), line)
        out.append(line)
    return "\n".join(out)


_AT = pattern(r"(\S+:\d+(?:-\d+)?)  (.*)")
_QUOTED = pattern(r"`[^`]+`")
