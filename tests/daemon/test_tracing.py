"""Traces of builds here and in the daemon, received by a collector; and the debug address."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.client.address import connect, parse
from dockc.client.control import Remote
from dockc.engine.wirehistory import TRACE as TRACE_KIND
from dockc.protocol.names import TRACES
from dockc.rpc.pb import content_pb2, control_pb2, trace_pb2
from dockc.rpc.status import RpcError
from dockc.rpc.transports import connect_unix
from tests.daemon.test_daemon import Daemon, dockc, until
from tests.engine.test_tracing import PARENT, Collector
from tests.runtime.registry_servers import free_port
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
TRACE = bytes.fromhex(PARENT[3:35])


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN echo hello > /made\n")
    return folder


def build(context: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKC_STORE": str(context.parent / "store"), **variables}
    return subprocess.run(
        [sys.executable, "-m", "dockc", "build", str(context), "--progress=plain", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_build_here_is_traced(context: Path, collector: Collector, tmp_path: Path) -> None:
    done = build(context, "-o", str(tmp_path / "out"), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=PARENT)
    assert done.returncode == 0, done.stderr
    root, *steps = collector.spans()
    assert (root.name, root.trace_id, root.parent_span_id.hex()) == ("dockc build", TRACE, PARENT[36:52])
    names = {one.name for one in steps}
    assert {
        "[internal] load build context",
        "[2/2] RUN echo hello > /made",
        "exporting to client directory",
    } <= names, names
    assert all(
        one.parent_span_id == root.span_id and one.end_time_unix_nano >= one.start_time_unix_nano for one in steps
    )
    told = {one.key: one.value.int_value for one in root.attributes}
    assert (told["dockc.executed"], told["dockc.cached"]) == (2, 0)
    # One that fails, one that is not wanted, and a collector that is not there.
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN exit 3\n")
    collector.requests.clear()
    done = build(context, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.returncode == 1
    root, *steps = collector.spans()
    assert root.status.code == 2
    assert any(one.status.code == 2 and "RUN" in one.name for one in steps)
    collector.requests.clear()
    build(context, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=PARENT[:-1] + "0")
    assert collector.spans() == []
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\n")
    done = build(context, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 0
    assert "the trace of this build could not be sent" in done.stderr


def test_a_build_elsewhere_is_one_trace(
    context: Path, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    port = free_port()
    daemon = Daemon(tmp_path, f"--debugaddr=127.0.0.1:{port}")
    try:
        done = build(context, f"--addr={daemon.address}", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=PARENT)
        assert done.returncode == 0, done.stderr
        assert {one.name for one in collector.spans()} >= {"dockc build"}
        asyncio.run(kept(daemon.address))

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return str(answer.read(), "utf-8")

        lines = get("/metrics").splitlines()
        assert 'dockc_builds_total{result="ok"} 1' in lines
        assert "dockc_builds_running 0" in lines
        assert "# TYPE process_resident_memory_bytes gauge" in lines
        assert json.loads(get("/debug/vars"))["dockc_sessions"] == 0
        assert "thread MainThread" in get("/debug/stacks")
        assert get("/debug/gc").endswith(" objects\n")
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            get("/debug/pprof/profile")
        refused.value.close()
        for rubbish in (
            b"",
            b"\n\n",
            b"GET\n\n",
            b"POST /metrics HTTP/1.1\r\n\r\n",
            b"G" * 100_000 + b"\n\n",
            b"\xff\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(rubbish)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(30)
                while True:
                    try:
                        if not sock.recv(4096):
                            break
                    except ConnectionError:
                        break
        assert "dockc_sessions 0" in get("/metrics")
    finally:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()
    spans = {one.name: one for one in collector.spans()}
    root, server = spans["dockc build"], spans["moby.buildkit.v1.Control/Solve"]
    step = spans["[2/2] RUN echo hello > /made"]
    assert spans.pop("of nobody").trace_id == b"?" * 16  # it was sent on all the same
    assert {one.trace_id for one in spans.values()} == {TRACE}
    assert (root.parent_span_id.hex(), server.parent_span_id, step.parent_span_id) == (
        PARENT[36:52],
        root.span_id,
        server.span_id,
    )


async def traces(remote: Remote) -> list[list[str]]:
    """Names of the spans that are kept with each build, as a client reads them."""
    found = []
    async for event in remote.history(control_pb2.BuildHistoryRequest(EarlyExit=True)):
        record = event.record.trace
        assert record.media_type == TRACE_KIND
        read = content_pb2.ReadContentRequest(digest=record.digest)
        data = b"".join(
            [
                one.data
                async for one in remote.stream(
                    "/containerd.services.content.v1.Content/Read", read, content_pb2.ReadContentResponse
                )
            ]
        )
        assert (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") == (record.size, record.digest)
        found.append([json.loads(line)["Name"] for line in data.splitlines()])
    return found


async def kept(address: str) -> None:
    """The record of the build has its trace, and what the client sends afterwards is part of it."""
    link = await connect(parse(address))
    try:
        remote = Remote(link)
        (names,) = await traces(remote)
        assert {"[2/2] RUN echo hello > /made", "dockc build"} <= set(names), "the client's own span is there, too"
        more = trace_pb2.ExportTraceServiceRequest()
        more.resource_spans.add().scope_spans.add().spans.add(trace_id=TRACE, span_id=b"12345678", name="of the client")
        more.resource_spans.add().scope_spans.add().spans.add(trace_id=b"?" * 16, span_id=b"12345678", name="of nobody")
        await remote.unary(TRACES, more, trace_pb2.ExportTraceServiceResponse)
        assert await traces(remote) == [[*names, "of the client"]]
    finally:
        await link.close()


async def once_more(address: str) -> list[list[str]]:
    link = await connect(parse(address))
    try:
        return await traces(Remote(link))
    finally:
        await link.close()


def test_buildctl_s_words_are_traced_and_outlive_the_daemon(
    context: Path, collector: Collector, tmp_path: Path
) -> None:
    daemon = Daemon(tmp_path)
    words = [
        "build",
        "--frontend=dockerfile.v0",
        f"--local=context={context}",
        f"--local=dockerfile={context}",
        "--opt=build-arg:TOKEN=hunter2",
    ]
    command = [sys.executable, "-m", "dockc", "buildctl", "--addr", daemon.address, *words]
    try:
        for variables in (
            {},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TRACEPARENT": PARENT},
            {"OTEL_TRACES_SAMPLER": "always_off"},
        ):
            done = subprocess.run(
                command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
        (span,) = collector.spans()
        assert (span.name, span.trace_id, span.parent_span_id.hex()) == ("build", TRACE, PARENT[36:52])
        assert "hunter2" not in str(span)
        found = asyncio.run(once_more(daemon.address))
        assert ["build" in names for names in found] == [True, True, False], found
    finally:
        assert daemon.stop() == 0
    daemon = Daemon(tmp_path)
    try:
        assert asyncio.run(once_more(daemon.address)) == found

        def ask(*more: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "dockc", "buildctl", "--addr", daemon.address, "debug", *more]
            return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

        refs = [line.split("\t")[1] for line in ask("histories").stdout.splitlines()[1:]]
        shown = [ask("logs", "--trace", ref).stdout for ref in refs]
        assert [[json.loads(line)["Name"] for line in text.splitlines()] for text in shown] == found
        assert "ref nobody does not have trace" in ask("logs", "--trace", "nobody").stderr
    finally:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()


def test_a_daemon_says_what_it_cannot_do(tmp_path: Path) -> None:
    for options, variables, word in (
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "traces by grpc"),
        (["--debugaddr=nonsense"], {}, "invalid debug address"),
    ):
        command = [
            sys.executable,
            "-m",
            "dockc",
            "daemon",
            "--root",
            str(tmp_path / "r"),
            f"--addr=unix://{tmp_path}/s",
            *options,
        ]
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2, done.stderr
        assert word in done.stderr
    until(lambda: not (tmp_path / "s").exists())


def test_builds_that_are_cancelled_at_once_leave_nothing(tmp_path: Path) -> None:
    """Whenever the cancelling comes: before the session is there, or while the build is taken up."""
    daemon = Daemon(tmp_path, f"--debugaddr=unix://{tmp_path}/d")

    async def storm() -> None:
        link = await connect(parse(daemon.address))
        try:
            for number in range(40):
                call = link.channel.call("/moby.buildkit.v1.Control/Solve")
                await call.send(
                    control_pb2.SolveRequest(
                        Ref=f"r{number}", Session="none", Frontend="dockerfile.v0"
                    ).SerializeToString()
                )
                call.end()
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                call.cancel()
        finally:
            await link.close()

    def left() -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "d"))
            sock.sendall(b"GET /debug/vars HTTP/1.1\r\n\r\n")
            text = b""
            while data := sock.recv(65536):
                text += data
        found = json.loads(text.partition(b"\r\n\r\n")[2])
        return bool(found["dockc_builds_running"] or list((tmp_path / "root" / "running").iterdir()))

    try:
        asyncio.run(storm())
        until(lambda: not left())
    finally:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.said(), daemon.said()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_socket_that_takes_nothing_but_spans(tmp_path: Path) -> None:
    made = Daemon(tmp_path, "--otel-socket-path", str(tmp_path / "otel"), "--log-format=json")

    async def talk() -> None:
        channel = await connect_unix(str(tmp_path / "otel"))
        await channel.unary(TRACES, trace_pb2.ExportTraceServiceRequest().SerializeToString())
        with pytest.raises(RpcError, match="unknown method"):
            await channel.unary("/moby.buildkit.v1.Control/Info", b"")
        large = trace_pb2.ExportTraceServiceRequest()
        large.resource_spans.add().scope_spans.add().spans.add(name="x" * (5 << 20), trace_id=bytes(16))
        for spans in (large.SerializeToString(), b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f"):
            with pytest.raises(RpcError, match=r"larger than|broken"):
                await channel.unary(TRACES, spans)
        many = trace_pb2.ExportTraceServiceRequest()
        many.resource_spans.add().scope_spans.add().spans.extend(
            [trace_pb2.Span(trace_id=b"short", span_id=bytes(99))] * 10_000
        )
        await channel.unary(TRACES, many.SerializeToString())
        channel.shut()

    try:
        asyncio.run(talk())
    finally:
        assert made.stop() == 0
    assert not (tmp_path / "otel").exists()
    assert {"level": "info", "msg": f"taking spans on {tmp_path}/otel"}.items() <= json.loads(
        made.said().splitlines()[-2]
    ).items()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_step_finds_the_socket_that_takes_its_spans(tmp_path: Path) -> None:
    context = shell_context(tmp_path / "context")
    made = Daemon(tmp_path, "--otel-socket-path", str(tmp_path / "otel"))
    # The very socket is there; what the build itself says of its spans stays.
    (context / "Dockerfile").write_text(
        "FROM scratch AS one\nCOPY busybox /bin/sh\nCOPY busybox /bin/stat\nCOPY busybox /bin/env\nRUN stat -c %i /dev/otel-grpc.sock > /inode && env > /env\n"
        "FROM one AS two\nENV OTEL_TRACES_EXPORTER=none\nRUN env > /env2\n"
    )
    inode = (tmp_path / "otel").stat().st_ino
    try:
        words = ("build", str(context), "--addr", made.address, "--progress=plain", "-o", str(tmp_path / "out"))
        done = dockc(*words)
        assert done.returncode == 0, done.stderr
        done = dockc(*words)  # it is in no key
    finally:
        assert made.stop() == 0
    assert done.stderr.count("CACHED") >= 2
    assert int((tmp_path / "out" / "inode").read_text()) == inode
    told = dict(line.split("=", 1) for line in (tmp_path / "out" / "env").read_text().splitlines())
    assert told["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "unix:///dev/otel-grpc.sock"
    assert (told["OTEL_TRACES_EXPORTER"], told["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]) == ("otlp", "grpc")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", told["TRACEPARENT"])
    assert "OTEL_TRACES_EXPORTER=none" in (tmp_path / "out" / "env2").read_text().splitlines()
    assert not (tmp_path / "out" / "dev" / "otel-grpc.sock").exists()


def sent_from_within(context: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a build whose step waits; send a span through the socket that this very step has, below what it was told."""
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/test\nCOPY busybox /bin/sleep\nUSER 4711\nRUN test -w /dev/otel-grpc.sock && sleep 63 || true\n"
    )
    environment = {**os.environ, "DOCKC_STORE": str(context.parent / "store"), **variables}
    line = [sys.executable, "-m", "dockc", "build", str(context), "--progress=plain", *words]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        found: list[int] = []

        def waits() -> bool:
            found[:] = [
                int(path.parent.name)
                for path in Path("/proc").glob("[0-9]*/cmdline")
                if _line(path) == b"sleep\x0063\x00"
            ]
            return bool(found) or running.poll() is not None

        until(waits)
        if found:
            told = dict(
                one.split("=", 1) for one in Path(f"/proc/{found[0]}/environ").read_text().split("\0") if "=" in one
            )
            span = trace_pb2.Span(name="of the step", span_id=b"87654321")
            span.trace_id, span.parent_span_id = (
                bytes.fromhex(told["TRACEPARENT"][3:35]),
                bytes.fromhex(told["TRACEPARENT"][36:52]),
            )
            asyncio.run(
                send(f"/proc/{found[0]}/root{told['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'].removeprefix('unix://')}", span)
            )
            os.kill(found[0], signal.SIGTERM)
        said = running.communicate(timeout=120)
    return subprocess.CompletedProcess(line, running.returncode, *said)


