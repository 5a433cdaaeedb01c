"""The driver of passes: rebuilds a graph bottom up and applies rewrite rules to every operation.

A rule looks at one operation whose inputs are already rewritten, and gives what stands in its place. Rules are
tried in order until none applies; the graph is then walked again until a whole walk changes nothing. There is
no recursion: a stage of thousands of steps is a normal input. Every applied rule is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dockc.base.record import Record, made
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileOp,
    MergeOp,
    Op,
    PassthroughOp,
    Value,
    replaced,
)
from dockc.errors import CompileError, Fault

_MAX_SWEEPS = 100
_MAX_STEPS = 10_000


class Scratch:
    """What a rule gives when the empty file system stands in the place of an operation."""


SCRATCH = Scratch()
Replacement = Op | Value | Scratch


class Applied(Record):
    """One applied rule, for people: `before` and `after` are one-line summaries."""

    rule: str
    before: str
    after: str


class Facts(Record):
    """What a rule may ask about the graph it works on.

    Attributes:
        uses: how many times each operation is read, results counted once each.
        trace: the rules applied so far; the driver appends to it.
    """

    uses: Counter[Op] = made(Counter)
    trace: list[Applied] = made(list)

    def only_reader(self, value: Value | None) -> bool:
        """Whether the operation behind `value` is read in just one place."""
        return value is not None and self.uses[value.op] == 1


class Rewrite(Record):
    """A rule: for operations of class `kind`, `apply` gives a replacement, or None for "does not match".

    A replacement that is an operation has the same outputs in the same order.
    """

    name: str
    kind: type[Op]
    apply: Callable[[Op, Facts], Replacement | None]


def rewrite(module: Module, rules: Sequence[Rewrite], trace: list[Applied]) -> Module:
    """Apply `rules` until none matches.

    Raises:
        CompileError: the rules undo each other and never come to an end.
    """
    for _ in range(_MAX_SWEEPS):
        changed = _sweep(module, rules, trace)
        if changed is module:
            return module
        module = changed
    raise CompileError(f"rewriting does not end: {', '.join(r.name for r in rules)}", fault=Fault("endless-rewriting"))


def _sweep(module: Module, rules: Sequence[Rewrite], trace: list[Applied]) -> Module:
    facts = Facts(uses(module), trace)
    done: dict[Op, Replacement] = {}
    changed = False
    for op in module.ops():
        current = with_inputs(op, done)
        if isinstance(current, Op):
            facts.uses[current] = facts.uses[op]
            current = _apply(current, rules, facts)
        if current is not op:
            changed = True
            done[op] = current
            if isinstance(current, Op):
                facts.uses[current] = facts.uses[op]
    if not changed:
        return module
    outputs = {name: mapped(value, done) for name, value in module.outputs.items()}
    return Module(outputs, module.platform)


def _apply(op: Op, rules: Sequence[Rewrite], facts: Facts) -> Replacement:
    count = facts.uses[op]
    for _ in range(_MAX_STEPS):
        for rule in rules:
            if not isinstance(op, rule.kind):
                continue
            made = rule.apply(op, facts)
            if made is None:
                continue
            facts.trace.append(Applied(rule.name, summary(op), summary(made)))
            if not isinstance(made, Op):
                return made
            op = made
            facts.uses[op] = count
            break
        else:
            return op
    raise CompileError(f"rewriting {summary(op)} does not end", fault=Fault("endless-rewriting"))


def uses(module: Module) -> Counter[Op]:
    """How many times each operation is read, by operations and as a result."""
    counts: Counter[Op] = Counter()
    for op in module.ops():
        counts.update(v.op for v in op.inputs())
    counts.update(v.op for v in module.outputs.values() if v is not None)
    return counts


def mapped(value: Value | None, done: Mapping[Op, Replacement]) -> Value | None:
    """What stands for `value` once operations are replaced."""
    if value is None:
        return None
    new = done.get(value.op)
    if new is None:
        return value
    if isinstance(new, Scratch):
        return None
    return Value(new, value.index) if isinstance(new, Op) else new


def with_inputs(op: Op, done: Mapping[Op, Replacement]) -> Replacement:
    """`op` reading the replacements of its inputs; `op` itself if none is replaced."""
    if not any(v.op in done for v in op.inputs()):
        return op
    match op:
        case ExecOp():
            mounts = tuple(replaced(m, source=mapped(m.source, done)) for m in op.mounts)
            return replaced(op, mounts=mounts)
        case FileOp():
            actions = tuple(
                replaced(a, source=mapped(a.source, done)) if isinstance(a, Copy) else a for a in op.actions
            )
            return replaced(op, base=mapped(op.base, done), actions=actions)
        case MergeOp():
            layers = tuple(v for layer in op.layers if (v := mapped(layer, done)) is not None)
            if len(layers) < 2:
                return layers[0] if layers else SCRATCH
            return replaced(op, layers=layers)
        case DiffOp():
            lower, upper = mapped(op.lower, done), mapped(op.upper, done)
            if lower is None:
                return SCRATCH if upper is None else upper
            return replaced(op, lower=lower, upper=upper)
        case PassthroughOp():
            kept = [(i, v) for i, value in enumerate(op.values) if (v := mapped(value, done)) is not None]
            places = {old: new for new, (old, _) in enumerate(kept)}
            if any(i not in places for i in op.forwarded):
                raise CompileError("a pass emptied a value that is passed through", fault=Fault("endless-rewriting"))
            return replaced(op, values=tuple(v for _, v in kept), forwarded=tuple(places[i] for i in op.forwarded))
    return op


def summary(thing: Replacement) -> str:
    """An operation, value or scratch in one line."""
    if isinstance(thing, Scratch):
        return "scratch"
    op = thing.op if isinstance(thing, Value) else thing
    name = op.meta.name
    if not name:
        return op.KIND
    return f"{op.KIND} {name!r}" if len(name) <= 60 else f"{op.KIND} {name[:57]!r}..."
