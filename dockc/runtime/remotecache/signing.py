"""Signatures of object stores' requests: AWS Signature Version 4, and Azure Storage's Shared Key.

Sources: AWS General Reference, "Create a signed request"; Azure Storage Services, "Authorize with Shared Key"
    (2009-09-19 and later).
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dockc.base.record import Record
from dockc.errors import UsageError

EMPTY = sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


class AwsKeys(Record):
    """Who asks: an access key, its secret, a session's token, or "", and when they run out (seconds since the epoch), or 0."""

    access_key: str
    secret: str
    token: str = ""
    expires: float = 0.0


def aws_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    keys: AwsKeys,
    region: str,
    *,
    payload: str = EMPTY,
    service: str = "s3",
    now: datetime.datetime | None = None,
) -> dict[str, str]:
    """The headers of a request with those that sign it.

    Args:
        method: HTTP verb.
        url: absolute, its path percent-encoded.
        headers: what else is sent and signed.
        keys: who asks.
        region: of the bucket.
        payload: SHA-256 of the body in hexadecimal, or `UNSIGNED`.
        service: of AWS.
        now: time of the request, UTC.
    """
    moment = (now or datetime.datetime.now(datetime.UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    signed = {"host": parts.netloc, "x-amz-content-sha256": payload, "x-amz-date": moment}
    signed |= {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names = ";".join(sorted(signed))
    query = "&".join(
        sorted(f"{_quoted(name)}={_quoted(value)}" for name, value in parse_qsl(parts.query, keep_blank_values=True))
    )
    path = quote(unquote(parts.path), safe="/-_.~") or "/"
    canonical = "\n".join(
        [method, path, query, *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, payload]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in (moment[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    out = {name: value for name, value in signed.items() if name != "host"}
    out["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return out


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def azure_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    account: str,
    key: str,
    *,
    length: int = 0,
    now: datetime.datetime | None = None,
) -> dict[str, str]:
    """The headers of a request with those that sign it.

    Args:
        method: HTTP verb.
        url: absolute.
        headers: what else is sent and signed.
        account: name of the account.
        key: its key, base64.
        length: bytes of the body.
        now: time of the request, UTC.

    Raises:
        UsageError: the key is no base64.
    """
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("the secret_access_key of an azblob cache is no base64") from None
    moment = (now or datetime.datetime.now(datetime.UTC)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    signed = {"x-ms-date": moment, "x-ms-version": "2021-12-02"} | {
        name.lower(): value for name, value in headers.items()
    }
    parts = urlsplit(url)
    standard = [
        "",
        "",
        str(length) if length else "",
        "",
        signed.get("content-type", ""),
        "",
        "",
        "",
        "",
        "",
        signed.get("range", ""),
    ]
    named = [f"{name}:{signed[name]}" for name in sorted(signed) if name.startswith("x-ms-")]
    resource = [f"/{account}{parts.path}"]
    queries: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        queries.setdefault(name.lower(), []).append(value)
    resource += [f"{name}:{','.join(sorted(queries[name]))}" for name in sorted(queries)]
    text = "\n".join([method, *standard, *named, *resource])
    signature = base64.b64encode(hmac.digest(secret, text.encode(), "sha256")).decode()
    return signed | {"authorization": f"SharedKey {account}:{signature}"}
