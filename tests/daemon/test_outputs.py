"""Outputs that a client names when the result is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from dockc import llb
from dockc.daemon.outputs import SessionOutputs
from dockc.daemon.sessions import Caller
from dockc.engine.bridge import Bridge, Result
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.request import BuildRequest
from dockc.errors import DockcError
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import UNAVAILABLE, UNIMPLEMENTED, UNKNOWN, RpcError
from dockc.runtime.exporter.options import Output, make_output
from dockc.runtime.session.base import Session
from tests.tools import need_root


class Client:
    """Answers with what it was given, or fails with it."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, list[Any]()

    async def unary(self, path: str, request: Any, _: object) -> Any:
        self.asked.append((path.rpartition("/")[2], request))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def outputs(client: Client, gateway: object = None) -> SessionOutputs:
    return SessionOutputs(cast(Caller, client), lambda: cast(Any, gateway), lambda kind, attrs: make_output(kind, "x", attrs))


class Names:
    def name(self, ref: object) -> str:
        return f"id-{ref}"


def test_a_client_names_outputs_and_is_told() -> None:
    found = session_pb2.ExporterRequest
    client = Client(session_pb2.FindExportersResponse(exporters=[found(Type="oci", Attrs={"compression": "zstd"})]))
    result = Result(cast(Any, {"linux/amd64": "one", "linux/arm64": None}), {"key": b"value"})
    (made,) = asyncio.run(outputs(client, Names()).find(result))
    assert (made.type, made.image.compression.name) == ("oci", "zstd")
    ((name, request),) = client.asked
    assert (name, list(request.refs), dict(request.metadata)) == ("FindExporters", ["id-one"], {"key": b"value"})
    client.answer = session_pb2.FinalizeExportResponse()
    asyncio.run(outputs(client).made({"a": "b"}))
    assert dict(client.asked[-1][1].exporter_response) == {"a": "b"}


def test_clients_that_do_not_want_to_know() -> None:
    for code in (UNAVAILABLE, UNIMPLEMENTED):
        one = outputs(Client(RpcError("no", code=code)))
        assert asyncio.run(one.find(Result())) == ()
        asyncio.run(one.made({}))
    one = outputs(Client(RpcError("broken", code=UNKNOWN)))
    for call in (one.find(Result()), one.made({})):
        with pytest.raises(DockcError, match="broken"):
            asyncio.run(call)


def test_a_build_makes_them_too(tmp_path: Path) -> None:
    need_root()
    told: list[Mapping[str, str]] = []

    class More:
        async def find(self, result: Any) -> Sequence[Output]:
            assert list(result.metadata) == ["said"]
            return (make_output("local", str(tmp_path / "out"), {}), make_output("oci", str(tmp_path / "o.tar"), {}))

        async def made(self, response: Mapping[str, str]) -> None:
            told.append(response)

    async def frontend(bridge: Bridge) -> Result:
        result = await bridge.solve(llb.scratch().file(llb.mkfile("/a", b"x")).marshal())
        return Result(result.refs, {"said": b"1"})

    async def main() -> None:
        request = BuildRequest(outputs=(make_output("cacheonly", "", {}),))
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
            await engine.run(frontend, request, Session(outputs=More()), lambda status: None)

    asyncio.run(main())
    assert (tmp_path / "out" / "a").read_text() == "x"
    assert "containerimage.digest" in told[0]
    assert (tmp_path / "o.tar").stat().st_size
