"""OTLP over HTTP: where spans go, as the variables `OTEL_*` say, and the way there.

Source: OpenTelemetry's specifications of the OTLP exporter and of OTLP/HTTP. Traces never fail a build: what cannot be
sent is said once and forgotten.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dockc.base.record import Record, made
from dockc.base.version import VERSION
from dockc.errors import UsageError
from dockc.rpc.pb import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    import urllib3

_PREFIX = "OTEL_EXPORTER_OTLP_"
_DEFAULT = "http://localhost:4318"
_AGAIN = frozenset((429, 502, 503, 504))
_TRIES = 3
_IDS = frozenset(("traceId", "spanId", "parentSpanId"))


class Way(Record):
    """Where traces go.

    Attributes:
        url: of the collector's traces.
        json: JSON, not protobuf.
        headers: to be sent along.
        timeout: seconds for all of it.
        gzip: whether the body is compressed.
        ca, cert, key: PEM files for TLS; "" for none.
    """

    url: str
    json: bool = False
    headers: Mapping[str, str] = made(dict)
    timeout: float = 10.0
    gzip: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""


def way(environ: Mapping[str, str]) -> Way | None:
    """Where the environment wants traces; None where it does not.

    Raises:
        UsageError: it wants what is not there, or cannot be understood.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return None
    if exporter not in {"", "otlp"}:
        raise UsageError(f"traces by {exporter} are not supported (OTEL_TRACES_EXPORTER)", hint="Known: otlp, none.")

    def told(name: str) -> str:
        return environ.get(f"{_PREFIX}TRACES_{name}", "").strip() or environ.get(_PREFIX + name, "").strip()

    url = environ.get(f"{_PREFIX}TRACES_ENDPOINT", "").strip()
    if not url:
        base = environ.get(f"{_PREFIX}ENDPOINT", "").strip()
        if not base and not exporter:
            return None
        url = f"{(base or _DEFAULT).rstrip('/')}/v1/traces"
    protocol = told("PROTOCOL") or "http/protobuf"
    if protocol not in {"http/protobuf", "http/json"}:
        raise UsageError(
            f"traces by {protocol} are not supported ({_PREFIX}PROTOCOL)", hint="Known: http/protobuf, http/json."
        )
    try:
        split = urlsplit(url)
        valid = split.scheme in {"http", "https"} and bool(split.hostname) and split.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"invalid endpoint of traces {url} ({_PREFIX}ENDPOINT)", hint="http://HOST:PORT")
    compression = told("COMPRESSION") or "none"
    if compression not in {"gzip", "none"}:
        raise UsageError(f"unknown compression {compression} ({_PREFIX}COMPRESSION)", hint="gzip or none")
    timeout = told("TIMEOUT") or "10000"
    if not timeout.isdecimal() or len(timeout) > 9 or not int(timeout):
        raise UsageError(f"invalid timeout {timeout} ({_PREFIX}TIMEOUT)", hint="Milliseconds.")
    return Way(
        url,
        protocol == "http/json",
        _headers(told("HEADERS")),
        int(timeout) / 1000,
        compression == "gzip",
        told("CERTIFICATE"),
        told("CLIENT_CERTIFICATE"),
        told("CLIENT_KEY"),
    )


def _headers(text: str) -> dict[str, str]:
    found = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        key, equals, value = pair.partition("=")
        key, value = unquote(key.strip()), unquote(value.strip())
        if not equals or not key or not key.isascii() or "\n" in key + value or "\r" in key + value:
            raise UsageError(f"invalid header {key!r} ({_PREFIX}HEADERS)", hint="KEY=VALUE,KEY=VALUE")
        found[key] = value
    return found


def send(way: Way, spans: Sequence[trace_pb2.ResourceSpans]) -> str:
    """Send spans; why they could not be sent, or "". Blocks, for the timeout at most, whatever the collector does: of its
    answer the status alone is read.
    """
    import urllib3

    from dockc.base import tls
    from dockc.base.files import need_regular
    from dockc.runtime.registry.connections import POOLS

    request = trace_pb2.ExportTraceServiceRequest(resource_spans=spans)
    body = json.dumps(as_json(request)).encode() if way.json else request.SerializeToString()
    headers = {
        "Content-Type": "application/json" if way.json else "application/x-protobuf",
        "User-Agent": f"dockc/{VERSION}",
        **way.headers,
    }
    if way.gzip:
        body, headers["Content-Encoding"] = gzip.compress(body, 6), "gzip"
    ends = time.monotonic() + way.timeout
    secured = {"ca_certs": way.ca or None, "cert_file": way.cert or None, "key_file": way.key or None}
    files: dict[str, Any] = {key: one for key, one in secured.items() if one is not None}
    for file in files.values():
        try:
            need_regular(file, tls.LIMIT)
        except OSError as exc:
            return f"{way.url}: {file}: {exc.strerror}"
    problem = ""
    with urllib3.PoolManager(retries=False, **files) as pool:
        pool.pool_classes_by_scheme = dict(POOLS)
        for attempt in range(_TRIES):
            left = ends - time.monotonic()
            if left <= 0:
                break
            try:
                answer = _post(pool, way.url, body, headers, left)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
                return f"{way.url}: {getattr(exc, 'strerror', None) or exc}"
            if 200 <= answer.status < 300:
                return ""
            problem = f"{way.url} answered {answer.status}"
            if answer.status not in _AGAIN or attempt + 1 == _TRIES:
                break
            wanted = answer.headers.get("Retry-After", "")
            pause = float(wanted) if wanted.isdecimal() else 0.5 * 2**attempt
            if time.monotonic() + pause >= ends:
                break
            time.sleep(pause)
    return problem or f"{way.url} did not answer in time"


