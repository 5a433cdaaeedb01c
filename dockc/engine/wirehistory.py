"""The history in BuildKit's words: records as its calls and bundles have them, and a build's progress from its record.

Source: BuildKit, api/services/control/control.proto (`BuildHistoryRecord`), and what buildx writes and reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dockc.base.record import Record
from dockc.engine import history
from dockc.errors import UsageError
from dockc.oci import digest as digests
from dockc.protocol.status import from_wire, to_time, to_wire
from dockc.rpc.pb import common_pb2, control_pb2
from dockc.rpc.status import CANCELLED, UNKNOWN
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexWarning

if TYPE_CHECKING:
    from dockc.engine.history import BuildRecord

STATUS = "application/vnd.buildkit.status.v0"
"""Media type of a build's progress: messages `StatusResponse`, each after its length as four bytes, the lowest first.
"""
TRACE = "application/vnd.buildkit.otlp.json.v0"
"""Media type of a build's trace: a span as JSON a line."""
ERROR = "application/vnd.googeapis.google.rpc.status+proto"
"""Media type of how a build failed: a `google.rpc.Status` with all details. The spelling is BuildKit's."""
_PART = 256 << 10
"""Bytes of logs in one message."""
_MESSAGE = 64 << 20
LARGEST_ERROR = 4 << 20
"""Bytes of how a build failed that are kept."""
_LARGEST = 64 << 20
"""Bytes of a record whose progress is also kept in BuildKit's form."""


class Blob(Record):
    """A blob beside the history."""

    path: Path
    digest: str
    size: int


def wire_record(record: BuildRecord) -> control_pb2.BuildHistoryRecord:
    """A record as BuildKit's history calls have it."""
    options, more = record.options, record.more
    attrs = {str(k): str(v) for k, v in options["attrs"].items()} if isinstance(options.get("attrs"), dict) else {}
    for key in ("context", "filename"):
        value = options.get({"filename": "file"}.get(key, key))
        if isinstance(value, str) and value:
            attrs.setdefault(key, value)
    made = control_pb2.BuildHistoryRecord(
        Ref=record.ref,
        Frontend=str(options.get("frontend", "dockerfile.v0")),
        FrontendAttrs=attrs,
        CreatedAt=to_time(record.began),
        ExporterResponse={str(key): str(value) for key, value in record.results.items()},
        pinned=record.pinned,
        numCachedSteps=count(more.get("cached", record.cached)),
        numTotalSteps=count(more.get("total", record.executed + record.cached)),
        numCompletedSteps=count(more.get("completed", record.executed + record.cached)),
        numWarnings=count(more.get("warnings", 0)),
    )
    for one in options["outputs"] if isinstance(options.get("outputs"), list) else ():
        if isinstance(one, dict):
            made.Exporters.add(
                Type=str(one.get("type", "")),
                Attrs={str(k): str(v) for k, v in one.items() if k not in {"type", "dest"}},
            )
    names = options.get("names")
    if isinstance(names, list) and names and not made.Exporters:
        made.Exporters.add(Type="image", Attrs={"name": ",".join(map(str, names))})
    if record.status == "running":
        return made
    made.CompletedAt.CopyFrom(to_time(record.ended or max(record.began, _changed(record.path))))
    if record.status != "completed":
        canceled = record.status != "failed"
        made.error.code = count(more.get("code")) or (CANCELLED if canceled else UNKNOWN)
        made.error.message = "context canceled" if canceled else record.error or "the build failed"
        for url, value in _details(more.get("details")):
            made.error.details.add(type_url=url, value=value)
    about = history.about(record.path)
    beside = (("logs", STATUS, made.logs), ("trace", TRACE, made.trace), ("failure", ERROR, made.externalError))
    for key, kind, descriptor in beside:
        found = about.get(key)
        if isinstance(found, list) and len(found) == 2:
            descriptor.media_type, descriptor.digest, descriptor.size = kind, str(found[0]), count(found[1])
    _name_results(made, more.get("made"))
    return made


def _name_results(made: control_pb2.BuildHistoryRecord, images: object) -> None:
    """Say which images a build has made: number of the output, media type, digest, size and annotations of each."""
    for one in images if isinstance(images, list) else ():
        if not (isinstance(one, list) and len(one) == 5 and isinstance(one[4], dict)):
            continue
        descriptor = made.Result.Results[count(one[0])]
        descriptor.media_type, descriptor.digest, descriptor.size = str(one[1]), str(one[2]), _count64(one[3])
        descriptor.annotations.update({str(key): str(value) for key, value in one[4].items()})
        if not made.Result.HasField("ResultDeprecated"):
            made.Result.ResultDeprecated.CopyFrom(descriptor)


def count(value: object) -> int:
    """A number of 31 bits; 0 for what is none."""
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0


