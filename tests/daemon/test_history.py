"""The daemon's history: what is shown to whom, what is kept, and what a daemon that is killed has left."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dockc.daemon import config
from dockc.daemon.builds import Build, Builds
from dockc.daemon.control import Control
from dockc.daemon.historyfilter import matcher
from dockc.daemon.tracing import Tracing
from dockc.engine import history, wirehistory
from dockc.engine import recording as recordings
from dockc.engine.keep import Keep
from dockc.errors import UsageError
from dockc.oci import digest as digests
from dockc.protocol.status import from_wire
from dockc.rpc.pb import common_pb2, control_pb2
from dockc.rpc.status import CANCELLED, RpcError
from dockc.runtime.exporter.export import Exported
from dockc.runtime.exporter.options import Output
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog

ATTRS = {"context": "https://u:hunter2@h/r.git", "build-arg:A": "1", "build-arg:MY_TOKEN": "hunter2", "target": "t"}
IMPORTS = '[{"Type": "gha", "Attrs": {"token": "hunter2", "scope": "s"}}, {"Type": "registry", "Attrs": {"ref": "r"}}]'


async def built(builds: Builds, ref: str, *, error: RpcError | None = None, text: bytes = b"said\n") -> Build:
    exporter = control_pb2.Exporter(Type="image", Attrs={"name": "n", "token": "hunter2"})
    request = control_pb2.SolveRequest(
        Ref=ref, Frontend="dockerfile.v0", FrontendAttrs={**ATTRS, "cache-imports": IMPORTS}, Exporters=[exporter]
    )
    build = builds.begin(request)
    build.sink(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN hunter2", ("sha256:b",), 1),)))
    build.sink(SolveStatus(logs=(VertexLog("sha256:a", 2, text, 7),)))
    build.sink(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN hunter2", ("sha256:b",), 1, 9),)))
    await builds.end(build, {"containerimage.digest": "sha256:x"}, error, error)
    return build


async def listed(builds: Builds, **asked: object) -> list[control_pb2.BuildHistoryRecord]:
    request = control_pb2.BuildHistoryRequest(EarlyExit=True, **asked)  # type: ignore[arg-type]
    return [event.record async for event in builds.listen(request)]


async def all_of(parts: AsyncIterator[SolveStatus]) -> tuple[list[VertexEvent], bytes]:
    events: list[VertexEvent] = []
    logs = b""
    async for part in parts:
        events += part.vertexes
        logs += b"".join(log.data for log in part.logs)
    return events, logs


def test_the_history_outlives_the_daemon(tmp_path: Path) -> None:
    text = bytes(range(256)) * 3000

    async def first() -> control_pb2.BuildHistoryRecord:
        builds = Builds(tmp_path)
        await built(builds, "one", text=text)
        details = [("t", b"\0d https://u:hunter2@h/x"), ("errdefs.Source+json", b"excerpt")]
        await built(builds, "any/../name", error=RpcError("no https://u:hunter2@h/x", code=5, details=details))
        found = builds._entries["one"].told()
        assert found is not None
        return found

    async def second() -> None:
        builds = Builds(tmp_path)
        builds.load()
        one, other = await listed(builds)
        assert one.Ref == "one"
        assert dict(one.FrontendAttrs) == {
            "context": "https://xxxxx:xxxxx@h/r.git", "build-arg:A": "1", "build-arg:MY_TOKEN": "xxxxx", "target": "t",
            "cache-imports": '[{"Type": "gha", "Attrs": {"token": "xxxxx", "scope": "s"}}, {"Type": "registry", "Attrs": {"ref": "r"}}]',
        }  # fmt: skip
        assert [(exporter.Type, dict(exporter.Attrs)) for exporter in one.Exporters] == [("image", {"name": "n", "token": "xxxxx"})]
        assert dict(one.ExporterResponse) == {"containerimage.digest": "sha256:x"}
        assert (one.numTotalSteps, one.numCompletedSteps, one.numCachedSteps) == (1, 1, 0)
        assert not one.HasField("error")
        assert (other.Ref, other.error.code, other.error.message) == ("any/../name", 5, "no https://xxxxx:xxxxx@h/x")
        assert list(other.error.details) == []  # they are a blob, as clients look for them
        assert other.externalError.media_type == "application/vnd.googeapis.google.rpc.status+proto"
        blob = builds.blob(other.externalError.digest)
        assert blob is not None
        failure = blob.read_bytes()
        assert (len(failure), digests.from_bytes(failure)) == (other.externalError.size, other.externalError.digest)
        status = common_pb2.Status.FromString(failure)
        assert (status.code, status.message) == (5, other.error.message)
        assert [(detail.type_url, detail.value) for detail in status.details] == [
            ("t", b"\0d https://xxxxx:xxxxx@h/x"), ("errdefs.Source+json", b"excerpt"),
        ]  # fmt: skip
        assert not one.HasField("externalError")
        assert builds.blob("") is None
        events, logs = await all_of(builds.watch("one"))
        assert logs == text
        assert [(event.inputs, event.completed) for event in events] == [(("sha256:b",), None), (("sha256:b",), 9)]
        blob = builds.blob(one.logs.digest)
        assert blob is not None
        data = blob.read_bytes()
        (size,) = struct.unpack("<I", data[:4])
        message = control_pb2.StatusResponse.FromString(data[4 : 4 + size])
        assert from_wire(message).vertexes[0].digest == "sha256:a"
        builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="any/../name", Delete=True))
        builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="one", Pinned=True))
        assert await listed(builds, Ref="any/../name") == []
        assert not list((tmp_path / "history").glob("*.error"))

    known = asyncio.run(first())
    assert known.logs.media_type == "application/vnd.buildkit.status.v0"
    asyncio.run(second())
    builds = Builds(tmp_path)
    builds.load()
    assert [(ref, one.pinned) for ref, one in builds._entries.items()] == [("one", True)]
    assert builds.blob(known.logs.digest) is not None
    assert all(b"hunter2" not in path.read_bytes() for path in (tmp_path / "history").iterdir())


def test_records_of_old_builds_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients see the same whether a record is in memory, is read again, or is read by the next daemon."""
    monkeypatch.setattr("dockc.daemon.builds._KEEP", 2)
    text = base64.b64encode(json.dumps({"mediaType": "a/b", "digest": "sha256:i", "size": 5, "annotations": {"k": "v"}}).encode()).decode()

    async def run() -> tuple[list[bytes], list[bytes]]:
        builds = Builds(tmp_path)
        fresh = []
        for number in range(5):
            error = RpcError("no", code=5, details=[("t", b"d")]) if number == 1 else None
            build = builds.begin(control_pb2.SolveRequest(Ref=f"b{number}", Frontend="dockerfile.v0", FrontendAttrs=ATTRS))
            build.sink(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN", (), 1, 9),)))
            builds.made(build, (Exported(Output("image"), {"containerimage.descriptor": text}),))
            await builds.end(build, {"containerimage.digest": "sha256:x"}, error, error)
            assert await builds.keep_trace(build.ref, b"{}\n", "sha256:t", 3)
            fresh.append(seen((await listed(builds, Ref=build.ref))[0]))
        assert [one.record is not None for one in builds._entries.values()] == [False, False, False, True, True]
        limited = await listed(builds, Limit=2)
        assert [one.Ref for one in limited] == ["b4", "b3"]
        assert builds.blob("sha256:t") is not None
        return fresh, [seen(one) for one in await listed(builds)]

    fresh, later = asyncio.run(run())
    assert later == fresh
    builds = Builds(tmp_path)
    builds.load()
    assert all(one.record is None for one in builds._entries.values())
    assert [seen(one) for one in asyncio.run(listed(builds))] == fresh
    builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="b0", Delete=True))
    assert not list((tmp_path / "history").glob("*-b0.*"))


