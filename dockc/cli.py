"""Lines that are not plain, read by typer from the same records: abbreviations, `--`, wrong options and values, and
what is to be said about them.

The only module that loads the command line library; `line.main` comes here when `line.read` has given up.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dockc.base.options import FLAG, LIST, NUMBER, PATH, Options, Required, Row
from dockc.errors import UsageError
from dockc.line.help import ABOUT
from dockc.line.read import of_variable, plain_flags
from dockc.line.verbs import GROUPS, VERBS, Line, command, verb_of

_TYPES: dict[str, Any] = {LIST: list[str], PATH: Path, FLAG: bool, NUMBER: int}


def make_app(*verbs: str) -> typer.Typer:
    """A command line with these verbs."""
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        name="dockc", help=ABOUT, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings=settings,
    )  # fmt: skip
    app.callback()(_version)
    groups: dict[str, typer.Typer] = {"": app}
    for verb in verbs:
        above, _, name = verb.rpartition(" ")
        options, function = command(verb)
        context = {} if options.interspersed else {"allow_interspersed_args": False}
        home = _group(groups, above, settings)
        home.command(name=name, help=options.__doc__, context_settings=context)(_reader(options, function))
    return app


def _group(groups: dict[str, typer.Typer], name: str, settings: dict[str, Any]) -> typer.Typer:
    """The group of this name, made where it is not there, with those above it. A verb may have verbs below it, too."""
    if name not in groups:
        above, _, word = name.rpartition(" ")
        groups[name] = typer.Typer(help=GROUPS.get(name), rich_markup_mode=None, context_settings=settings)
        _group(groups, above, settings).add_typer(groups[name], name=word)
    return groups[name]


class _VersionAsked(Exception):
    """`--version` was among the options."""


def _say_version(asked: bool) -> None:
    if asked:  # written by `parse`: the library has ideas of its own about pipes that nobody reads
        raise _VersionAsked


def _version(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and end.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """The program itself takes no other option."""


def _reader(options: type[Options], function: Callable[[Any, Any], int]) -> Callable[..., Line]:
    """A function whose signature is the record's; called, it gives the line that was read."""

    def read(**values: Any) -> Line:
        found = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return Line(
            options(
                **{name: () if value is None and _is_list(options, name) else value for name, value in found.items()}
            ),
            function,
        )

    parameters = [_parameter(row) for row in options.table()]
    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect and typer look for
    read.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return read


def _is_list(options: type[Options], name: str) -> bool:
    return any(row.name == name and row.kind == LIST for row in options.table())


def _parameter(row: Row) -> inspect.Parameter:
    kind = _TYPES.get(row.kind, str)
    told: Any
    if row.flags:
        flags = [*row.flags[:-1], f"{row.flags[-1]}/{row.off[0]}"] if row.off else list(row.flags)
        told = typer.Option(
            *flags,
            help=row.help,
            metavar=row.metavar or None,
            min=row.low,
            max=row.high,
            hidden=row.hidden,
        )
    else:
        told = typer.Argument(help=row.help, metavar=row.metavar or row.name.upper())
    default = inspect.Parameter.empty if row.default is Required else row.default
    if row.variable and (text := os.environ.get(row.variable)):  # old versions of typer do not look for it
        default = of_variable(row, text)
    if row.kind == LIST:
        default = None if not row.flags else []
    annotation = kind | None if row.default is None or (row.kind == LIST and not row.flags) else kind
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, told]
    )


def parse(argv: Sequence[str]) -> Line | int:
    """Read a line: what is to be run, or the exit status where all has been said.

    Raises:
        UsageError: what is wrong with it, in the library's words.
        KeyboardInterrupt: as any code.
    """
    verb, rest = verb_of(argv)
    words = argv
    if verb:
        options = command(verb)[0]
        words = [*verb.split(), *plain_flags(options.table(), rest, interspersed=options.interspersed)]
    try:
        found: Any = make_app(*((verb, _OTHER) if verb and verb != _OTHER else VERBS))(
            args=list(words), prog_name="dockc", standalone_mode=False
        )
    except _VersionAsked:
        from dockc.base.output import Output
        from dockc.base.version import VERSION

        Output().write(f"dockc {VERSION}\n")
        return 0
    except typer.Exit as stop:
        return int(stop.exit_code)
    except typer.Abort:
        return 130
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # usage errors of the library below typer
            raise _usage_error(error, verb) from None
        raise
    return found if isinstance(found, Line) else int(found or 0)


#: With one command alone typer makes a program that has no commands.
_OTHER = "passes"


def _usage_error(error: Any, verb: str) -> UsageError:
    from dockc.compiler.suggest import nearest
    from dockc.line.elsewhere import instead

    ask = " ".join(filter(None, ("dockc", verb, "--help")))
    option, message = getattr(error, "option_name", None) or "", str(error.format_message())
    hint = instead(verb, option)
    if possible := getattr(error, "possibilities", None):
        message = message.partition(" (")[0]
        near = nearest(option, possible) if option.startswith("--") else ""
        hint = hint or (f"Did you mean `{near}`?" if near else "")
    return UsageError(message, hint=hint or f"`{ask}` says what there is.")
