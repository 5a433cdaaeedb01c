"""From a command line to an exit status. No other place turns exceptions and signals into one.

    0     all went well              1    an error, or a finding           2    wrong usage
    130   interrupted                141  nobody reads the output          else what the command says (`run`: the program's)

The verb says where its options and its function are; plain lines are read here (`line.read`), help is written here
(`line.help`), and what remains is left to
whoever starts the process: `dockc.cli` loads the command line library to say what is wrong.
"""

from __future__ import annotations

import gc
import os
import sys

from dockc.base.output import Output, log
from dockc.errors import DockcError, UsageError, lacking
from dockc.line import process
from dockc.line.verbs import COMPLETE, GROUPS, Line, command, verb_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Reads a line that is not plain: what is to be run, or the exit status where all has been said.
    Reader = Callable[[Sequence[str]], "Line | int"]


def run(argv: Sequence[str], unusual: Reader | None = None, *, plain: bool = True) -> int:
    """Run a command line and return the exit status.

    Args:
        argv: the words after the program's name.
        unusual: reads lines that are not plain; without it they are wrong usage.
        plain: read plain lines without the command line library; tests hold both ways against each other.
    """
    gc.set_threshold(20_000, 20, 20)  # what a short command makes and imports is nearly all of use to its end
    output = Output()
    try:
        line = _read(argv, unusual, plain)
        if isinstance(line, int):
            return line
        output = Output(getattr(line.options, "color", "auto"))
        return _run(line, output)
    except KeyboardInterrupt:
        log("dockc: interrupted\n")
        return 130
    except BrokenPipeError:
        from dockc.base.output import abandon

        abandon()
        return 141
    except DockcError as error:
        _tell(error, output)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        words = lacking(error)
        if not words:
            raise
        log(f"error: {words}\n")
        return 1
    except FileNotFoundError as error:
        from dockc.base.files import need_directory

        if error.filename is not None:
            raise
        try:
            need_directory()
        except DockcError as gone:
            _tell(gone, output)
            return gone.exit_code
        raise


def _tell(error: DockcError, output: Output) -> None:
    """Say what is wrong, in colours where the terminal and the user want them."""
    from dockc.console.errors import render_error, told

    try:
        style = output.log_style
    except UsageError:  # it is what the line says of colours that is wrong
        style = Output("never").log_style
    log(told(render_error(error), style))


def _read(argv: Sequence[str], unusual: Reader | None, plain: bool) -> Line | int:
    verb, rest = verb_of(argv)
    if argv[:2] == [COMPLETE, "--"]:
        return _complete(argv[2:])
    if verb in {"buildctl", "daemon"}:
        options, function = command(verb)
        return Line(options(words=tuple(rest)), function)
    if verb and plain:
        from dockc.line.read import read

        options, function = command(verb)
        found = read(options, rest, os.environ)
        if found is not None:
            return Line(found, function)
    if argv and not verb and argv[0] != "help":
        from dockc.line.elsewhere import refuse

        refuse([word for word in argv if word not in ("--help", "-h")])
    asked = _until_dashes(rest)
    if (
        not argv
        or (not verb and argv[0] in (*GROUPS, "help"))
        or {"--help", "-h"} & set(asked[: _first_argument(verb, asked)])
    ):
        from dockc.line.help import write_help

        return write_help(argv, Output(_color_of(asked)))
    if unusual is None:
        raise UsageError(f"cannot read the command line: {' '.join(argv)}", hint="`dockc --help` lists the commands.")
    return unusual(argv)


def _complete(words: Sequence[str]) -> int:
    from dockc.line.complete import candidates

    try:
        found = "".join(f"{word}\t{text}\n" for word, text in candidates(words))
    except (DockcError, OSError, ValueError):  # nobody wants an error while they type
        return 1
    Output().write(found)
    return 0


def _color_of(words: Sequence[str]) -> str:
    """What a line that asks for help says of colours."""
    for at, word in enumerate(words):
        if word.startswith("--color="):
            return word.partition("=")[2]
        if word == "--color" and at + 1 < len(words):
            return words[at + 1]
    return "auto"


def _until_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words


def _first_argument(verb: str, words: Sequence[str]) -> int:
    """Where the words end that are the command's own: a program that is run has options, too."""
    if verb and not command(verb)[0].interspersed:
        for at, text in enumerate(words):
            if not text.startswith("-"):
                return at
    return len(words)


def _run(line: Line, output: Output) -> int:
    from dockc.base import patterncache

    patterns = patterncache.install(os.environ)
    try:
        return line.run(line.options, output)
    finally:
        if patterns is not None:
            patterns.save()


def main(unusual: Reader) -> None:
    """Run the process's command line, and end the process with its exit status."""
    process.begin()
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"]:
        from dockc.line.resident import ask

        status = _asked(ask, arguments)
        if status is not None:
            _end(status)
    if arguments[:1] == ["daemon"]:
        from dockc.base import resident

        resident.whole = _as_process(unusual)
    if arguments in (["--version"], ["-V"], ["-v"]):  # the last is docker's
        from dockc.base.version import VERSION

        arguments, status = [], _say(f"dockc {VERSION}\n")
    else:
        status = run(arguments, unusual)
    _end(status)


def _asked(ask: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int | None:
    """What the resident builder of the store made of a build; None where there is none."""
    try:
        return ask(arguments)
    except KeyboardInterrupt:
        log("dockc: interrupted\n")
        return 130
    except DockcError as error:
        _tell(error, Output())
        return error.exit_code


def _as_process(unusual: Reader) -> Callable[[Sequence[str]], int]:
    """What runs a command line in a process that another one was forked for, all but its end."""

    def whole(arguments: Sequence[str]) -> int:
        process.begin()
        return _written(run(arguments, unusual))

    return whole


def _say(text: str) -> int:
    try:
        Output().write(text)
    except BrokenPipeError:
        return 141
    except DockcError as error:
        log(f"error: {error.message}\n")
        return error.exit_code
    return 0


def _end(status: int) -> None:
    """End the process at once: taking the interpreter apart takes a fifth of the time of a short command.

    Only where nothing is left to do: no other thread runs, standard streams are written out, and nobody measures the
    process.
    """
    status = _written(status)
    threading = sys.modules.get("threading")
    alone = threading is None or threading.active_count() == 1
    if alone and sys.getprofile() is None and sys.gettrace() is None and "coverage" not in sys.modules:
        os._exit(status)
    process.forget_output()
    sys.exit(status)


def _written(status: int) -> int:
    """Write out what the standard streams hold; the exit status after that."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if (
                stream is not None and not stream.closed
            ):  # a command may have closed it: the language server does when its client leaves
                stream.flush()
        except BrokenPipeError:
            status = 141
        except ValueError:  # closed by the command, which had it for itself
            pass
        except DockcError as error:  # the disk is full
            log(f"error: {error.message}\n")
            status = status or error.exit_code
    return status
