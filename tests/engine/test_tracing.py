"""Traces: contexts, samplers, where they go, and how they are spelled."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.engine import otlp, tracing
from dockc.errors import DockcError, UsageError
from dockc.rpc.pb import trace_pb2
from dockc.solver.progress import SolveStatus, VertexEvent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Collector:
    """A collector that reads what it gets."""

    def __init__(self) -> None:
        self.requests: list[trace_pb2.ExportTraceServiceRequest] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.paths.append(self.path)
                outer.headers.append({key.lower(): value for key, value in self.headers.items()})
                outer.bodies.append(body)
                if self.headers["Content-Type"] == "application/x-protobuf":
                    outer.requests.append(trace_pb2.ExportTraceServiceRequest.FromString(body))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Retry-After", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def spans(self) -> list[trace_pb2.Span]:
        return [
            span
            for one in self.requests
            for resource in one.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_contexts() -> None:
    found = tracing.Context.read(PARENT, "a=b")
    assert (found.trace.hex(), found.span.hex(), found.sampled, found.state) == (
        PARENT[3:35],
        PARENT[36:52],
        True,
        "a=b",
    )
    assert found.parent == PARENT
    assert not tracing.Context.read(PARENT[:-1] + "0").sampled
    assert tracing.Context.read(f"cc{PARENT[2:]}-more").span  # a later version
    for broken in (
        "",
        "x",
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        f"ff{PARENT[2:]}",
        f"{PARENT}-more",
        PARENT[:-3],
    ):
        none = tracing.Context.read(broken, "a=b")
        assert (len(none.trace), none.span, none.state) == (16, b"", "")


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1))
def test_ratios_follow_the_trace(trace: bytes, ratio: float) -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(ratio)}
    first = tracing.is_sampled(tracing.Context(trace), environ)
    assert first == tracing.is_sampled(tracing.Context(trace, b"12345678"), environ)
    if first:
        assert tracing.is_sampled(tracing.Context(trace), environ | {"OTEL_TRACES_SAMPLER_ARG": "1"})


def test_samplers() -> None:
    alone, off = tracing.Context(b"x" * 16), tracing.Context(b"x" * 16, b"y" * 8, sampled=False)
    assert tracing.is_sampled(alone, {})
    assert not tracing.is_sampled(off, {})
    assert tracing.is_sampled(off, {"OTEL_TRACES_SAMPLER": "always_on"})
    assert not tracing.is_sampled(alone, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"})
    for wrong in (
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
    ):
        with pytest.raises(UsageError):
            tracing.is_sampled(alone, wrong)


def test_where_they_go() -> None:
    assert otlp.way({}) is None
    assert otlp.way({ENDPOINT: "http://h:1", "OTEL_SDK_DISABLED": "true"}) is None
    assert otlp.way({ENDPOINT: "http://h:1", "OTEL_TRACES_EXPORTER": "none"}) is None
    assert otlp.way({"OTEL_TRACES_EXPORTER": "otlp"}) == otlp.Way("http://localhost:4318/v1/traces")
    found = otlp.way(
        {
            ENDPOINT: "https://h:1/base/", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x=1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "500", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
        }
    )  # fmt: skip
    assert found == otlp.Way("https://h:1/base/v1/traces", True, {"api-key": "a b", "x": "1"}, 0.5, True, "/ca")
    exact = otlp.way({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/exact"})
    assert exact is not None
    assert exact.url == "http://h/exact"


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "traces by zipkin are not supported"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "traces by grpc are not supported"),
        (ENDPOINT, "h:1", "invalid endpoint"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "unknown compression"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "invalid timeout"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "oops", "invalid header"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ac", "invalid header"),
    ],
)
def test_what_is_not_there_is_said(name: str, value: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        otlp.way({ENDPOINT: "http://h:1", name: value})


def made() -> list[trace_pb2.ResourceSpans]:
    told: list[SolveStatus] = []
    trace = tracing.Trace(told.append, "build", tracing.Context.read(PARENT, "a=b"))
    steps = (
        VertexEvent(
            "sha256:1", "[1/2] FROM https://u:secretsecret@example.com/x", started=10, completed=20, cached=True
        ),
        VertexEvent("sha256:2", "[2/2] RUN x", started=30),
        VertexEvent("sha256:3", "never started"),
    )
    trace(SolveStatus(steps))
    trace(SolveStatus((VertexEvent("sha256:2", "[2/2] RUN x", started=30, completed=40, error="exit code: 1"),)))
    assert len(told) == 2
    return [
        tracing.packed(
            trace.spans(DockcError("it failed"), {"n": 3, "yes": True}),
            {"OTEL_SERVICE_NAME": "ci", "OTEL_RESOURCE_ATTRIBUTES": "a=b%2Cc,service.name=no"},
        )
    ]


def test_spans_of_a_build() -> None:
    (resource,) = made()
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (named["service.name"], named["a"]) == ("ci", "b,c")
    root, first, second = resource.scope_spans[0].spans
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.trace_state) == (PARENT[3:35], PARENT[36:52], "a=b")
    assert (root.status.code, root.status.message) == (2, "it failed")
    assert first.parent_span_id == second.parent_span_id == root.span_id
    assert (first.start_time_unix_nano, first.end_time_unix_nano, second.end_time_unix_nano) == (10, 20, 40)
    assert "secretsecret" not in first.name
    assert (second.status.code, second.status.message) == (2, "exit code: 1")
    assert len({root.span_id, first.span_id, second.span_id}) == 3


@pytest.mark.parametrize("compressed", [False, True])
def test_both_forms_arrive(collector: Collector, compressed: bool) -> None:
    way = otlp.Way(f"{collector.url}/v1/traces", headers={"api-key": "k"}, gzip=compressed)
    assert otlp.send(way, made()) == ""
    assert (collector.paths, collector.headers[0]["api-key"]) == (["/v1/traces"], "k")
    root, *_ = collector.spans()
    assert root.name == "build"
    assert otlp.send(otlp.Way(f"{collector.url}/v1/traces", json=True, gzip=compressed), made()) == ""
    assert collector.headers[1]["content-type"] == "application/json"
    (resource,) = json.loads(collector.bodies[1])["resourceSpans"]
    span = resource["scopeSpans"][0]["spans"][0]
    # Source: OTLP's JSON: ids in hexadecimal, 64-bit numbers as text, enumerations as numbers.
    assert (span["traceId"], span["parentSpanId"], span["kind"], span["status"]["code"]) == (
        PARENT[3:35],
        PARENT[36:52],
        1,
        2,
    )
    assert isinstance(span["startTimeUnixNano"], str)
    assert {"key": "n", "value": {"intValue": "3"}} in span["attributes"]


def test_a_collector_that_does_not_take_them(collector: Collector) -> None:
    collector.statuses = [503, 429]
    assert otlp.send(otlp.Way(collector.url), made()) == ""
    assert len(collector.paths) == 3
    collector.statuses = [400]
    assert "answered 400" in otlp.send(otlp.Way(collector.url), made())
    assert len(collector.paths) == 4
    collector.statuses = [503] * 9
    assert "answered 503" in otlp.send(otlp.Way(collector.url), made())
    assert len(collector.paths) == 7
    assert "127.0.0.1:1" in otlp.send(otlp.Way("http://127.0.0.1:1/v1/traces"), made())


_ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x" * 65536, ""),
    "chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", b"x" * 65536, ""),
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", b"x", ""),
    "refusal": (b"HTTP/1.1 400 No\r\n\r\n", b"x" * 65536, "answered 400"),
    "head": (b"HTTP/1.1 200 OK\r\nX: ", b"x", "timed out"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "timed out"),
}


@pytest.mark.parametrize("kind", list(_ENDLESS))
def test_an_answer_without_end_is_not_read(kind: str) -> None:
    """A collector neither fills memory nor keeps a build waiting, and no thread is left with it."""
    beginning, piece, problem = _ENDLESS[kind]
    gone = threading.Event()

    def serve(server: socket.socket) -> None:
        with server, server.accept()[0] as peer:
            peer.recv(1 << 16)
            try:
                peer.sendall(beginning)
                while not gone.wait(0.01):
                    peer.sendall(piece)
            except OSError:
                gone.set()

    server = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{server.getsockname()[1]}"
    serving = threading.Thread(target=serve, args=(server,))
    serving.start()
    told = otlp.send(otlp.Way(address, timeout=1.0), made())
    assert problem in told
    assert bool(told) is bool(problem)
    assert gone.wait(60), "the connection is still open"
    serving.join()


def test_the_form_of_the_history() -> None:
    first, *others = [json.loads(line) for line in otlp.as_history(made()).splitlines()]
    assert len(others) == 2
    assert first["SpanContext"]["TraceID"] == PARENT[3:35]
    assert first["Parent"]["SpanID"] == PARENT[36:52]
    assert first["Status"] == {"Code": "Error", "Description": "it failed"}
    assert {"Key": "n", "Value": {"Type": "INT64", "Value": 3}} in first["Attributes"]
    assert others[0]["StartTime"].startswith("1970-01-01T00:00:00.00000001")
