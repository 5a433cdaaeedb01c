"""Command lines as Go's programs read them: BuildKit's client and daemon take theirs by this.

One dash is as good as two (`-addr`), a flag's value may follow it or stand behind `=`, `--all=false` takes a flag back, and
the options of a program may stand behind the name of its command, too. `Flags` brings such a line into the order that
`argparse` reads.

Source: https://pkg.go.dev/flag, and https://cli.urfave.org/v3 for commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from dockc.errors import UsageError

_TRUTH = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


def parse_bool(text: str) -> bool:
    """A truth value as Go reads it.

    Raises:
        ValueError: it is none.
    """
    if text not in _TRUTH:
        raise ValueError(f"{text!r} is neither true nor false")
    return _TRUTH[text]


class Flags(argparse.ArgumentParser):
    """A parser of such lines.

    A flag that needs no value is one with `action="store_true"`, or `nargs="?"` where it matters whether it was given at
    all: its value is "true" or "false", then.

    Attributes:
        flags: by their names without dashes.
        words: the commands, if there are any.
    """

    def __init__(self, prog: str, **options: Any) -> None:
        self.flags: dict[str, argparse.Action] = {}
        self.words: argparse._SubParsersAction[Flags] | None = None
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """See `argparse`."""
        made = super().add_argument(*names, **options)
        for one in made.option_strings:
            self.flags[one.lstrip("-")] = made
        return made

    def add_subparsers(self, **options: Any) -> Any:
        """See `argparse`."""
        self.words = super().add_subparsers(**options)
        return self.words

    def read(self, arguments: Sequence[str], found: argparse.Namespace | None = None) -> argparse.Namespace:
        """Read a line into `found`, or into a new namespace.

        Raises:
            UsageError: it is none of this program.
        """
        return self.parse_args(self._arranged(iter(arguments)), found)

    def error(self, message: str) -> NoReturn:
        """What is wrong with a line."""
        raise UsageError(f"{self.prog}: {message}", hint=f"See `{self.prog} --help`.")

    def _arranged(self, left: Iterator[str]) -> list[str]:
        """The same line with each parser's flags right before the next word, and what is no flag at the end."""
        line: list[tuple[Flags, list[str]]] = [(self, [])]
        words: list[str] = []
        rest: list[str] = []
        helped = False
        for text in left:
            parser = line[-1][0]
            if text == "--":
                rest += left
            elif text.startswith("-") and text != "-":
                _take(text, line, left)
            elif parser.words is None or rest:
                rest.append(text)
            elif text in parser.words.choices:
                words.append(text)
                line.append((parser.words.choices[text], []))
            elif text in {"help", "h"}:
                helped = True
            else:
                parser.error(f"there is no command {text}")
        out = []
        for (_, flags), word in zip(line, (*words, ""), strict=True):
            out += [*flags, *([word] if word else ["--help"] if helped else [])]
        return [*out, *(["--"] if any(one.startswith("-") and one != "-" for one in rest) else []), *rest]


def _take(text: str, line: Sequence[tuple[Flags, list[str]]], left: Iterator[str]) -> None:
    """Put a flag to the parser that has it: that of the last word, or one above it."""
    short, equals, value = text[2 if text.startswith("--") else 1 :].partition("=")
    last = line[-1][0]
    owner = next((one for one in reversed(line) if short in one[0].flags), None)
    if owner is None:
        last.error(f"there is no option {text.partition('=')[0]}")
    action, flags = owner[0].flags[short], owner[1]
    name = next((one for one in action.option_strings if one.startswith("--")), action.option_strings[0])
    if action.nargs in {0, "?"}:
        try:
            wanted = not equals or parse_bool(value)
        except ValueError as error:
            last.error(f"{name}: {error}")
        if action.nargs == 0:
            flags[:] = [one for one in flags if one != name] + [name] * wanted
            return
        value = "true" if wanted else "false"
    elif not equals:
        given = next(left, None)
        if given is None:
            last.error(f"{name} needs a value")
        value = given
    flags.append(f"{name}={value}")
