"""The messages that are checked in are those that `proto/` makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dockc.rpc.pb import common_pb2, control_pb2, gateway_pb2

TOOL = Path(__file__).resolve().parents[2] / "tools/messages.py"


def test_the_messages_are_what_proto_makes() -> None:
    """Those of LLB, too."""
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_graphs_inside_of_messages_are_bytes() -> None:
    # On the wire a field of bytes is what a field of a message is; only the decoder of LLB reads them.
    graph = b"\x0a\x03abc"
    assert (
        control_pb2.SolveRequest.FromString(control_pb2.SolveRequest(Definition=graph).SerializeToString()).Definition
        == graph
    )
    assert gateway_pb2.SolveRequest(Definition=graph).SerializeToString() == b"\x0a\x05" + graph


def test_names_are_ours_and_numbers_are_the_protocols() -> None:
    record = common_pb2.WorkerRecord(
        ID="w", Labels={"a": "b"}, platforms=[common_pb2.Platform(Architecture="amd64", OS="linux")]
    )
    assert record.SerializeToString() == b"\n\x01w\x12\x06\n\x01a\x12\x01b\x1a\x0e\n\x05amd64\x12\x05linux"
    assert common_pb2.Status.DESCRIPTOR.full_name == "dockc.rpc.common.Status"