def seen(record: control_pb2.BuildHistoryRecord) -> bytes:
    """A record less the moments, which the history has from its own clock."""
    copy = control_pb2.BuildHistoryRecord()
    copy.CopyFrom(record)
    copy.ClearField("CreatedAt")
    copy.ClearField("CompletedAt")
    return copy.SerializeToString(deterministic=True)


def test_what_lies_beside_a_record_counts(tmp_path: Path) -> None:
    async def run() -> tuple[str, ...]:
        builds = Builds(tmp_path)
        for number in range(3):
            await built(builds, f"b{number}")
            await builds.keep_trace(f"b{number}", b"x" * 100_000, "sha256:t", 100_000)
        return history.collect(tmp_path / "history", keep=Keep(entries=100, size=250_000)).gone

    assert asyncio.run(run()) == ("b0",)


def test_a_build_of_a_killed_daemon_counts_as_canceled(tmp_path: Path) -> None:
    async def begun() -> None:
        build = Builds(tmp_path).begin(control_pb2.SolveRequest(Ref="one"))
        build.sink(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN"),)))
        assert build.recording is not None
        build.recording._put(None)  # the writer ends without a word
        build.recording._over.set()
        assert build.recording._thread is not None
        build.recording._thread.join()

    asyncio.run(begun())
    builds = Builds(tmp_path)
    builds.load()
    (record,) = asyncio.run(listed(builds))
    assert record.HasField("CompletedAt")
    assert (record.error.code, record.error.message) == (CANCELLED, "context canceled")


def test_what_is_kept(tmp_path: Path) -> None:
    async def run(keep: Keep) -> list[str]:
        builds = Builds(tmp_path, keep)
        builds.load()
        await built(builds, f"b{len(builds._entries)}")
        builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="b0", Pinned=True))
        return [one.Ref for one in await listed(builds)]

    async def go() -> list[list[str]]:
        young = Keep(entries=1, age=3600.0)
        return [await run(young), await run(young), await run(young), await run(Keep(entries=1))]

    assert asyncio.run(go()) == [["b0"], ["b0", "b1"], ["b0", "b1", "b2"], ["b0", "b3"]], "pinned, young, or the newest"
    assert [one.ref for one in history.records(tmp_path)] == ["b3", "b0"]


