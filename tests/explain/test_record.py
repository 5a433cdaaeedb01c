"""Build records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.engine.record import Recorder, VertexRecord, read_record, sizes_of
from dockc.errors import UsageError
from dockc.llb.pb import ops_pb2
from dockc.solver.progress import SolveStatus, VertexEvent
from dockc.solver.vertex import Vertex


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    seen: list[SolveStatus] = []
    recorder = Recorder(seen.append, str)
    recorder(SolveStatus(vertexes=(VertexEvent("sha256:a", "one"), VertexEvent("sha256:b", "two", cached=True, started=1, completed=2))))
    recorder(SolveStatus(vertexes=(VertexEvent("sha256:a", "one", started=5),)))
    recorder(SolveStatus(vertexes=(VertexEvent("sha256:a", "one", started=5, completed=2_000_000_005),)))
    stored = [("made", 1, 10), ("made", 3, 30), ("made", 2, 20), ("other", 9, 9)]
    recorder.measure(sizes_of(stored, [Vertex("sha256:a", ops_pb2.Op(file=ops_pb2.FileOp()), name="made")]))
    recorder.write(tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == (
        VertexRecord("sha256:a", "one", 5, 2_000_000_005, size=30),
        VertexRecord("sha256:b", "two", 1, 2, cached=True),
    )
    assert recorder.steps[0].seconds == 2.0
    assert len(seen) == 3, "everything is handed on"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", json.dumps({"version": 2}), json.dumps({"version": 1, "vertices": 3}),
     json.dumps({"version": 1, "vertices": [{"digest": 1}]}), "[" * 100_000],
)  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"no build record"):
        read_record(path)


def test_a_missing_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_record(tmp_path / "none.json")
