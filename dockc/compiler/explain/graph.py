"""The build graph of a Dockerfile as a picture wants it: stages as lanes, operations as nodes, who reads whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.base.pattern import pattern
from dockc.base.record import Record, replace
from dockc.compiler.explain.trace import Lines, op_lines, stage_index
from dockc.compiler.ir import ops as ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dockc.compiler.explain.trace import Trace


_DIGEST = pattern(r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}")


class Lane(Record):
    """A stage, or (`line` 0) the sources that belong to none.

    Attributes:
        title: name or number, and base.
        needed: the target needs it; an unneeded stage has no nodes.
        result: the target is this stage.
    """

    title: str
    line: int
    needed: bool = True
    result: bool = False


class Node(Record):
    """An operation.

    Attributes:
        digest: of the LLB vertex.
        kind: `source`, `exec`, `file`, `merge`, `diff`.
        label: its name without the step's number.
        name: its full name.
        lane: index of its lane; lines: where it is written, or None.
        inputs: indices of the nodes it reads, each once.
        output: it is the image's file system.
        local: it is a directory of the user.
    """

    digest: str
    kind: str
    label: str
    name: str
    lane: int
    lines: Lines | None
    inputs: tuple[int, ...]
    output: bool = False
    local: bool = False


class Graph(Record):
    """A picture's content. Nodes come after those they read.

    Attributes:
        filename, text: the Dockerfile.
    """

    filename: str
    text: str
    lanes: tuple[Lane, ...]
    nodes: tuple[Node, ...]


def make_graph(found: Trace, digest: Callable[[ir.Op], str], text: str, filename: str) -> Graph:
    """The graph of a compilation.

    Args:
        found: the compilation.
        digest: of an operation, asked for in the order of the graph.
        text, filename: of the Dockerfile.
    """
    dockerfile = found.dockerfile
    lanes = [Lane("sources", 0)]
    for index, stage in enumerate(dockerfile.stages):
        base = stage.base.text
        if "$" in base:
            base = found.lowered.stages[index].base_name.partition("@")[0] or base
        title = _DIGEST.sub(r"\1…", f"{stage.name or f'stage {index}'}: FROM {base}")
        state = found.lowered.stages[index]
        lanes.append(Lane(title, stage.lines[0], state.dispatched, state is found.lowered.target))
    numbers: dict[str, int] = {}
    nodes: list[Node] = []
    result = found.module.result
    for op in found.module.ops():
        name = digest(op)
        if name in numbers:
            continue  # written twice, built once
        numbers[name] = len(nodes)
        lines = op_lines(op)
        lane = 1 + stage_index(dockerfile, lines[0]) if lines else 0
        inputs = tuple(dict.fromkeys(numbers[digest(value.op)] for value in op.inputs()))
        output = result is not None and op is result.op
        local = isinstance(op, ir.SourceOp) and op.identifier.startswith("local://")
        nodes.append(Node(name, op.KIND, _label(op), op.meta.name, lane, lines, inputs, output, local))
    return Graph(filename, text, tuple(lanes), tuple(_at_home(nodes)))


def _at_home(nodes: list[Node]) -> Iterator[Node]:
    """A source that only one stage reads stands in that stage, but for the user's own directories."""
    readers: dict[int, set[int]] = {}
    for node in nodes:
        for source in node.inputs:
            readers.setdefault(source, set()).add(node.lane)
    for i, node in enumerate(nodes):
        lanes = readers.get(i, set())
        if node.lane == 0 and len(lanes) == 1 and not node.local:
            node = replace(node, lane=min(lanes))
        yield node


def _label(op: ir.Op) -> str:
    name = _DIGEST.sub(r"\1…", " ".join(op.meta.name.split()))
    if isinstance(op, ir.SourceOp) and not name:
        return op.identifier
    if name.startswith("["):
        return name.partition("] ")[2] or name
    return name or op.KIND