def _line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def send(socket_path: str, span: trace_pb2.Span) -> None:
    request = trace_pb2.ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(span)
    channel = await connect_unix(socket_path)
    await channel.unary(TRACES, request.SerializeToString())
    with pytest.raises(RpcError, match="unknown method"):
        await channel.unary("/moby.buildkit.v1.Control/Info", b"")
    channel.shut()


def test_spans_that_a_step_makes_are_part_of_the_trace_of_a_build_here(context: Path, collector: Collector) -> None:
    done = sent_from_within(context, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=PARENT)
    assert done.returncode == 0, done.stderr
    spans = {one.name: one for one in collector.spans()}
    assert (spans["of the step"].trace_id, spans["of the step"].parent_span_id) == (TRACE, spans["dockc build"].span_id)
    assert not list(Path(tempfile.gettempdir()).glob("dockc-otel-*"))


def test_spans_that_a_step_makes_are_kept_and_sent_on_by_a_daemon(
    context: Path, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    daemon = Daemon(tmp_path)  # no path is named: where there is a collector, steps find it
    try:
        assert (tmp_path / "root" / "otel").stat().st_mode & 0o777 == 0o700
        done = sent_from_within(context, f"--addr={daemon.address}", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert done.returncode == 0, done.stderr
        (names,) = asyncio.run(once_more(daemon.address))
        assert {"of the step", "dockc build"} <= set(names)
    finally:
        assert daemon.stop() == 0
    spans = {one.name: one for one in collector.spans()}
    assert spans["of the step"].trace_id == spans["dockc build"].trace_id
