"""Merge layers that nobody needs apart."""

from __future__ import annotations

from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import DiffOp, FileOp, MergeOp, Op, OpMeta, SourceOp, Value, replaced
from dockc.compiler.ir.rewrite import Applied, Facts, Replacement, Rewrite, rewrite
from dockc.compiler.passes.pipeline import PassContext
from dockc.compiler.passes.targets import independent, looks_up_names, top_level, top_levels
from dockc.errors import UsageError
from dockc.llb.caps import DIFF_OP, MERGE_OP


class Squash(Record):
    """Make one layer of several, as far as the level says.

    What it does:
        level 1: file operations (COPY, ADD, WORKDIR) that follow each other become one operation;
        level 2: linked copies (COPY --link) that follow each other become one as well, if they write to
            different top-level directories;
        level 3: everything above the base image becomes a single layer on top of it.

    When it is legal: only if the user asks for it (`--squash`), since layers that others could share are gone.
    File operations are joined if nothing else reads the first one, and if the second looks up no user or group
    by name (it would look it up in the wrong file system). Level 3 leaves a result alone that is not built on
    an image.

    What it changes: the number of layers, and the digests from there on; the files of the result are the same.
    The image's history keeps one entry for each instruction.

    Example:
        `%2 = file %1 { copy %0 "/a" "/a" }` and `%3 = file %2 { copy %0 "/b" "/b" }` become
        `%2 = file %1 { copy %0 "/a" "/a"; copy %0 "/b" "/b" }`.

    Options:
        level: 1, 2 or 3.
    """

    name: ClassVar[str] = "squash"
    level: int = 1

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class.

        Raises:
            UsageError: no such level.
        """
        if self.level not in (1, 2, 3):
            raise UsageError(f"there is no squash level {self.level}", hint="use 1, 2 or 3")
        rules = (JOIN_FILES,) if self.level == 1 else (JOIN_FILES, JOIN_LINKED)
        module = rewrite(module, rules, context.trace)
        if self.level < 3:
            return module
        outputs = {name: _one_layer(value, context) for name, value in module.outputs.items()}
        return Module(outputs, module.platform)


def _join_files(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, FileOp)
    base = op.base
    if base is None or not isinstance(base.op, FileOp) or not facts.only_reader(base):
        return None
    if any(looks_up_names(a) for a in op.actions) or base.op.filters != op.filters:
        return None
    return replaced(
        base.op,
        actions=base.op.actions + op.actions,
        meta=joined_meta(base.op.meta, op.meta),
        caps=tuple(sorted({*base.op.caps, *op.caps})),
    )


def _join_linked(op: Op, facts: Facts) -> Replacement | None:
    """`merge (merge a x) y`, with `x` and `y` files on nothing that only they read."""
    assert isinstance(op, MergeOp)
    layers = list(op.layers)
    if isinstance(layers[0].op, MergeOp) and facts.only_reader(layers[0]):
        layers[:1] = layers[0].op.layers
    if len(layers) < 3:
        return None
    first, second = layers[-2], layers[-1]
    if not (_files_on_nothing(first, facts) and _files_on_nothing(second, facts)):
        return None
    assert isinstance(first.op, FileOp)
    assert isinstance(second.op, FileOp)
    taken = top_levels(first)
    if taken is None or not all(independent(a) and top_level(a) not in taken for a in second.op.actions):
        return None
    meta = joined_meta(first.op.meta, second.op.meta)
    one = replaced(first.op, actions=first.op.actions + second.op.actions, meta=meta)
    facts.uses[one] = 1
    return replaced(op, layers=(*layers[:-2], Value(one)))


def _files_on_nothing(value: Value, facts: Facts) -> bool:
    return isinstance(value.op, FileOp) and value.op.base is None and facts.only_reader(value)


def joined_meta(first: OpMeta, second: OpMeta) -> OpMeta:
    """What is said about an operation that stands for two: both names, both places."""
    names = [m.name for m in (first, second) if m.name]
    return OpMeta(
        " + ".join(names) if names else None,
        description={**first.description, **second.description},
        locations=(*first.locations, *second.locations),
        ignore_cache=first.ignore_cache or second.ignore_cache,
        export_cache=first.export_cache if second.export_cache is None else second.export_cache,
        progress_group=first.progress_group if first.progress_group is second.progress_group else None,
        resources=second.resources or first.resources,
    )


def _one_layer(value: Value | None, context: PassContext) -> Value | None:
    """`value` as its base image and one layer on it."""
    if value is None:
        return None
    base, steps = _base_image(value)
    if base is None or steps < 2:
        return value
    places = [place for step in _chain(value) for place in step.op.meta.locations]
    diff = DiffOp(base, value, meta=OpMeta("squash: changes", locations=places), caps=(DIFF_OP,))
    said = OpMeta("squash: base and changes", locations=places)
    merged = MergeOp((base, Value(diff)), meta=said, caps=(MERGE_OP,))
    context.trace.append(Applied("one layer", f"{steps} steps", "1 layer"))
    return Value(merged)


def _base_image(value: Value) -> tuple[Value | None, int]:
    """The image that a root file system began as, and the number of steps since."""
    steps = _chain(value)
    bottom = _below(steps[0]) if steps else value
    return bottom, len(steps)


def _chain(value: Value | None) -> list[Value]:
    """The steps that made a root file system, first to last, without the image it began as."""
    steps: list[Value] = []
    while value is not None and not isinstance(value.op, SourceOp):
        steps.append(value)
        value = _below(value)
    return steps[::-1]


def kept_layers(before: Module, after: Module) -> tuple[bool, ...]:
    """For each step that made a layer of the result, whether a layer still ends with it.

    An image's history has an entry for each of them; those that lost their layer are to be marked empty. Steps
    are known again by their places in the source.
    """
    new = _chain(after.result)
    layer_of = {id(place): at for at, step in enumerate(new) for place in step.op.meta.locations}
    old = _chain(before.result)
    ends: list[int | None] = []
    for step in old:
        places = step.op.meta.locations
        ends.append(layer_of.get(id(places[-1])) if places else None)
    return tuple(end is None or end not in ends[at + 1 :] for at, end in enumerate(ends))


def _below(value: Value) -> Value | None:
    """The file system that an operation changed to make `value`."""
    op = value.op
    if isinstance(op, FileOp):
        return op.base
    if isinstance(op, MergeOp):
        return op.layers[0]
    for mount in getattr(op, "mounts", ()):
        if op.output_index(mount) == value.index and mount.target == "/":  # type: ignore[attr-defined]
            source: Value | None = mount.source
            return source
    return None


JOIN_FILES = Rewrite("join file operations", FileOp, _join_files)
JOIN_LINKED = Rewrite("join linked copies", MergeOp, _join_linked)
