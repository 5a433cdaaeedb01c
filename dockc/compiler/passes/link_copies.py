"""Make copies independent of what they are copied onto."""

from __future__ import annotations

from typing import ClassVar

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.compiler.ir.module import Module, ProgressGroup
from dockc.compiler.ir.ops import FileOp, MergeOp, Op, OpMeta, Value, replaced
from dockc.compiler.ir.rewrite import Facts, Replacement, Rewrite, rewrite
from dockc.compiler.passes.pipeline import PassContext
from dockc.compiler.passes.targets import independent, top_level, top_levels
from dockc.llb.caps import MERGE_OP

_PREFIX = pattern(r"(\[[^\]]*\] )?")


class LinkCopies(Record):
    """Turn a copy onto a file system into a layer of its own, laid over that file system.

    What it does: `file BASE { copy ... }` becomes `merge BASE (file scratch { copy ... })`, as `COPY --link`
    asks for by hand. When the base changes, the copy is taken from the cache, and both can be made at the same
    time.

    When it is legal: where the result is the same for every content of the inputs. A copy looks at what is
    already there: it goes through symbolic links, into existing directories, and looks up user names. So the
    base has to be made from nothing by file operations whose targets are known, every target has to have a
    top-level directory of its own, and owners have to be given by number. An image as base is never known well
    enough; `FROM scratch` with copies from other stages, the usual end of a compiled program's Dockerfile, is.

    What it changes: digests from there on; the layers hold the same files.

    Example:
        `%3 = file %2 { copy %0 "/ca.pem" "/etc/ca.pem" create-dest }` on a `%2` that only made `/app` becomes
        `%3 = file scratch { ... }` and `%4 = merge %2 %3`.
    """

    name: ClassVar[str] = "link-copies"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        return rewrite(module, RULES, context.trace)


def _link(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, FileOp)
    if op.base is None or not all(independent(a) for a in op.actions):
        return None
    taken = top_levels(op.base)
    if taken is None or any(top_level(a) in taken for a in op.actions):
        return None
    places = [f"{r[0]}:{r[1]}" for place in op.meta.locations for r in place.ranges]
    group = op.meta.progress_group or ProgressGroup(" ".join(["link", op.meta.name, *places]), op.meta.name)
    weak = ProgressGroup(group.id, group.name, weak=True)
    layer = replaced(op, base=None, meta=_said(op.meta, op.meta.name, weak))
    facts.uses[layer] = 1
    end = _PREFIX.match(op.meta.name).end()  # type: ignore[union-attr]
    name = f"{op.meta.name[:end]}LINK {op.meta.name[end:]}" if op.meta.name else "LINK"
    meta = OpMeta(
        name,
        locations=op.meta.locations,
        progress_group=group,
        export_cache=op.meta.export_cache,
    )
    return MergeOp((op.base, Value(layer)), meta=meta, filters=op.filters, caps=(MERGE_OP,))


def _said(meta: OpMeta, name: str, group: ProgressGroup) -> OpMeta:
    return OpMeta(
        name or None,
        description=meta.description,
        locations=meta.locations,
        ignore_cache=meta.ignore_cache,
        export_cache=meta.export_cache,
        progress_group=group,
    )


RULES = (Rewrite("link copies", FileOp, _link),)
