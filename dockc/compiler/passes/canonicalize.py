"""Make equal operations one."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.emit import wire
from dockc.compiler.ir.module import Module, walk
from dockc.compiler.ir.ops import Op, OpMeta, replaced
from dockc.compiler.ir.rewrite import Applied, Replacement, mapped, summary, with_inputs
from dockc.compiler.passes.pipeline import PassContext


class Canonicalize(Record):
    """Make operations of equal digest one, with everything that was said about each.

    What it does: two stages that begin with the same image, or run the same command on the same files, have
    equal operations in two places. This pass keeps the first and gives it the names, places and wishes of all,
    in the order in which a definition visits them.

    When it is legal: always; equal digests mean equal work.

    What it changes: nothing in the definition, which holds equal operations once in any case. Later passes see
    true numbers of readers.

    Example:
        `%0 = source "docker-image://x" { at @0 1:0-1:6 }` and `%4`, the same at `3:0-3:6`, become one
        operation at both places.
    """

    name: ClassVar[str] = "canonicalize"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        groups = _groups(module)
        if all(len(group) == 1 for group in groups):
            return module
        done: dict[Op, Replacement] = {}
        for group in groups:
            one = with_inputs(group[0], done)
            if not isinstance(one, Op):
                continue
            if len(group) > 1:
                caps = {cap for op in group for cap in op.caps}
                one = replaced(one, meta=_joined(group), caps=tuple(sorted(caps)))
                context.trace.append(Applied(self.name, f"{len(group)} x {summary(group[0])}", summary(one)))
            for op in group:
                if op is not one:
                    done[op] = one
        return Module({name: mapped(value, done) for name, value in module.outputs.items()}, module.platform)


def _groups(module: Module) -> list[list[Op]]:
    """Equal operations, in the order of the definition.

    With several results, operations are grouped only if the same results need them, and need them in the same
    order: otherwise one result would speak of places that only another one has.
    """
    ops = module.ops()
    for op in ops:
        wire(op)
    orders = [{op: at for at, op in enumerate(walk([value]))} for value in module.outputs.values() if value is not None]
    groups: dict[tuple[object, ...], list[Op]] = {}
    for op in ops:
        needed_by = tuple(op in order for order in orders)
        groups.setdefault((wire(op)[0], needed_by), []).append(op)
    out = []
    for group in groups.values():
        relevant = [order for order in orders if group[0] in order]
        if all(order[a] < order[b] for order in relevant for a, b in pairwise(group)):
            out.append(group)
        else:
            out += [[op] for op in group]
    return sorted(out, key=lambda group: ops.index(group[0])) if len(orders) > 1 else out


def _joined(group: list[Op]) -> OpMeta:
    metas = [op.meta for op in group]
    exported = [m.export_cache for m in metas if m.export_cache is not None]
    grouped = [m.progress_group for m in metas if m.progress_group is not None]
    limited = [m.resources for m in metas if m.resources is not None]
    return OpMeta(
        description={key: value for m in metas for key, value in m.description.items()},
        locations=[place for m in metas for place in m.locations],
        ignore_cache=any(m.ignore_cache for m in metas),
        export_cache=exported[-1] if exported else None,
        progress_group=grouped[-1] if grouped else None,
        resources=limited[-1] if limited else None,
    )