def _post(
    pool: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str], seconds: float
) -> urllib3.BaseHTTPResponse:
    """The answer to a request, of which nobody reads the body."""
    from dockc.runtime.registry.connections import Heard
    from dockc.runtime.registry.patience import abandonable

    heard = Heard()

    def ask() -> urllib3.BaseHTTPResponse:
        with heard.noting():
            return pool.request(
                "POST", url, body=body, headers=headers, timeout=seconds, redirect=False, preload_content=False
            )

    answer = abandonable(ask, threading.Event(), seconds, lambda late: late.close(), end=heard.shut)
    answer.close()
    return answer


def as_json(request: trace_pb2.ExportTraceServiceRequest) -> dict[str, Any]:
    """OTLP's JSON: as protobuf's, but ids are hexadecimal and words of enumerations numbers."""
    from google.protobuf import json_format

    found = json_format.MessageToDict(request, use_integers_for_enums=True)
    _hex(found)
    return found


def _hex(of: Any) -> None:
    import base64

    if isinstance(of, dict):
        for key, one in of.items():
            if key in _IDS and isinstance(one, str):
                of[key] = base64.b64decode(one).hex()
            elif key != "attributes":
                _hex(one)
    elif isinstance(of, list):
        for one in of:
            _hex(one)


def as_history(resources: Sequence[trace_pb2.ResourceSpans]) -> bytes:
    """The form of BuildKit's history (`application/vnd.buildkit.otlp.json.v0`): one object a line, in the shape that
    Go's SDK gives spans.
    """
    lines = [
        _line(span, scope, resource) for resource in resources for scope in resource.scope_spans for span in scope.spans
    ]
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def _line(span: trace_pb2.Span, scope: trace_pb2.ScopeSpans, resource: trace_pb2.ResourceSpans) -> dict[str, Any]:
    from dockc.golang.times import Time

    events = [
        {
            "Name": one.name,
            "Attributes": _stubs(one.attributes),
            "DroppedAttributeCount": one.dropped_attributes_count,
            "Time": str(Time.from_ns(one.time_unix_nano)),
        }
        for one in span.events
    ]
    above = span.trace_id if span.parent_span_id else b""
    return {
        "Name": span.name,
        "SpanContext": _context(span.trace_id, span.span_id, span.flags, span.trace_state),
        "Parent": _context(above, span.parent_span_id, span.flags, ""),
        "SpanKind": span.kind,
        "StartTime": str(Time.from_ns(span.start_time_unix_nano)),
        "EndTime": str(Time.from_ns(span.end_time_unix_nano)),
        "Attributes": _stubs(span.attributes),
        "Events": events or None,
        "Links": None,
        "Status": {
            "Code": {1: "Ok", 2: "Error"}.get(span.status.code, "Unset"),
            "Description": span.status.message,
        },
        "DroppedAttributes": span.dropped_attributes_count,
        "DroppedEvents": span.dropped_events_count,
        "DroppedLinks": span.dropped_links_count,
        "ChildSpanCount": 0,
        "Resource": _stubs(resource.resource.attributes),
        "InstrumentationLibrary": {
            "Name": scope.scope.name,
            "Version": scope.scope.version,
            "SchemaURL": scope.schema_url,
        },
    }


def _context(trace: bytes, span: bytes, flags: int, state: str) -> dict[str, Any]:
    return {
        "TraceID": trace.hex().zfill(32),
        "SpanID": span.hex().zfill(16),
        "TraceFlags": f"{flags & 255:02x}",
        "TraceState": state,
        "Remote": False,
    }


def _stubs(of: Any) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] = []
    for one in of:
        kind = one.value.WhichOneof("value")
        match kind:
            case "bool_value":
                told = ("BOOL", one.value.bool_value)
            case "int_value":
                told = ("INT64", one.value.int_value)
            case "double_value":
                told = ("FLOAT64", one.value.double_value)
            case "string_value":
                told = ("STRING", one.value.string_value)
            case _:
                continue  # arrays are told by no span of builds
        found.append({"Key": one.key, "Value": {"Type": told[0], "Value": told[1]}})
    return found or None
