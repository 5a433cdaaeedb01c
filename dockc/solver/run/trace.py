"""Writes down what the scheduler core is told and what it answers, and plays it again.

A trace is JSON lines: `["> ", {"Requested": {...}}]` for an event, `["< ", {"Execute": {...}}]` for a command that
followed from it. The environment variable DOCKC_SOLVER_TRACE names a file to write to.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from dockc.base import jsontext
from dockc.errors import DockcError
from dockc.solver.core import events
from dockc.solver.core.events import Command, Event
from dockc.solver.core.scheduler import SchedulerCore

ENVIRONMENT = "DOCKC_SOLVER_TRACE"

_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in (*typing.get_args(Event), *typing.get_args(Command))}


class TraceError(DockcError):
    """A trace that cannot be read, or that the core does not follow any more."""


def encode(message: Event | Command) -> str:
    """One line without its mark: `{"Executed": {"ticket": 7, ...}}`."""
    import msgspec

    return json.dumps({type(message).__name__: msgspec.to_builtins(message)}, separators=(", ", ": "))


def decode(text: str) -> Event | Command:
    """The message that `encode` wrote; raises TraceError."""
    import msgspec

    try:
        ((name, fields),) = jsontext.parsed(text).items()
        message: Event | Command = msgspec.convert(fields, _TYPES[name])
    except (ValueError, KeyError, AttributeError, msgspec.ValidationError) as error:
        raise TraceError(f"not a line of a solver trace: {text[:200]!r}") from error
    return message


class TraceWriter:
    """Appends to a file, line by line, so that the trace of a crash is whole up to the crash."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise TraceError(f"cannot write the solver trace {path}: {error.strerror}") from error

    def record(self, event: Event, commands: Iterable[Command]) -> None:
        """Write one event with the commands that followed."""
        self._file.write(f"> {encode(event)}\n" + "".join(f"< {encode(c)}\n" for c in commands))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(lines: Iterable[str]) -> Iterator[tuple[Event, list[Command]]]:
    """The steps of a trace: each event with its commands. Lines that start with `#` are comments."""
    event: Event | None = None
    commands: list[Command] = []
    for line in lines:
        mark, text = line[:2], line[2:].strip()
        if not line.strip() or mark.startswith("#"):
            continue
        message = decode(text)
        if mark == "> " and not isinstance(message, typing.get_args(Command)):
            if event is not None:
                yield event, commands
            event, commands = message, []  # type: ignore[assignment]
        elif mark == "< " and event is not None and isinstance(message, typing.get_args(Command)):
            commands.append(message)
        else:
            raise TraceError(f"not a line of a solver trace: {line[:200]!r}")
    if event is not None:
        yield event, commands


def replay(steps: Iterable[tuple[Event, list[Command]]], *, check: bool = True) -> SchedulerCore:
    """Feed the events of a trace to a new core and compare its commands.

    Returns:
        The core in its last state.

    Raises:
        TraceError: the core answers otherwise than the trace says.
        SchedulerError: a rule of the core is broken (with `check`).
    """
    core = SchedulerCore()
    for number, (event, expected) in enumerate(steps, 1):
        commands = core.handle(event)
        if check:
            core.check()
        if commands != expected:
            got = "\n".join(f"  < {encode(c)}" for c in commands) or "  nothing"
            want = "\n".join(f"  < {encode(c)}" for c in expected) or "  nothing"
            raise TraceError(f"step {number}: after {encode(event)} the trace has\n{want}\nthe core says\n{got}")
    return core


__all__ = ["ENVIRONMENT", "TraceError", "TraceWriter", "decode", "encode", "events", "read", "replay"]
