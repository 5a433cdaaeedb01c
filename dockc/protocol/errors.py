"""Errors: ours to a status with details, and back.

A detail of BuildKit's has a type URL that ends in `+json`, and JSON as its value. The one that matters to people is
`errdefs.Source`: a file and
lines in it, which every client shows. Source: BuildKit's `solver/errdefs` (types and fields).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dockc.base import jsontext
from dockc.errors import CompileError, DockcError, ExecError, SolveError, UsageError
from dockc.protocol.stacks import STACK, stacks_of
from dockc.rpc.status import (
    INVALID_ARGUMENT,
    UNIMPLEMENTED,
    UNKNOWN,
    RpcError,
)

if TYPE_CHECKING:
    from dockc.llb.definition import Location, SourceInfo

PREFIX = "github.com/moby/buildkit/"
SOURCE = PREFIX + "errdefs.Source+json"
SOLVE = PREFIX + "errdefs.Solve+json"
VERTEX = PREFIX + "errdefs.Vertex+json"
EXIT = PREFIX + "gatewayapi.ExitMessage+json"

Place = tuple[str, str, tuple[tuple[int, int], ...]]
"""Name and text of a file, and lines in it (from 1, both ends included)."""


class RemoteError(SolveError):
    """A builder says that something failed.

    Attributes:
        places: where it is written.
        remote: the status as it came.
    """

    def __init__(self, error: RpcError, *, vertex: str = "", places: tuple[Place, ...] = ()) -> None:
        super().__init__(error.message, vertex=vertex, hint=error.hint)
        self.places = places
        self.remote = error


def from_rpc(error: RpcError) -> RemoteError:
    """The error with what its details say."""
    vertex, places = "", []
    for url, value in error.details:
        kind = url.rpartition("/")[2]
        if kind not in {"errdefs.Source+json", "errdefs.Vertex+json"}:
            continue
        try:
            told = jsontext.parsed(value)
        except ValueError:
            continue
        if not isinstance(told, dict):
            continue
        if kind.startswith("errdefs.Vertex"):
            vertex = vertex or str(told.get("digest", ""))
        elif place := _place(told):
            places.append(place)
    return RemoteError(error, vertex=vertex, places=tuple(places))


def _place(told: dict[str, Any]) -> Place | None:
    info, ranges = told.get("info"), told.get("ranges")
    if not isinstance(info, dict) or not isinstance(ranges, list):
        return None
    try:
        text = base64.b64decode(info.get("data", "")).decode("utf-8", "replace")
        lines = tuple((_line(one, "start"), _line(one, "end")) for one in ranges)
    except (TypeError, ValueError, AttributeError):
        return None
    return str(info.get("filename", "")), text, lines


def _line(one: dict[str, Any], which: str) -> int:
    return int((one.get(which) or {}).get("line", 0))


def to_rpc(error: BaseException) -> RpcError:
    """What a client is told: code, message and details."""
    if isinstance(error, RemoteError):
        return RpcError(error.message, code=error.remote.code, details=error.remote.details)
    if isinstance(error, RpcError):
        return error
    if not isinstance(error, DockcError):
        from dockc.rpc.calls import explained

        return explained(error)
    details: list[tuple[str, bytes]] = []
    vertex = getattr(error, "vertex", "")
    if vertex:
        details.append((VERTEX, _json({"digest": vertex})))
    sources = getattr(error, "sources", ())
    details += [(SOURCE, known_source_detail(*one)) for one in sources]
    details += [(SOURCE, source_detail(*place)) for place in places_of(error) if not sources]
    subrequest = getattr(error, "subrequest", "")
    if subrequest:
        details.append((PREFIX + "errdefs.Subrequest+json", _json({"name": subrequest})))
    capability = getattr(error, "capability", "")
    if capability:
        details.append((PREFIX + "errdefs.FrontendCap+json", _json({"name": capability})))
    if isinstance(error, ExecError):
        details.append((EXIT, _json({"Code": error.exit_status})))
    details += [(STACK, one) for one in stacks_of(error)]
    message = f"{error.context}{error.message}"
    return RpcError(message, code=_code(error), details=details)


def _code(error: DockcError) -> int:
    if isinstance(error, UsageError):
        return INVALID_ARGUMENT
    if getattr(error, "subrequest", "") or getattr(error, "capability", ""):
        return UNIMPLEMENTED
    return UNKNOWN


def places_of(error: DockcError) -> tuple[Place, ...]:
    """Where the error is written, as far as it knows."""
    if isinstance(error, CompileError):
        if error.source is None or not error.locations:
            return ()
        return tuple((*error.source, ranges) for ranges in error.locations[:1])
    return tuple(getattr(error, "places", ()))


def source_detail(name: str, text: str, ranges: Iterable[tuple[int, int]]) -> bytes:
    """The value of a detail `errdefs.Source`."""
    data = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
    spans = [{"start": {"line": first}, "end": {"line": last}} for first, last in ranges]
    info = {"filename": name, "data": data, "language": "Dockerfile", "definition": {"def": _reading()}}
    return _json({"info": info, "ranges": spans})


def known_source_detail(info: SourceInfo, location: Location) -> bytes:
    """The same of a file that a definition tells of: with its language, and the graph that reads it."""
    told: dict[str, Any] = {"filename": info.filename, "data": base64.b64encode(info.data).decode()}
    if info.language:
        told["language"] = info.language
    if info.definition is not None:
        told["definition"] = {"def": [base64.b64encode(op).decode() for _, op in info.definition.ops]}
    spans = [
        {"start": _position(first, at), "end": _position(last, until)} for first, at, last, until in location.ranges
    ]
    return _json({"info": told, "ranges": spans})


def _position(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character} if character else {"line": line}


def _reading() -> list[str]:
    """The graph by which a client's Dockerfile is read: clients take an excerpt only with one."""
    from dockc.llb.author import state

    return [base64.b64encode(op).decode() for _, op in state.local("dockerfile").marshal().ops]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
