"""Pages about builds of the history: `dockc build --report` and `dockc history open`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.compiler.explain.graph import Graph, Lane, Node
from dockc.console.report import Report, ReportStep, report_page, rows_of
from dockc.engine import history
from dockc.oci.keys import DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dockc.engine.history import BuildRecord
    from dockc.engine.told import Step, Told

_GRAPH = 2000
"""Operations of which a graph is made at all."""


def report_of(record: BuildRecord) -> str:
    """The page of a build.

    Raises:
        StoreError: its record cannot be read.
    """
    told = history.told_of(record)
    logs = rows_of(lines_of(record))
    inputs = history.inputs_of(record)
    steps = []
    for one in history.steps_of(record):
        step, key = one.step, told.steps.get(one.step.digest)
        steps.append(
            ReportStep(
                number=one.number,
                digest=step.digest,
                name=step.name,
                started=step.started,
                completed=step.completed,
                cached=step.cached,
                error=step.error,
                size=step.size,
                inputs=inputs.get(step.digest, ()),
                line=key.line if key is not None else 0,
                why=key.why if key is not None else None,
                logs=logs.get(step.digest),
            )
        )
    filename = str(record.options.get("file") or "Dockerfile").rpartition("/")[2]
    text = history.dockerfile(record)
    return report_page(
        Report(
            ref=record.ref,
            name=name_of(record),
            status=record.status,
            began=record.began,
            ended=record.ended,
            executed=record.executed,
            cached=record.cached,
            facts=tuple(facts_of(record)),
            steps=tuple(steps),
            filename=filename,
            dockerfile=text,
            graph=graph_of(told, text, filename),
        )
    )


def lines_of(record: BuildRecord, only: str = "") -> Iterator[tuple[str, bytes]]:
    """Steps' digests and lines with their ends; a step's last may have none.

    Raises:
        StoreError: the record cannot be read.
    """
    rests: dict[str, list[bytes]] = {}
    for digest, data in history.logs(record):
        if only and digest != only:
            continue
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield digest, b"".join((*rests.pop(digest, ()), line, b"\n"))
        if rest:
            rests.setdefault(digest, []).append(rest)
    for digest, parts in rests.items():
        yield digest, b"".join(parts)


def name_of(record: BuildRecord) -> str:
    """What a build is called in a list: its image's name, else its context, and its Dockerfile if one was named."""
    names = record.options.get("names")
    if isinstance(names, list) and names:
        return ", ".join(map(str, names))
    context, file = (str(record.options.get(key, "")) for key in ("context", "file"))
    return f"{context} ({file.removeprefix(context.rstrip('/') + '/')})" if file else context


def facts_of(record: BuildRecord) -> Iterator[tuple[str, str]]:
    """What was asked for and what came of it, as names and texts."""
    yield "Ref", record.ref
    yield "Status", f"{record.status}: {record.error}" if record.error else record.status
    for key, value in record.options.items():
        if value not in ("", [], {}, False):
            yield f"Option {key}", text_of(value)
    for key, value in record.results.items():
        if key != DESCRIPTOR:  # base64 of JSON, in which the digest stands once more
            yield f"Result {key}", value
    if record.left_out:
        yield "Left out", f"{record.left_out} bytes of logs"


def text_of(value: object) -> str:
    """An option of any kind as a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(text_of(one) for one in value)
    return str(value)


def graph_of(told: Told, text: str, filename: str) -> Graph | None:
    """The graph of a build's steps, in a lane for each stage; None where nobody knows it, or it is too large."""
    steps = list(told.steps.values())
    if not steps or len(steps) > _GRAPH:
        return None
    lanes = [Lane("sources", 0)]
    by_stage: dict[str, int] = {}
    numbers: dict[str, int] = {}
    read = {one.vertex for step in steps for one in step.key.inputs}
    nodes: list[Node] = []
    for step in steps:
        stage, at = step.place
        lane = by_stage.get(stage, 0) if at else 0
        if at and stage not in by_stage:
            lane = by_stage[stage] = len(lanes)
            lanes.append(Lane(stage or "stage", step.line))
        numbers[step.key.vertex] = len(nodes)
        nodes.append(_node(step, lane, numbers, output=step.key.vertex not in read))
    return Graph(filename, text, tuple(lanes), tuple(nodes))


def _node(step: Step, lane: int, numbers: Mapping[str, int], *, output: bool) -> Node:
    inputs = tuple(dict.fromkeys(numbers[one.vertex] for one in step.key.inputs if one.vertex in numbers))
    lines = (step.line, step.line) if step.line else None
    label = step.key.name.partition("] ")[2] or step.key.name
    return Node(
        step.key.vertex, step.key.kind, label, step.key.name, lane, lines, inputs, output=output, local=step.is_local
    )
