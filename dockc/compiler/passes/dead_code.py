"""Remove work that no result needs."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from dockc.base.record import Record, fields_of
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    FileAction,
    FileOp,
    MergeOp,
    Mkdir,
    Op,
    PassthroughOp,
    Rm,
    Value,
    replaced,
)
from dockc.compiler.ir.rewrite import SCRATCH, Facts, Replacement, Rewrite, rewrite
from dockc.compiler.passes.pipeline import PassContext


class DeadCode(Record):
    """Remove operations, and steps of operations, that leave no trace in any result.

    What it does:
        - a file action that cannot change anything goes: `mkdir /`, a step that repeats the one before it;
        - a file operation without actions becomes its base;
        - a merge within a merge becomes part of the outer one, and of a file system that is laid down more
          than once only the last time counts;
        - the difference of a file system to itself is the empty one;
        - a passthrough that waits for nothing becomes what it passes through.

    When it is legal: each rule holds for every content of the inputs. A copy counts as repeatable only if it
    copies what is inside a directory: copying the directory itself a second time puts it into the first.

    What it changes: digests of the operations touched and of those above them; never a file of a result.

    Example:
        `WORKDIR /` in a Dockerfile makes `file %0 { mkdir "/" 0755 parents }`, which becomes `%0`.
    """

    name: ClassVar[str] = "dead-code"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        return rewrite(module, RULES, context.trace)


def _drop_actions(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, FileOp)
    kept = [a for a in op.actions if not (isinstance(a, Mkdir) and a.path == "/")]
    kept = [a for before, a in pairwise([None, *kept]) if a is not None and not (before and _repeats(before, a))]
    if len(kept) == len(op.actions):
        return None
    if kept:
        return replaced(op, actions=tuple(kept))
    return SCRATCH if op.base is None else op.base


def _repeats(first: FileAction, second: FileAction) -> bool:
    """Whether doing `second` right after `first` changes nothing."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Copy) and not first.dir_contents:
        return False
    if isinstance(first, Rm) and not first.allow_missing:
        return False
    if first.KIND == "symlink":  # the second would fail
        return False
    return all(_same(getattr(first, s), getattr(second, s)) for s in fields_of(type(first)))


def _same(a: object, b: object) -> bool:
    if isinstance(a, Value) and isinstance(b, Value):
        return a.op is b.op and a.index == b.index
    if hasattr(a, "user") and hasattr(b, "user"):
        return all(getattr(a, s) == getattr(b, s) for s in ("user", "group"))
    return a == b


def _flatten_merge(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, MergeOp)
    layers: list[Value] = []
    for layer in op.layers:
        layers += layer.op.layers if isinstance(layer.op, MergeOp) else (layer,)
    last = {(v.op, v.index): at for at, v in enumerate(layers)}
    kept = tuple(v for at, v in enumerate(layers) if last[v.op, v.index] == at)
    if len(kept) == len(op.layers) and all(_same(a, b) for a, b in zip(kept, op.layers, strict=True)):
        return None
    return kept[0] if len(kept) == 1 else replaced(op, layers=kept)


def _empty_diff(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, DiffOp)
    if op.upper is None and op.lower is None:
        return SCRATCH
    return SCRATCH if op.lower is not None and _same(op.lower, op.upper) else None


def _idle_passthrough(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, PassthroughOp)
    return op.values[0] if len(op.values) == 1 and op.forwarded == (0,) else None


RULES = (
    Rewrite("drop file actions without effect", FileOp, _drop_actions),
    Rewrite("flatten merges", MergeOp, _flatten_merge),
    Rewrite("empty difference", DiffOp, _empty_diff),
    Rewrite("idle passthrough", PassthroughOp, _idle_passthrough),
)
