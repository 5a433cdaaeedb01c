"""What is legal in a module: one table from kind of operation to rules, each with the words that name it.

The lowering makes only legal modules and every pass keeps them legal; `--verify-each` and the tests hold them
to it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileOp,
    MergeOp,
    Op,
    PassthroughOp,
    SourceOp,
    Value,
)
from dockc.compiler.ir.rewrite import summary
from dockc.errors import CompileError, Fault
from dockc.llb.attrs import is_platform_specific

Rule = tuple[str, Callable[..., bool]]

SPEC: dict[type[Op], tuple[Rule, ...]] = {
    SourceOp: (
        ("a source has an identifier with a scheme", lambda op: "://" in op.identifier),
        ("attributes are sorted and unique", lambda op: _rising([k for k, _ in op.attrs])),
        (
            "only image sources have a platform",
            lambda op: (op.platform is not None) == is_platform_specific(op.identifier),
        ),
    ),
    ExecOp: (
        ("an exec has arguments", lambda op: bool(op.args)),
        ("an exec has a working directory", lambda op: bool(op.cwd)),
        ("an exec has a platform", lambda op: op.platform is not None),
        ("an exec has a mount at /", lambda op: any(m.target == "/" for m in op.mounts)),
        ("mounts are sorted by target", lambda op: _sorted([m.target for m in op.mounts])),
        ("tmpfs and cache exclude each other", lambda op: not any(m.tmpfs and m.cache_id for m in op.mounts)),
        ("a tmpfs mount has no source", lambda op: all(not m.tmpfs or m.source is None for m in op.mounts)),
        ("environment entries have a name", lambda op: all(e.partition("=")[1] for e in op.env)),
        ("an agent socket has a target", lambda op: all(s.target for s in op.ssh)),
    ),
    FileOp: (
        ("a file operation has actions", lambda op: bool(op.actions)),
        ("a file operation has no platform", lambda op: op.platform is None),
        (
            "paths of file actions are absolute",
            lambda op: all(path.startswith("/") for a in op.actions for path in _paths(a)),
        ),
    ),
    MergeOp: (
        ("a merge has two layers or more", lambda op: len(op.layers) >= 2),
        ("a merge has no platform", lambda op: op.platform is None),
    ),
    DiffOp: (("a diff has a side", lambda op: op.lower is not None or op.upper is not None),),
    PassthroughOp: (
        ("a passthrough has an id", lambda op: bool(op.id)),
        ("a passthrough forwards something", lambda op: bool(op.forwarded)),
        (
            "a passthrough forwards its inputs",
            lambda op: all(0 <= i < len(op.values) for i in op.forwarded),
        ),
    ),
}


def verify(module: Module) -> None:
    """Check every operation of a module.

    Raises:
        CompileError: naming the operation and the rule it breaks; also for cycles and undefined values.
    """
    for op in module.ops():
        rules = SPEC.get(type(op))
        if rules is None:
            raise CompileError(f"illegal operation {type(op).__name__}: the IR has no such kind", fault=Fault("bad-ir"))
        for words, holds in rules:
            if not holds(op):
                raise CompileError(f"illegal operation {summary(op)}: {words}", fault=Fault("bad-ir"))
        for value in op.inputs():
            _check_index(value)
    for result in module.outputs.values():
        if result is not None:
            _check_index(result)


def _check_index(value: Value) -> None:
    if not 0 <= value.index < outputs_of(value.op):
        raise CompileError(f"illegal value: {summary(value.op)} has no output {value.index}", fault=Fault("bad-ir"))


def outputs_of(op: Op) -> int:
    """How many outputs an operation has."""
    if isinstance(op, ExecOp):
        return sum(m.has_output for m in op.mounts)
    return len(op.forwarded) if isinstance(op, PassthroughOp) else 1


def _sorted(keys: list[str]) -> bool:
    return all(a <= b for a, b in pairwise(keys))


def _rising(keys: list[str]) -> bool:
    return all(a < b for a, b in pairwise(keys))


def _paths(action: object) -> list[str]:
    if isinstance(action, Copy):
        return [action.src, action.dest]
    return [getattr(action, slot) for slot in ("path", "newpath") if hasattr(action, slot)]
