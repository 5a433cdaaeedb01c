"""What a failed step leaves: whoever drives a build may look into it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from dockc import llb
from dockc.engine.bridge import Bridge, Result
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.gateway import Gateway, answers, own_workers
from dockc.engine.request import BuildRequest
from dockc.llb.definition import Definition
from dockc.llb.pb import ops_pb2
from dockc.protocol.errors import SOLVE, to_rpc
from dockc.protocol.names import BRIDGE
from dockc.rpc.calls import Channel
from dockc.rpc.pb import gateway_pb2
from dockc.rpc.status import RpcError
from dockc.rpc.transports import on_descriptors
from dockc.runtime.exporter.options import Output
from dockc.runtime.session.base import Session
from tests.tools import busybox, need_root


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()



def failed(folder: Path, definition: Definition, *, keeps: bool = True) -> list[dict[str, str]]:
    """The files of what a failed step left, for each of its mounts; the first are its inputs."""
    found: list[dict[str, str]] = []

    async def story(client: Channel) -> None:
        request = gateway_pb2.SolveRequest(Definition=definition.to_bytes(), allowResultReturn=True, Evaluate=True)
        with pytest.raises(RpcError) as caught:
            await client.unary(BRIDGE + "Solve", request.SerializeToString())
        told = [json.loads(value) for url, value in caught.value.details if url == SOLVE]
        if not keeps:
            assert told == []
            return
        (one,) = told
        found.append({"op": next(iter(set(one["op"]) & {"exec", "file"})), **{k: str(v) for k, v in one.items() if k in {"file", "cache"}}})
        for number, key in enumerate((*one["inputIDs"], "", *one["mountIDs"])):
            found.append(await files(client, key, str(number)) if key else {})

    async def frontend(bridge: Bridge) -> Result:
        gateway = Gateway(bridge, own_workers())

        async def mine(_: object) -> Gateway:
            return gateway

        one, two = os.pipe(), os.pipe()
        server = await on_descriptors(one[0], two[1], answers(mine), explain=to_rpc)
        client = await on_descriptors(two[0], one[1])
        try:
            await story(client)
        finally:
            await gateway.close()
            client.shut()
            server.shut()
        return Result({"": None})

    async def main() -> None:
        request = BuildRequest(outputs=(Output("cacheonly"),))
        async with asyncio.timeout(100), Engine(EngineOptions(root=folder / "store")) as engine:
            await engine.run(frontend, request, Session(keeps_failures=keeps), lambda status: None)
            assert engine.work.worker.refs.prune() is not None  # nothing is held any more
            assert not list(engine.work.worker.refs.usage())

    asyncio.run(main())
    return found


async def files(client: Channel, key: str, name: str) -> dict[str, str]:
    """Files at the top of a ref, by a container that has it mounted."""
    mount = ops_pb2.Mount(dest="/", resultID=key, output=-1)
    made = gateway_pb2.NewContainerRequest(ContainerID=name, Mounts=[mount.SerializeToString()])
    await client.unary(BRIDGE + "NewContainer", made.SerializeToString())
    asked = gateway_pb2.ReadDirRequest(Ref=name, DirPath="/")
    listed = gateway_pb2.ReadDirResponse.FromString(await client.unary(BRIDGE + "ReadDirContainer", asked.SerializeToString()))
    found = {}
    for path in (os.fsdecode(one.path) for one in listed.entries):
        if path.endswith(".txt"):
            read = gateway_pb2.ReadFileRequest(Ref=name, FilePath=path)
            data = await client.unary(BRIDGE + "ReadFileContainer", read.SerializeToString())
            found[path] = gateway_pb2.ReadFileResponse.FromString(data).Data.decode()
    await client.unary(BRIDGE + "ReleaseContainer", gateway_pb2.ReleaseContainerRequest(ContainerID=name).SerializeToString())
    return found


def test_a_process_that_fails(tmp_path: Path) -> None:
    root = llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/sh", busybox().read_bytes(), 0o755))
    given = llb.scratch().file(llb.mkfile("/given.txt", b"g"))
    mounts = [llb.mount("/empty"), llb.mount("/given", given), llb.mount("/read", given, readonly=True)]
    script = "echo -n r > /r.txt; echo -n e > /empty/e.txt; echo -n w > /given/w.txt; exit 3"
    ran = root.run("/bin/sh", "-c", script, mounts=mounts)
    op, *found = failed(tmp_path, ran.marshal())
    assert op == {"op": "exec"}
    held = {"given.txt": "g"}
    assert found[:5] == [{}, {}, held, held, {}]
    assert found[5:] == [{"r.txt": "r"}, {"e.txt": "e"}, {**held, "w.txt": "w"}, held]
    # Who cannot look is not burdened with it.
    assert failed(tmp_path, ran.marshal(), keeps=False) == []


def test_actions_on_files_that_fail(tmp_path: Path) -> None:
    made = llb.scratch().file(llb.mkfile("/a.txt", b"a"), llb.mkfile("/b.txt", b"b"), llb.mkfile("/absent/c.txt", b"c"), llb.mkfile("/d.txt", b"d"))
    op, *found = failed(tmp_path, made.marshal())
    assert op == {"op": "file", "file": "{'index': '2'}"}
    assert found == [{}, {}, {}, {"a.txt": "a", "b.txt": "b"}, {}]


def test_content_that_is_not_there(tmp_path: Path) -> None:
    source = llb.scratch().file(llb.mkfile("/a.txt", b"a"))
    root = llb.scratch().file(llb.mkfile("/x.txt", b"x"))
    op, *found = failed(tmp_path, root.file(llb.copy(source, "/absent", "/")).marshal())
    assert op == {"op": "file", "cache": "{'index': '1'}"}
    assert found == [{"a.txt": "a"}, {}]
