"""Signatures against the examples that the services publish."""

from __future__ import annotations

import base64
import datetime

import pytest

from dockc.errors import UsageError
from dockc.runtime.remotecache import signing
from dockc.runtime.remotecache.signing import AwsKeys

KEYS = AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("url", "headers", "signature"),
    [
        ("https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("https://examplebucket.s3.amazonaws.com/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_examples_of_aws(url: str, headers: dict[str, str], signature: str) -> None:
    signed = signing.aws_headers("GET", url, headers, KEYS, "us-east-1", now=NOW)
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert "wJalr" not in str(signed)


def test_a_session_has_its_token_signed() -> None:
    signed = signing.aws_headers("GET", "https://b/", {}, AwsKeys("a", "b", "token"), "r", now=NOW)
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in signed["authorization"]


def test_azure_signs_everything_that_counts() -> None:
    key = base64.b64encode(b"secret").decode()

    def sign(method: str, url: str, headers: dict[str, str], length: int = 0) -> str:
        return signing.azure_headers(method, url, headers, "me", key, length=length, now=NOW)["authorization"]

    base = sign("PUT", "https://me.blob.core.windows.net/c/b?comp=block&blockid=MQ%3D%3D", {"x-ms-blob-type": "BlockBlob"}, 3)
    assert base.startswith("SharedKey me:")
    others = {
        sign("GET", "https://me.blob.core.windows.net/c/b?comp=block&blockid=MQ%3D%3D", {"x-ms-blob-type": "BlockBlob"}, 3),
        sign("PUT", "https://me.blob.core.windows.net/c/x?comp=block&blockid=MQ%3D%3D", {"x-ms-blob-type": "BlockBlob"}, 3),
        sign("PUT", "https://me.blob.core.windows.net/c/b?comp=block&blockid=Mg%3D%3D", {"x-ms-blob-type": "BlockBlob"}, 3),
        sign("PUT", "https://me.blob.core.windows.net/c/b?comp=block&blockid=MQ%3D%3D", {"x-ms-blob-type": "PageBlob"}, 3),
        sign("PUT", "https://me.blob.core.windows.net/c/b?comp=block&blockid=MQ%3D%3D", {"x-ms-blob-type": "BlockBlob"}, 4),
    }
    assert base not in others
    assert len(others) == 5
    with pytest.raises(UsageError, match="no base64"):
        signing.azure_headers("GET", "https://x/", {}, "me", "***", now=NOW)
