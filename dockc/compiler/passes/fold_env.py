"""Fold the constant environment of execs."""

from __future__ import annotations

from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import ExecOp, Op, replaced
from dockc.compiler.ir.rewrite import Facts, Replacement, Rewrite, rewrite
from dockc.compiler.passes.pipeline import PassContext
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.llb.caps import EXEC_META_SETS_DEFAULT_PATH


class FoldEnv(Record):
    """Bring the environment of every exec into its shortest form, so that more of them are equal.

    What it does: of a variable that is set more than once, only the last value stays; `PATH` goes where it has
    the value that the daemon gives it anyhow.

    When it is legal: a process sees the same value of every variable. `PATH` is dropped only for Linux, and
    only where the operation says that the daemon sets it (capability `exec.meta.setsdefaultpath`). The order in
    which a program lists its environment may change.

    What it changes: digests of the execs touched and of what is above them. A command on an image that spells
    out the default `PATH` then equals the same command on one that does not.

    Example:
        `env "A=1"`, `env "PATH=/usr/local/sbin:..."`, `env "A=2"` become `env "A=2"`.
    """

    name: ClassVar[str] = "fold-env"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        return rewrite(module, RULES, context.trace)


def _fold(op: Op, facts: Facts) -> Replacement | None:
    assert isinstance(op, ExecOp)
    last = {entry.partition("=")[0]: at for at, entry in enumerate(op.env)}
    kept = [entry for at, entry in enumerate(op.env) if last[entry.partition("=")[0]] == at]
    if EXEC_META_SETS_DEFAULT_PATH in op.caps and op.platform is not None and op.platform.os == "linux":
        kept = [entry for entry in kept if entry != f"PATH={DEFAULT_PATH}"]
    return None if len(kept) == len(op.env) else replaced(op, env=tuple(kept))


RULES = (Rewrite("fold environment", ExecOp, _fold),)
