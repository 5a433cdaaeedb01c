"""The passes by name, and the pipelines that `-O` stands for.

A pass is imported when it is asked for. Third parties add passes under the entry point group `dockc.passes`:
the name is the pass's name, the object its class.
"""

from __future__ import annotations

from dockc.compiler.passes.pipeline import Observer, Pass, PassPipeline, parse_passes
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PASSES = {
    "canonicalize": "dockc.compiler.passes.canonicalize:Canonicalize",
    "dead-code": "dockc.compiler.passes.dead_code:DeadCode",
    "fold-env": "dockc.compiler.passes.fold_env:FoldEnv",
    "link-copies": "dockc.compiler.passes.link_copies:LinkCopies",
    "narrow-context": "dockc.compiler.passes.narrow_context:NarrowContext",
    "pin-sources": "dockc.compiler.passes.pin_sources:PinSources",
    "prune": "dockc.compiler.passes.prune:Prune",
    "squash": "dockc.compiler.passes.squash:Squash",
}

PRESETS = {
    0: "",
    1: "prune,canonicalize",
    2: "prune,canonicalize,dead-code,link-copies,dead-code,fold-env,narrow-context,canonicalize",
}
"""What `-O0`, `-O1` (the default; changes no bytes) and `-O2` run."""

ENTRY_POINTS = "dockc.passes"


def get_pass(name: str) -> type[Pass]:
    """The class of a pass.

    Raises:
        UsageError: there is no pass of that name.
    """
    if name in PASSES:
        from importlib import import_module

        module, _, attribute = PASSES[name].partition(":")
        found: type[Pass] = getattr(import_module(module), attribute)
        return found
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return _loaded(name, entry)
    from difflib import get_close_matches

    near = get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known passes: {', '.join(names())}"
    raise UsageError(f"unknown pass {name}", hint=hint)


def names() -> list[str]:
    """All passes, those of others included."""
    from importlib.metadata import entry_points

    return sorted({*PASSES, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def _loaded(name: str, entry: EntryPoint) -> type[Pass]:
    """The class behind an entry point.

    Raises:
        UsageError: it cannot be imported, or is no pass.
    """
    from dataclasses import is_dataclass
    from typing import cast

    where = f"pass {name} of {entry.dist.name if entry.dist is not None else entry.value}"
    try:
        found = entry.load()
    except Exception as error:  # whatever the code of others raises
        raise UsageError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and is_dataclass(found) and callable(getattr(found, "run", None))):
        raise UsageError(f"{where} is no pass: {entry.value} is not a data class with a method run")
    if getattr(found, "name", None) != name:
        raise UsageError(f"{where} is no pass: its attribute name is not {name}")
    return cast("type[Pass]", found)


def pipeline(  # the module of this name is loaded above, so that it does not take the name later
    level: int = 1, passes: str | None = None, *, squash: int = 0, observers: tuple[Observer, ...] = ()
) -> PassPipeline:
    """The pipeline for `-O level`, or the one written out in `passes`; `squash` adds that pass at a level.

    Raises:
        UsageError: an unknown level, pass or option.
    """
    if passes is None:
        if level not in PRESETS:
            raise UsageError(f"unknown optimisation level {level}", hint="use 0, 1 or 2")
        passes = PRESETS[level]
    if squash:
        passes = f"{passes},squash{{level={squash}}}".lstrip(",")
    return PassPipeline(parse_passes(passes, get_pass), observers)
