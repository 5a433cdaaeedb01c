"""Progress and errors there and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dockc.base.version import VERSION
from dockc.errors import CompileError, DockcError, ExecError, Fault, SolveError, UsageError
from dockc.protocol import errors
from dockc.protocol.errors import RemoteError, from_rpc, to_rpc
from dockc.protocol.status import from_wire, to_wire
from dockc.rpc.status import INTERNAL, INVALID_ARGUMENT, UNKNOWN, RpcError
from dockc.solver.progress import SolveStatus, SourceRange, VertexEvent, VertexLog, VertexStatus, VertexWarning
from dockc.solver.vertex import ProgressGroup

STATUS = SolveStatus(
    vertexes=(
        VertexEvent("sha256:a", "first"),
        VertexEvent(
            "sha256:b",
            "second",
            ("sha256:a",),
            1_700_000_000_123_456_789,
            0,
            True,
            "went wrong",
            ProgressGroup("g", "group", True),
        ),
    ),
    statuses=(
        VertexStatus("layer", "sha256:a", "name", 5, 10, 7, 1, None),
        VertexStatus("other", "sha256:a", completed=3),
    ),
    logs=(VertexLog("sha256:a", 2, b"\xff\x00bytes", 9),),
    warnings=(
        VertexWarning(
            "sha256:a",
            1,
            "short",
            ("detail", "more"),
            "https://x",
            "Dockerfile",
            b"FROM",
            (SourceRange((1, 0), (2, 3)),),
        ),
    ),
)


def test_progress_comes_back() -> None:
    again = from_wire(to_wire(STATUS))
    assert again.vertexes == STATUS.vertexes
    assert again.statuses == STATUS.statuses
    assert again.logs == STATUS.logs
    assert again.warnings == STATUS.warnings


def test_a_time_of_zero_is_a_time() -> None:
    wire = to_wire(SolveStatus(vertexes=(VertexEvent("d", "n", started=0),)))
    assert wire.vertexes[0].HasField("started")
    assert not wire.vertexes[0].HasField("completed")


def test_names_that_are_no_text_travel() -> None:
    assert from_wire(to_wire(SolveStatus(vertexes=(VertexEvent("d", "COPY \udcff /"),)))).vertexes[0].name == "COPY ? /"


def test_an_error_brings_its_lines_and_its_step() -> None:
    error = SolveError("process failed", vertex="sha256:a")
    error.places = (("Dockerfile", "FROM a\nRUN b\n", ((2, 2),)),)  # type: ignore[attr-defined]
    told = to_rpc(error)
    assert told.code == UNKNOWN
    back = from_rpc(told)
    assert (back.message, back.vertex, back.places) == (
        "process failed",
        "sha256:a",
        (("Dockerfile", "FROM a\nRUN b\n", ((2, 2),)),),
    )
    # Passed on, it is what it was.
    assert to_rpc(back).details == told.details


def test_an_error_of_the_compiler_brings_its_lines() -> None:
    error = CompileError("unknown instruction", fault=Fault("unknown-instruction"), locations=(((3, 4),),))
    error.source = ("Dockerfile", "a\nb\nc\nd\n")
    assert from_rpc(to_rpc(error)).places == (("Dockerfile", "a\nb\nc\nd\n", ((3, 4),)),)


def test_details_are_what_other_clients_read() -> None:
    error = ExecError("exit code: 7", exit_status=7, vertex="sha256:a")
    told = dict(to_rpc(error).details)
    assert json.loads(told["github.com/moby/buildkit/errdefs.Vertex+json"]) == {"digest": "sha256:a"}
    value = json.loads(errors.source_detail("Dockerfile", "FROM x\n", ((1, 1),)))
    assert value["info"]["filename"] == "Dockerfile"
    assert value["info"]["data"] == "RlJPTSB4Cg=="
    assert value["ranges"] == [{"start": {"line": 1}, "end": {"line": 1}}]


def _read_it(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SolveError("cannot read it", vertex="sha256:a") from exc


def test_an_error_says_where_it_was_raised_and_not_with_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/dockcd", "--token=secret"])
    with pytest.raises(SolveError) as caught:
        _read_it(tmp_path / "secret")
    details = to_rpc(caught.value).details
    cause, error = (json.loads(value) for url, value in details if url == "github.com/moby/buildkit/stack.Stack+json")
    assert error["cmdline"] == ["dockcd"]
    assert error["pid"] == os.getpid()
    assert error["version"] == VERSION
    assert error["frames"][0]["Name"] == f"{__name__}._read_it"  # innermost first
    assert error["frames"][0]["File"] == "tests/protocol/test_status.py"
    assert error["frames"][1]["Name"] == f"{__name__}.test_an_error_says_where_it_was_raised_and_not_with_what"
    assert error["frames"][0]["Line"] == cause["frames"][-1]["Line"] + 2
    assert cause["frames"][0]["File"] == "pathlib.py" or cause["frames"][0]["File"].startswith("pathlib/")
    assert b"secret" not in b"".join(value for _, value in details)


def test_stacks_are_short_however_long_the_story() -> None:
    error: Exception = DockcError("0")
    for number in range(50):
        try:
            deep(number * 10, error)
        except DockcError as exc:
            error = exc
    stacks = [value for url, value in to_rpc(error).details if url.endswith("stack.Stack+json")]
    assert len(stacks) == 4
    assert sum(map(len, stacks)) < 20_000
    error.__cause__ = error  # a story that begins with its end
    assert len([url for url, _ in to_rpc(error).details if url.endswith("stack.Stack+json")]) == 1


def deep(levels: int, cause: Exception) -> None:
    if levels:
        deep(levels - 1, cause)
    raise DockcError("deep") from cause


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("x"), INVALID_ARGUMENT), (DockcError("x"), UNKNOWN), (KeyError("secret"), INTERNAL)]
)
def test_codes(error: Exception, code: int) -> None:
    told = to_rpc(error)
    assert told.code == code
    assert "secret" not in told.message


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"info": 3}',
        b'{"info": {"data": 5}, "ranges": [1]}',
        b'{"info": {"data": "!"}, "ranges": [{"start": {"line": "x"}}]}',
    ],
)
def test_details_that_are_nonsense_do_no_harm(value: bytes) -> None:
    kinds = ("github.com/moby/buildkit/errdefs.Source+json", "github.com/moby/buildkit/errdefs.Vertex+json", "unknown")
    back = from_rpc(RpcError("m", code=2, details=[(kind, value) for kind in kinds]))
    assert isinstance(back, RemoteError)
    assert back.message == "m"
