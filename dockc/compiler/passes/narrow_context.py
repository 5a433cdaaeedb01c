"""Ask the client only for the paths that are used."""

from __future__ import annotations

import json
from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import Copy, ExecOp, FileOp, Op, SourceOp, replaced
from dockc.compiler.ir.rewrite import Applied, Replacement, mapped, summary, with_inputs
from dockc.compiler.passes.pipeline import PassContext
from dockc.golang.text import dump_strings
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import sources

_SPECIAL = frozenset("*?[]\\")


class NarrowContext(Record):
    """Narrow every local source to what its readers read.

    What it does: collects, for each local source, the paths that copies and mounts take from it. If none takes
    the whole, the source is told to send just these (`local.followpaths`). If every reader copies the whole and
    leaves out the same patterns, the source leaves them out too (`local.excludepatterns`).

    When it is legal: where the source has no filter yet, or one that covers the new one; a source with include
    patterns is left alone, since the paths would be added to them. What is not sent could not have been read:
    links are followed, and names with pattern characters count as reading the whole.

    What it changes: less is read and sent, and a change of an unused file no longer changes the source's
    content. Digests from the source on.

    Example:
        `source "local://context"` read only by `copy %0 "/src" "/src"` gets
        `attr "local.followpaths" "[\\"src\\"]"`.
    """

    name: ClassVar[str] = "narrow-context"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        readings = _readings(module)
        done: dict[Op, Replacement] = {}
        for op in module.ops():
            current = with_inputs(op, done)
            if isinstance(current, SourceOp) and current.identifier.startswith(A.SCHEME_LOCAL):
                narrowed = _narrowed(current, readings[op])
                if narrowed is not None:
                    context.trace.append(Applied(self.name, summary(current), str(dict(narrowed.attrs))))
                    current = narrowed
            if current is not op:
                done[op] = current
        if not done:
            return module
        return Module({name: mapped(value, done) for name, value in module.outputs.items()}, module.platform)


class _Reading:
    """What is read from a source: paths, or the whole, and what every reader of the whole leaves out."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.whole = False
        self.excluded: list[tuple[str, ...]] = []


def _readings(module: Module) -> dict[Op, _Reading]:
    found: dict[Op, _Reading] = {op: _Reading() for op in module.ops() if isinstance(op, SourceOp)}
    for op in module.ops():
        copied = set()
        if isinstance(op, FileOp):
            for action in op.actions:
                if isinstance(action, Copy) and action.source is not None:
                    copied.add(action.source.op)
                    if action.source.op in found:
                        _copy(found[action.source.op], action)
            readers = [op.base.op] if op.base is not None else []
        elif isinstance(op, ExecOp):
            readers = []
            for mount in op.mounts:
                if mount.source is not None and mount.source.op in found:
                    _path(found[mount.source.op], mount.selector, literal=True)
        else:
            readers = [v.op for v in op.inputs()]
        for reader in readers:
            if reader in found:
                _path(found[reader], "/", literal=True)
    for value in module.outputs.values():
        if value is not None and value.op in found:
            _path(found[value.op], "/", literal=True)
    return found


def _copy(reading: _Reading, copy: Copy) -> None:
    if copy.src == "/" and copy.dir_contents and not copy.include:
        reading.whole = True
        reading.excluded.append(copy.exclude)
    else:
        _path(reading, copy.src, literal=not copy.wildcard)


def _path(reading: _Reading, path: str, *, literal: bool) -> None:
    name = path.strip("/")
    if not name or (literal and not _SPECIAL.isdisjoint(name)):
        reading.whole = True
        reading.excluded.append(())
    else:
        reading.paths.add(name)


def _narrowed(op: SourceOp, reading: _Reading) -> SourceOp | None:
    attrs = dict(op.attrs)
    follow, exclude = _list(attrs.get(A.LOCAL_FOLLOW)), _list(attrs.get(A.LOCAL_EXCLUDE))
    if A.LOCAL_INCLUDE in attrs or follow is None or exclude is None:
        return None
    if not reading.whole:
        wanted = sorted(reading.paths)
        if not wanted or wanted == follow or (follow and not _covers(follow, wanted)):
            return None
        attrs[A.LOCAL_FOLLOW] = dump_strings(wanted)
    elif reading.paths or A.LOCAL_FOLLOW in attrs:
        return None
    else:
        common = [p for p in reading.excluded[0] if all(p in other for other in reading.excluded)]
        added = [p for p in common if p not in exclude]
        if not added or any(p.startswith("!") for other in reading.excluded for p in other):
            return None
        attrs[A.LOCAL_EXCLUDE] = dump_strings([*exclude, *added])
    pairs = tuple(sorted(attrs.items()))
    caps = tuple(sorted({*op.caps, *sources.caps(op.identifier, attrs)}))
    return replaced(op, attrs=pairs, caps=caps)


def _list(text: str | None) -> list[str] | None:
    """The patterns of an attribute; None if it cannot be read, for definitions come from anywhere."""
    if not text:
        return []
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [str(item) for item in items] if isinstance(items, list) else None


def _covers(wide: list[str], narrow: list[str]) -> bool:
    """Whether every path of `narrow` is one of `wide` or below one that is no pattern."""
    plain = [w for w in wide if _SPECIAL.isdisjoint(w)]
    return all(n in wide or any(n.startswith(w + "/") for w in plain) for n in narrow)
