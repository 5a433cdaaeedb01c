"""How a call ends: a code, a message, and details of a type each (gRPC over HTTP/2, "Status")."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from dockc.errors import DockcError

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

_MOST_WORDS = 1 << 18
"""Characters of a message that go into trailers: coded they are three times as many at most."""
_MOST_DETAILS = 4 << 20
"""Bytes of details. Peers take 16 MB of headers (grpc-go's own limit), and end the connection when more comes."""
#: Printable ASCII but the percent sign goes as it is.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_OF_RESET = {0: UNKNOWN, 7: UNAVAILABLE, 8: CANCELLED, 11: RESOURCE_EXHAUSTED}
# What a proxy's answer means: gRPC, "HTTP to gRPC status code mapping".
_OF_HTTP = {
    400: INTERNAL,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: UNIMPLEMENTED,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}


class RpcError(DockcError):
    """A call that did not end well.

    Attributes:
        code: one of the codes above.
        details: type URL and value of each detail, in the peer's order. Unknown ones are kept.
    """

    def __init__(self, message: str, *, code: int, details: Iterable[tuple[str, bytes]] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.details = tuple(details)

    @classmethod
    def of_reset(cls, code: int) -> RpcError:
        """Of a stream that the peer broke off with an HTTP/2 error code."""
        return cls(
            "the call was cancelled by the peer" if code == 8 else f"the peer broke the call off (HTTP/2 code {code})",
            code=_OF_RESET.get(code, INTERNAL),
        )

    def again(self) -> RpcError:
        """The same error, to be raised once more: an exception that is raised twice grows a longer traceback each
        time.
        """
        return type(self)(self.message, code=self.code, details=self.details, hint=self.hint)


def trailers_of(code: int, message: str = "", details: Iterable[tuple[str, bytes]] = ()) -> list[tuple[str, str]]:
    """The trailers that carry a status: of a message that no peer would take the beginning, of details those that fit."""
    found = [("grpc-status", str(code))]
    if len(message) > _MOST_WORDS:
        message = f"{message[:_MOST_WORDS]}... ({len(message)} characters)"
    if message:
        found.append(("grpc-message", quote(message.encode("utf-8", "replace"), safe=_PLAIN)))
    details = tuple(_fitting(details))
    if details:
        from dockc.rpc.pb import common_pb2

        status = common_pb2.Status(code=code, message=message.encode("utf-8", "replace").decode())
        for url, value in details:
            status.details.add(type_url=url, value=value)
        found.append(("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode().rstrip("=")))
    return found


def _fitting(details: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    left = _MOST_DETAILS
    for url, value in details:
        if len(url) + len(value) <= left:
            left -= len(url) + len(value)
            yield url, value


def no_answer(headers: Iterable[tuple[str, str]]) -> RpcError | None:
    """The error of an answer that is none of gRPC, such as a proxy's page; None where the headers are as they should be.
    What follows them are no messages.
    """
    found = dict(headers)
    if "grpc-status" in found:
        return None
    http, kind = found.get(":status", "200"), found.get("content-type", "application/grpc")
    if http != "200":
        return RpcError(
            f"the peer answered with HTTP status {http}",
            code=_OF_HTTP.get(int(http) if http.isdecimal() and len(http) < 10 else 0, UNKNOWN),
        )
    if not kind.startswith("application/grpc"):
        return RpcError(f"the peer answered with {kind[:100]}, not with gRPC", code=UNKNOWN)
    return None


def error_of(trailers: Iterable[tuple[str, str]]) -> RpcError | None:
    """The error that trailers or the headers of an answer without messages tell; None if all is well."""
    found = dict(trailers)
    text = found.get("grpc-status", "")
    if not text:
        if (other := no_answer(found.items())) is not None:
            return other
        return RpcError("the peer ended the call without a status", code=INTERNAL)
    code = int(text) if text.isdecimal() and len(text) < 10 else UNKNOWN
    if code == OK:
        return None
    message = unquote(found.get("grpc-message", ""), errors="replace")
    details: list[tuple[str, bytes]] = []
    packed = found.get("grpc-status-details-bin", "")
    if packed:
        details = details_of(packed)
    return RpcError(message, code=code, details=details)


def details_of(packed: str) -> list[tuple[str, bytes]]:
    """The details in `grpc-status-details-bin`; nothing if it is no such thing."""
    from google.protobuf.message import DecodeError

    from dockc.rpc.pb import common_pb2

    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4))
        status = common_pb2.Status.FromString(data)
    except (binascii.Error, DecodeError, ValueError):
        return []
    return [(one.type_url, one.value) for one in status.details]