def _details(value: object) -> Iterator[tuple[str, bytes]]:
    for one in value if isinstance(value, list) else ():
        try:
            url, data = one
            yield str(url), base64.b64decode(data)
        except (TypeError, ValueError, binascii.Error):
            continue


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def replay(record: BuildRecord) -> Iterator[SolveStatus]:
    """What a build told, in the order in which it did, a part at a time.

    Raises:
        StoreError: the record cannot be read.
    """
    vertexes: list[VertexEvent] = []
    logs: list[VertexLog] = []
    warnings: list[VertexWarning] = []
    inputs: dict[str, tuple[str, ...]] = {}
    size = 0
    for line in history.lines(record):
        step, log, warning = line.get("step"), line.get("log"), line.get("warning")
        if isinstance(step, dict) and isinstance(step.get("digest"), str):
            event = _event(step, inputs)
            # A log belongs to what was told of its step by then.
            if logs:
                yield SolveStatus(tuple(vertexes), (), tuple(logs), tuple(warnings))
                vertexes, logs, warnings, size = [], [], [], 0
            vertexes.append(event)
        elif isinstance(log, list) and len(log) == 4:
            data = str(log[1]).encode("utf-8", "surrogateescape")
            logs.append(VertexLog(str(log[0]), log[2] if log[2] in (1, 2) else 1, data, _count64(log[3])))
            size += len(data)
        elif isinstance(warning, dict):
            warnings.append(VertexWarning(str(warning.get("step", "")), 1, str(warning.get("short", ""))))
        if size > _PART:
            yield SolveStatus(tuple(vertexes), (), tuple(logs), tuple(warnings))
            vertexes, logs, warnings, size = [], [], [], 0
    if vertexes or logs or warnings:
        yield SolveStatus(tuple(vertexes), (), tuple(logs), tuple(warnings))


def _event(step: dict[str, Any], inputs: dict[str, tuple[str, ...]]) -> VertexEvent:
    digest = step["digest"]
    given = step.get("inputs")
    if isinstance(given, list):
        inputs[digest] = tuple(map(str, given))
    started, completed = (
        value if isinstance(value := step.get(key), int) else None for key in ("started", "completed")
    )
    return VertexEvent(
        digest, str(step.get("name", "")), inputs.get(digest, ()), started, completed, step.get("cached") is True,
        str(step.get("error") or ""),
    )  # fmt: skip


def _count64(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 62 else 0


def status_parts(record: BuildRecord) -> Iterator[bytes]:
    """A build's progress as BuildKit keeps it (`STATUS`).

    Raises:
        StoreError: the record cannot be read.
    """
    for status in replay(record):
        data = to_wire(status).SerializeToString()
        yield struct.pack("<I", len(data)) + data


def keep_status(record: BuildRecord) -> Blob | None:
    """Write a build's progress in BuildKit's form beside its record, for clients that take it away; None for one that
    is too large.

    Raises:
        StoreError: it cannot be written.
    """
    with history.beside(record, ".status") as path:
        if record.path.stat().st_size > _LARGEST:
            return None
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                digest, size = write_status(record, file)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    history.change(record, logs=[digest, size])
    return Blob(path, digest, size)


def keep_error(record: BuildRecord, code: int, message: str, details: Iterable[tuple[str, bytes]]) -> Blob:
    """Write how a build failed beside its record, for clients that look into it.

    Raises:
        StoreError: it cannot be written.
    """
    status = common_pb2.Status(code=code, message=message.encode("utf-8", "replace").decode())
    for url, value in details:
        status.details.add(type_url=url, value=value)
    data = status.SerializeToString()
    digest = digests.from_bytes(data)
    return Blob(history.keep_error(record, data, digest), digest, len(data))


def kept_details(details: Iterable[tuple[str, bytes]], hide: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """An error's details as they are kept: without secrets, and not more than `LARGEST_ERROR`. Excerpts of files, which are
    packed, stay as they are.
    """
    left = LARGEST_ERROR
    for url, value in details:
        if not url.endswith("errdefs.Source+json"):
            value = hide(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        left -= len(url) + len(value)
        if left >= 0:
            yield url, value


def read_error(record: BuildRecord) -> bytes:
    """How a build failed, in the wire's form; b"" where it did not, or nobody has kept that."""
    try:
        return record.path.with_suffix(".error").read_bytes()
    except OSError:
        return b""


def take_error(record: BuildRecord, data: bytes, hide: Callable[[str], str]) -> None:
    """Keep how a build of a bundle failed. What is no such message is left out.

    Raises:
        StoreError: it cannot be written.
    """
    from google.protobuf.message import DecodeError

    try:
        status = common_pb2.Status.FromString(data)
    except DecodeError:
        return
    details = [(one.type_url, one.value) for one in status.details]
    keep_error(record, status.code, hide(status.message[:4096]), kept_details(details, hide))


def write_status(record: BuildRecord, file: BinaryIO) -> tuple[str, int]:
    """Write a build's progress in BuildKit's form; its digest and size.

    Raises:
        StoreError: the record cannot be read.
        OSError: the file cannot be written.
    """
    hasher = hashlib.sha256()
    size = 0
    for part in status_parts(record):
        hasher.update(part)
        size += file.write(part)
    return f"sha256:{hasher.hexdigest()}", size


def read_status(file: BinaryIO) -> Iterator[SolveStatus]:
    """A build's progress from BuildKit's form; ends where it is cut off.

    Raises:
        UsageError: it is none.
    """
    from google.protobuf.message import DecodeError

    while len(head := file.read(4)) == 4:
        (length,) = struct.unpack("<I", head)
        data = file.read(length) if length <= _MESSAGE else b""
        if len(data) != length:
            raise UsageError("the logs of the bundle are cut off")
        try:
            yield from_wire(control_pb2.StatusResponse.FromString(data))
        except DecodeError:
            raise UsageError("the logs of the bundle are no progress of a build") from None
