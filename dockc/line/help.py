"""Help, written from the records of the commands: the same words whatever library reads unusual lines, in the width of
the terminal.
"""

from __future__ import annotations

import inspect
import textwrap
from shutil import get_terminal_size

from dockc.base.options import FLAG, LIST, NUMBER, Required
from dockc.line.verbs import GROUPS, SECTIONS, command, members, verb_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dockc.base.options import Options, Row
    from dockc.base.output import Output

ABOUT = "A compiler toolchain for Dockerfiles: parse, lint, compile to LLB, solve, export OCI images."
_WIDEST, _LEFT = 120, 30


def write_help(argv: Sequence[str], out: Output) -> int:
    """Print the help that a line asks for: of dockc, of a group, or of a command.

    Raises:
        UsageError: `help` of something there is not.
    """
    words = [w for before, w in zip(("", *argv), argv, strict=False) if not w.startswith("-") and before != "--color"]
    if words[:1] == ["help"]:
        words = words[1:]
    verb, _ = verb_of(words)
    width = min(get_terminal_size((80, 24)).columns, _WIDEST)
    if verb:
        _write(command_help(verb, command(verb)[0], width), out)
    elif words and words[0] not in GROUPS:
        from dockc.line.elsewhere import refuse

        refuse(words)
    else:
        groups = (" ".join(words[:count]) for count in range(len(words), 0, -1))
        _write(overview(next((group for group in groups if group in GROUPS), ""), width), out)
    return 0


def _write(text: str, out: Output) -> None:
    style = out.style()
    if style.color:
        from dockc.console import paint

        text = paint.help_text(text, style)
    out.write(text)


def overview(group: str, width: int) -> str:
    """The commands of dockc, or those of one of its groups, with a sentence each."""
    about = textwrap.wrap(GROUPS.get(group, ABOUT), width)
    lines = [f"Usage: {' '.join(filter(None, ('dockc', group)))} COMMAND [OPTIONS]", "", *about, ""]
    if not group:
        rows = [
            ("-V, --version", "Print the version and end."),
            ("-h, --help", "Print this, or a command's help, and end."),
        ]
        lines += ["Options:", *_table(rows, width), ""]
    if group:
        shown = ((word, GROUPS.get(name) or summary(command(name)[0])) for word, name in members(group))
        lines += ["Commands:", *_table(shown, width)]
        return "\n".join(lines) + "\n"
    for heading, names in SECTIONS.items():
        shown = ((name, GROUPS.get(name) or summary(command(name)[0])) for name in names)
        lines += [f"{heading}:", *_table(shown, width), ""]
    lines.append("`dockc COMMAND --help` says more, with examples.")
    return "\n".join(lines) + "\n"


def summary(options: type[Options]) -> str:
    """The first sentence of a command's text."""
    paragraph = " ".join(inspect.cleandoc(options.__doc__ or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."


def command_help(verb: str, options: type[Options], width: int) -> str:
    """The help of one command."""
    rows = [row for row in options.table() if not row.hidden]
    arguments = [row for row in rows if not row.flags]
    lines = [f"Usage: {usage(verb, options)}", ""]
    for paragraph in inspect.cleandoc(options.__doc__ or "").split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
    if arguments:
        lines += ["Arguments:", *_table(((argument_name(row), row.help) for row in arguments), width), ""]
    groups: dict[str, list[Row]] = {"": []}
    for row in rows:
        if row.flags:
            groups.setdefault(row.group, []).append(row)
    for group, some in groups.items():
        shown = [(option_name(row), with_default(row)) for row in some]
        if not group:
            shown.append(("-h, --help", "Print this and end."))
        lines += [f"{group or 'Options'}:", *_table(shown, width), ""]
    if options.examples:
        lines += ["Examples:", *(f"  {example}" for example in options.examples), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def usage(verb: str, options: type[Options]) -> str:
    """One line: the command, and what may follow."""
    rows = options.table()
    arguments = [argument_name(row) for row in rows if not row.flags]
    return " ".join(["dockc", verb, *(["[OPTIONS]"] if any(row.flags for row in rows) else []), *arguments])


def argument_name(row: Row) -> str:
    """An argument as usage lines show it."""
    name = row.metavar or row.name.upper()
    return (name if row.default is Required else f"[{name}]") + ("..." if row.kind == LIST else "")


def option_name(row: Row) -> str:
    """An option's flags, and what stands for its value."""
    names = ", ".join(sorted((*row.flags, *row.off), key=lambda flag: flag.startswith("--")))
    return names if row.kind == FLAG else f"{names} {row.metavar or ('N' if row.kind == NUMBER else 'TEXT')}"


def with_default(row: Row) -> str:
    """An option's sentence, with its default and its variable where they are not said."""
    text = row.help
    if row.kind not in (FLAG, LIST) and row.default not in (None, "", 0) and "default" not in text.lower():
        text += f" Default: {row.default}."
    if row.variable:
        text += f" Also from `${row.variable}`."
    return text


def _table(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(width - _LEFT - 2, 20)) or [""]
        if len(left) > _LEFT - 4:
            yield f"  {left}"
        else:
            yield f"  {left:<{_LEFT - 2}}{wrapped.pop(0)}".rstrip()
        yield from (" " * _LEFT + line for line in wrapped)
