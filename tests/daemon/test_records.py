"""Records of builds, as they are shown to whoever asks."""

from __future__ import annotations

import asyncio
import base64
import json

from dockc.daemon.builds import Builds
from dockc.rpc.pb import control_pb2
from dockc.runtime.exporter.export import Exported
from dockc.runtime.exporter.options import Output


def test_a_record_does_not_tell_what_the_context_s_url_carries() -> None:
    async def begin() -> control_pb2.BuildHistoryRecord:
        builds = Builds()
        attrs = {"context": "https://user:hunter2@host/r.git", "build-arg:URL": "https://host/x?token=hunter2", "target": "a"}
        build = builds.begin(control_pb2.SolveRequest(Ref="one", Frontend="dockerfile.v0", FrontendAttrs=attrs))
        assert dict(build.request.FrontendAttrs) == attrs  # the build itself needs it
        found = builds._entries["one"].told()
        assert found is not None
        return found

    record = asyncio.run(begin())
    assert dict(record.FrontendAttrs) == {"context": "https://xxxxx:xxxxx@host/r.git", "build-arg:URL": "https://host/x?token=xxxxx", "target": "a"}
    assert b"hunter2" not in record.SerializeToString()


def test_the_graph_of_nothing_is_a_graph() -> None:
    """A client that asks for the empty file system sends a definition without operations; it drives nothing itself."""
    assert control_pb2.SolveRequest.FromString(b"\x12\x00").HasField("Definition")
    assert not control_pb2.SolveRequest.FromString(b"").HasField("Definition")


def test_the_record_names_the_images() -> None:
    async def main() -> control_pb2.BuildHistoryRecord:
        builds = Builds()
        build = builds.begin(control_pb2.SolveRequest(Ref="one"))
        told = {"mediaType": "a/b", "digest": "sha256:x", "size": 5, "annotations": {"k": "v"}}
        text = base64.b64encode(json.dumps(told).encode()).decode()
        image = Exported(Output("image"), {"containerimage.descriptor": text})
        builds.made(build, (Exported(Output("local", "x")), image, Exported(Output("image")), image))
        request = control_pb2.BuildHistoryRequest(EarlyExit=True)
        (record,) = [event.record async for event in builds.listen(request)]
        return record

    record = asyncio.run(main())
    assert sorted(record.Result.Results) == [1, 3]
    first = record.Result.Results[1]
    assert (first.media_type, first.digest, first.size, dict(first.annotations)) == ("a/b", "sha256:x", 5, {"k": "v"})
    assert record.Result.ResultDeprecated == first
