"""IR to LLB: the bytes of each operation, their order, their metadata and the source map."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.ir.module import Module
    from dockc.llb.definition import Definition


def emit(module: Module, output: str = "") -> Definition:
    """The definition of one output of `module`; an empty one if that output is an empty file system.

    The bytes are those that BuildKit's own client gives for the same graph: operations in depth-first
    post-order, each once; metadata of equal operations merged in the order in which they are visited;
    progress groups numbered `pg-0`, `pg-1`, ... in the order of the operations.

    Raises:
        CompileError: an operation reads a value that was never defined.
    """
    raise NotImplementedError(output)