def test_a_build_costs_the_same_however_many_were_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a build does to the history does not depend on what is in it: calls, and looks at the directory."""
    looks: list[object] = []

    def noted(real: Callable[..., object]) -> Callable[..., object]:
        def looked(*given: object) -> object:
            looks.append(given)
            return real(*given)

        return looked

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))

    async def run() -> tuple[int, int]:
        builds = Builds(tmp_path, Keep(entries=10, age=3600.0))
        builds.load()
        begun = len(looks)
        counts = []
        for number in range(101):
            if number not in (20, 100):
                await built(builds, f"b{number}")
                continue
            counts.append(await calls_of(built(builds, f"b{number}")))
        assert len(looks) == begun
        assert len(builds._entries) == 101
        return counts[0], counts[1]

    few, many = asyncio.run(run())
    assert many < 1.2 * few + 50


async def calls_of(work: Awaitable[object]) -> int:
    """Calls of Python functions on the loop's thread until something has been awaited."""
    count = 0

    def counted(frame: object, event: str, given: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        await work
    finally:
        sys.setprofile(None)
    return count


def test_the_history_is_as_large_as_it_may_be(tmp_path: Path) -> None:
    """The oldest go; then there is room for some builds, so that not each of them looks."""

    async def run() -> None:
        builds = Builds(tmp_path, Keep(entries=1000, age=3600.0, size=200_000))
        builds.load()
        size = 0
        for number in range(30):
            await built(builds, f"b{number}", text=b"x" * 10_000)
            size = sum(path.stat().st_size for path in (tmp_path / "history").iterdir())
            assert size < 200_000
            assert builds._bytes == size
        assert [one.Ref for one in await listed(builds)] == [f"b{number}" for number in range(30 - len(builds._entries), 30)]
        assert size > 150_000
        await built(builds, "alone", text=b"x" * 250_000)
        assert [one.Ref for one in await listed(builds)] == ["alone"], "the newest stays, whatever its size"

    asyncio.run(run())


def test_names_and_pins_that_come_again_take_no_memory() -> None:
    async def run() -> None:
        builds = Builds()
        for number in range(500):
            await built(builds, "the same")
            builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="the same", Pinned=True))
            builds.update(control_pb2.UpdateBuildHistoryRequest(Ref="the same", Pinned=number % 2 == 0))
        assert len(builds._done) < 100
        assert [one.Ref for one in await listed(builds)] == ["the same"]

    asyncio.run(run())


def test_a_daemon_that_ends_gives_no_memory_back() -> None:
    """The store is closed then: who waits to give memory back of builds does not wait on."""

    async def run() -> None:
        control = object.__new__(Control)
        control.tracing, control._uncollected = Tracing(Builds().keep_trace, {}), 1  # type: ignore[arg-type]
        collecting = control._collecting = asyncio.ensure_future(control._collect())
        await asyncio.sleep(0)
        await control.close()
        assert collecting.cancelled()
        assert control._collecting is None

    asyncio.run(run())


