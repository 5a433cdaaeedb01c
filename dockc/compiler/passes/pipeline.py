"""Runs passes in order and tells observers about each: printing, timing and verifying are observers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Protocol

from dockc.base.pattern import pattern
from dockc.base.record import Record, made
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.rewrite import Applied
from dockc.errors import UsageError


class PassContext(Record):
    """What passes may know and where they leave their trace.

    Attributes:
        pins: source identifier -> digest, commit or checksum that it is to be held to.
        trace: every rewrite that was applied.
    """

    pins: Mapping[str, str] = made(dict)
    trace: list[Applied] = made(list)


class Pass(Protocol):
    """A pass: a record, or frozen data class, whose fields are its options. The module is legal before and after."""

    name: ClassVar[str]

    def run(self, module: Module, context: PassContext) -> Module:
        """The module after the pass; the same object if nothing changed."""
        ...


Observer = Callable[[Pass, Module, float], None]
"""Called after each pass with the pass, its result, and the seconds of CPU it took."""


class PassPipeline(Record):
    """Passes in order."""

    passes: tuple[Pass, ...]
    observers: tuple[Observer, ...] = ()

    def run(self, module: Module, context: PassContext | None = None) -> Module:
        """Apply all passes."""
        context = context or PassContext()
        for one in self.passes:
            start = time.process_time()
            module = one.run(module, context)
            seconds = time.process_time() - start
            for observe in self.observers:
                observe(one, module, seconds)
        return module


# --- observers ------------------------------------------------------------------------------------------


def print_after(names: Iterable[str] | None, write: Callable[[str], object]) -> Observer:
    """Print the module after the named passes, or after all if `names` is None."""
    wanted = None if names is None else frozenset(names)

    def observe(one: Pass, module: Module, seconds: float) -> None:
        if wanted is None or one.name in wanted:
            from dockc.compiler.ir.printer import print_module

            write(f"# --- after {describe(one)} ---\n{print_module(module)}")

    return observe


def time_passes(write: Callable[[str], object]) -> Observer:
    """Print the CPU time of each pass."""

    def observe(one: Pass, module: Module, seconds: float) -> None:
        write(f"{seconds * 1000:9.3f} ms  {describe(one)}\n")

    return observe


def verify_each() -> Observer:
    """Check the module after each pass."""

    def observe(one: Pass, module: Module, seconds: float) -> None:
        from dockc.compiler.ir.verifier import verify

        verify(module)

    return observe


# --- text -----------------------------------------------------------------------------------------------

_ONE = pattern(r"\s*([a-z][a-z0-9\-]*)\s*(?:\{([^{}]*)\})?\s*(?:,|\Z)")


def describe(one: Pass) -> str:
    """A pass as `--passes` takes it: its name, and in braces the options that differ from the default."""
    from dataclasses import fields  # which knows records too, and the data classes of others

    given = []
    for option in fields(one):  # type: ignore[arg-type]
        value = getattr(one, option.name)
        if value != option.default:
            given.append(f"{option.name}={str(value).lower() if isinstance(value, bool) else value}")
    return f"{one.name}{{{','.join(given)}}}" if given else one.name


def parse_passes(text: str, find: Callable[[str], type[Pass]]) -> tuple[Pass, ...]:
    """Read `name,name{option=value,...},...`.

    Raises:
        UsageError: the text cannot be read, or names an unknown pass or option.
    """
    made = []
    at = 0
    while at < len(text.rstrip()):
        match = _ONE.match(text, at)
        if match is None:
            raise UsageError(f"cannot read passes at {text[at:]!r}", hint="write name,name{option=value}")
        at = match.end()
        options = [o for o in (match.group(2) or "").split(",") if o.strip()]
        made.append(_make(find(match.group(1)), options))
    return tuple(made)


def _make(kind: type[Pass], options: Sequence[str]) -> Pass:
    from dataclasses import fields

    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for option in options:
        key, equals, text = option.partition("=")
        key = key.strip()
        if key not in known:
            raise UsageError(f"pass {kind.name} has no option {key}", hint=f"it has {', '.join(known) or 'none'}")
        default = known[key].default
        values[key] = _value(kind.name, key, text.strip() if equals else "true", default)
    return kind(**values)


def _value(name: str, key: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise UsageError(f"option {key} of pass {name} is true or false, not {text}")
        return text == "true"
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"option {key} of pass {name} is a number, not {text}") from None
    return text
