"""Traces of builds: one span for the build, one below it for each time that a step ran.

What comes from outside is the W3C's trace context (`TRACEPARENT`, or metadata of a call). Spans are OTLP's messages
from the start; `engine.otlp` sends them. Source: W3C Trace Context, level 1; OpenTelemetry's specification of the trace
protocol, and of the variables `OTEL_*`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record
from dockc.base.version import VERSION
from dockc.errors import DockcError, UsageError, without_credentials
from dockc.rpc.pb import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockc.solver.progress import SolveStatus, StatusSink, VertexEvent

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3
_OK, _ERROR = 1, 2
SPANS = 20_000
"""Spans of one build at most."""
RECEIVED = 16 << 20
"""Bytes of spans of its steps at most."""


class Context(Record):
    """Where a span belongs.

    Attributes:
        trace: 16 bytes.
        span: 8 bytes of the parent; b"" for none.
        sampled: whether the parent is recorded; True where there is none.
        state: the vendors' own, handed on as it is.
    """

    trace: bytes
    span: bytes = b""
    sampled: bool = True
    state: str = ""

    @property
    def parent(self) -> str:
        """The text that a callee is handed, with this span as its parent."""
        return f"00-{self.trace.hex()}-{self.span.hex()}-{int(self.sampled):02x}"

    @classmethod
    def read(cls, parent: str, state: str = "") -> Context:
        """From the texts `traceparent` and `tracestate`; what is broken counts as none."""
        match = _PARENT.fullmatch(parent.strip().lower())
        if (
            match is None
            or match[1] == "ff"
            or (match[1] == "00" and match[5])
            or not int(match[2], 16)
            or not int(match[3], 16)
        ):
            return cls(os.urandom(16))
        return cls(bytes.fromhex(match[2]), bytes.fromhex(match[3]), bool(int(match[4], 16) & 1), state[:512])


def is_sampled(context: Context, environ: Mapping[str, str]) -> bool:
    """What `OTEL_TRACES_SAMPLER` says of a trace.

    Raises:
        UsageError: a sampler or a ratio that there is not.
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    plain = name.removeprefix("parentbased_")
    if plain not in {"always_on", "always_off", "traceidratio"}:
        raise UsageError(f"unknown sampler of traces {name} (OTEL_TRACES_SAMPLER)")
    if plain != name and context.span:
        return context.sampled
    if plain != "traceidratio":
        return plain == "always_on"
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise UsageError(f"invalid ratio of traces {text} (OTEL_TRACES_SAMPLER_ARG)", hint="A number from 0 to 1.")
    return (int.from_bytes(context.trace[8:], "big") >> 1) < ratio * 2**63


def value(of: Any) -> trace_pb2.AnyValue:
    """A value of an attribute."""
    if isinstance(of, bool):
        return trace_pb2.AnyValue(bool_value=of)
    if isinstance(of, int):
        return trace_pb2.AnyValue(int_value=of)
    return trace_pb2.AnyValue(string_value=str(of))


def attributes(of: Mapping[str, Any]) -> list[trace_pb2.KeyValue]:
    """Attributes as messages."""
    return [trace_pb2.KeyValue(key=key, value=value(one)) for key, one in of.items()]


class Trace:
    """A sink of progress that makes spans of it, and hands everything on.

    Mutable: `_steps`, the last state of each time that a step ran; bounded by `SPANS`.

    Attributes:
        received: spans that steps have made themselves; bounded by `RECEIVED`.
        context: the build's own span, as a parent of others.
        above: what it is below.
        inner: the sink that everything is handed to.
    """

    def __init__(self, inner: StatusSink, name: str, context: Context, *, server: bool = False) -> None:
        self.context = Context(context.trace, os.urandom(8), context.sampled, context.state)
        self.above = context
        self.inner, self._name = inner, name
        self._kind = _SERVER if server else _INTERNAL
        self._began = time.time_ns()
        self._steps: dict[tuple[str, int], VertexEvent] = {}
        self.received: list[trace_pb2.ResourceSpans] = []
        self._room = RECEIVED

    def receive(self, spans: Iterable[trace_pb2.ResourceSpans]) -> None:
        """Take spans of a step, which may send any number of them."""
        for one in spans:
            size = one.ByteSize()
            if size <= self._room:
                self._room -= size
                self.received.append(one)

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        for one in status.vertexes:
            key = (one.digest, one.started or 0)
            if one.started is not None and (key in self._steps or len(self._steps) < SPANS):
                self._steps[key] = one
        self.inner(status)

    def dockerfile(self, data: bytes) -> None:
        """Hand on the Dockerfile, where the sink below wants it."""
        take = getattr(self.inner, "dockerfile", None)
        if take is not None:
            take(data)

    def spans(self, error: BaseException | None, more: Mapping[str, Any] | None = None) -> list[trace_pb2.Span]:
        """All spans, the build's first; the build is over.

        Args:
            error: what ended it.
            more: attributes of the build's span.
        """
        now = time.time_ns()
        root = self._span(self._name, self._began, now, self.context.span, self.above.span)
        root.kind = self._kind
        root.attributes.extend(attributes(more or {}))
        if error is not None:
            root.status.code = _ERROR
            root.status.message = error.message if isinstance(error, DockcError) else type(error).__name__
        found = [root]
        for one in self._steps.values():
            span = self._span(
                without_credentials(one.name),
                one.started or now,
                one.completed or now,
                os.urandom(8),
                self.context.span,
            )
            span.kind = _INTERNAL
            span.attributes.extend(attributes({"vertex": one.digest, "dockc.cached": one.cached}))
            if one.error:
                span.status.code, span.status.message = _ERROR, without_credentials(one.error)
            found.append(span)
        return found

    def _span(self, name: str, start: int, end: int, own: bytes, parent: bytes) -> trace_pb2.Span:
        return trace_pb2.Span(
            trace_id=self.context.trace,
            span_id=own,
            parent_span_id=parent,
            trace_state=self.context.state,
            name=name,
            start_time_unix_nano=start,
            end_time_unix_nano=max(start, end),
            flags=int(self.context.sampled),
        )


def trace_of(sink: StatusSink) -> Trace | None:
    """The one that makes spans of a build, if there is one among the sinks that hand on to each other by `inner`."""
    found: object = sink
    while found is not None and not isinstance(found, Trace):
        found = getattr(found, "inner", None)
    return found


def packed(spans: Iterable[trace_pb2.Span], environ: Mapping[str, str]) -> trace_pb2.ResourceSpans:
    """Spans of this process, with what it is called (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`)."""
    from urllib.parse import unquote

    told = {
        "service.name": "dockc",
        "service.version": VERSION,
        "telemetry.sdk.language": "python",
        "process.pid": os.getpid(),
    }
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, text = pair.partition("=")
        if equals and key.strip():
            told[key.strip()] = unquote(text.strip())
    if name := environ.get("OTEL_SERVICE_NAME", ""):
        told["service.name"] = name
    found = trace_pb2.ResourceSpans()
    found.resource.attributes.extend(attributes(told))
    scope = found.scope_spans.add()
    scope.scope.name, scope.scope.version = "dockc", VERSION
    scope.spans.extend(spans)
    return found
