"""Records of builds, as they are shown to whoever asks."""

from __future__ import annotations

import asyncio

from dockc.daemon.builds import Builds
from dockc.rpc.pb import control_pb2


def test_a_record_does_not_tell_what_the_context_s_url_carries() -> None:
    async def begin() -> control_pb2.BuildHistoryRecord:
        builds = Builds()
        attrs = {"context": "https://user:hunter2@host/r.git", "build-arg:URL": "https://host/x?token=hunter2", "target": "a"}
        build = builds.begin(control_pb2.SolveRequest(Ref="one", Frontend="dockerfile.v0", FrontendAttrs=attrs))
        assert dict(build.request.FrontendAttrs) == attrs  # the build itself needs it
        return builds._records["one"]

    record = asyncio.run(begin())
    assert dict(record.FrontendAttrs) == {"context": "https://user:xxxxx@host/r.git", "build-arg:URL": "https://host/x?token=xxxxx", "target": "a"}
    assert b"hunter2" not in record.SerializeToString()


def test_the_graph_of_nothing_is_a_graph() -> None:
    """A client that asks for the empty file system sends a definition without operations; it drives nothing itself."""
    assert control_pb2.SolveRequest.FromString(b"\x12\x00").HasField("Definition")
    assert not control_pb2.SolveRequest.FromString(b"").HasField("Definition")