def test_what_others_remove_is_gone(tmp_path: Path) -> None:
    """Who looks sees it; who watches all is told with the next build, who watches one hears of that one alone."""

    async def run() -> None:
        builds = Builds(tmp_path)
        for ref in ("one", "two", "three"):
            await built(builds, ref)
        all_of_them, only = (builds.listen(control_pb2.BuildHistoryRequest(Ref=ref)) for ref in ("", "four"))
        assert [(await anext(all_of_them)).record.Ref for _ in range(3)] == ["one", "two", "three"]
        waiting = asyncio.ensure_future(anext(only))
        await asyncio.sleep(0)
        history.remove(history.find(tmp_path, "one"))
        assert [one.Ref for one in await listed(builds, Ref="one")] == []
        history.remove(history.find(tmp_path, "two"))
        await built(builds, "four")
        told = [await anext(all_of_them) for _ in range(4)]
        assert [(one.type, one.record.Ref) for one in told] == [
            (control_pb2.DELETED, "one"), (control_pb2.STARTED, "four"), (control_pb2.DELETED, "two"), (control_pb2.COMPLETE, "four"),
        ]  # fmt: skip
        assert (await waiting).record.Ref == "four"
        assert list(builds._entries) == ["three", "four"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], "abc"),
        (["status==running"], "a"),
        (["status==error"], "b"),
        (["status==canceled", "status==running"], "ac"),
        (["ref~=^[bc]$,status!=error"], "c"),
        (['"ref==""b"""'], "b"),
        (["repository==https://h/r.git"], "b"),
        (["duration>=10s"], "b"),
        (["duration<10s"], "ac"),
        (["completedAt>2001-01-01T00:00:00Z"], ""),
        (["startedAt>1h"], ""),
        (["startedAt<1h,ref~=/[a-c]/,duration>=1s,ref"], "bc"),
        (["ref~=(?i)B"], "b"),
        (["nothing"], ""),
    ],
)
def test_filters(filters: list[str], found: str) -> None:
    a, b, c = (control_pb2.BuildHistoryRecord(Ref=ref) for ref in "abc")
    b.CreatedAt.seconds, b.CompletedAt.seconds, b.error.message = 5, 15, "no"
    c.CreatedAt.seconds, c.CompletedAt.seconds, c.error.message = 5, 6, "x: context canceled"
    b.FrontendAttrs["context"] = "https://h/r.git#main"
    holds = matcher(filters)
    assert "".join(one.Ref for one in (a, b, c) if holds(one)) == found


@pytest.mark.parametrize("text", ["a b", "duration>x", 'ref=="', "ref~=(", ""])
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(RpcError, match="failed to parse history filters"):
        matcher([text])


def test_the_policy_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "buildkitd.toml"
    file.write_text('[history]\nmaxAge = "1h30m"\nmaxEntries = 7\n')
    assert config.read(["--config", str(file)]).history == Keep(entries=7, age=5400.0)
    file.write_text("[history]\nmaxAge = 60\n")
    assert config.read(["--config", str(file)]).history == Keep(entries=100, age=60.0)
    for text, words in (("maxage = 1", "unknown key history.maxage"), ('maxAge = "x"', "history.maxAge"), ("maxEntries = -1", "history.maxEntries is -1")):
        file.write_text(f"[history]\n{text}\n")
        with pytest.raises(UsageError, match=words):
            config.read(["--config", str(file)])


def test_a_build_of_this_machine_is_shown_as_others_are(tmp_path: Path) -> None:
    from dockc.engine.request import Asked, Built, CompileRequest

    recording = recordings.Recording(lambda status: None, tmp_path, Asked(compile=CompileRequest(".", attrs={"target": "t"}), names=("n",)))
    recording(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN"),)))
    recording.end(Built(executed=2, cached=1))
    (record,) = history.records(tmp_path)
    made = wirehistory.wire_record(record)
    assert (made.Ref, made.Frontend, made.FrontendAttrs["target"], made.numTotalSteps) == (record.ref, "dockerfile.v0", "t", 3)
