"""A client that judges sources over its session."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from dockc.daemon.policy import SessionPolicy
from dockc.daemon.sessions import Caller
from dockc.errors import DockcError
from dockc.oci.platform import Platform
from dockc.protocol.errors import RemoteError
from dockc.protocol.names import CHECK_POLICY
from dockc.rpc.pb import common_pb2, gateway_pb2
from dockc.runtime.source.found import FoundHttp

URL = "https://example.com/a.tar"


class Client:
    """Says what it was given to say, and keeps what it was asked."""

    def __init__(self, *answers: gateway_pb2.CheckPolicyResponse) -> None:
        self.answers, self.asked = list(answers), list[gateway_pb2.CheckPolicyRequest]()

    async def unary(self, path: str, request: gateway_pb2.CheckPolicyRequest, _: object) -> gateway_pb2.CheckPolicyResponse:
        assert path == CHECK_POLICY
        copy = gateway_pb2.CheckPolicyRequest()
        copy.CopyFrom(request)
        self.asked.append(copy)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Bridge:
    """Knows one download."""

    judges = True

    def __init__(self) -> None:
        self.fetched: list[tuple[object, ...]] = []

    async def look_up(self, identifier: str, attrs: dict[str, str], **_: Any) -> FoundHttp:
        self.fetched.append((identifier,))
        return FoundHttp("sha256:" + "a" * 64, filename="a.tar")

    async def digest_of_download(self, identifier: str, attrs: object, filename: str, *, algorithm: str, suffix: bytes) -> str:
        return f"{algorithm}:{identifier} {filename} {suffix.hex()}"


def decision(action: int, *words: str, update: common_pb2.SourceOp | None = None) -> gateway_pb2.CheckPolicyResponse:
    said = gateway_pb2.PolicyDecision(action=cast(Any, action), denyMessages=[gateway_pb2.DenyMessage(message=one) for one in words])
    if update is not None:
        said.update.CopyFrom(update)
    return gateway_pb2.CheckPolicyResponse(decision=said)


def question(identifier: str = URL) -> gateway_pb2.CheckPolicyResponse:
    asked = gateway_pb2.ResolveSourceMetaRequest(Source=common_pb2.SourceOp(identifier=identifier))
    return gateway_pb2.CheckPolicyResponse(request=asked)


def judge(client: Client, bridge: Bridge | None = None) -> tuple[str, Any] | None:
    policy = SessionPolicy(cast(Caller, client))
    return asyncio.run(policy(bridge or Bridge(), URL, {}, Platform("linux", "arm64", "v8")))


def test_decisions() -> None:
    client = Client(question(), decision(common_pb2.ALLOW))
    assert judge(client) is None
    first, second = client.asked
    assert (first.Platform.Architecture, first.Source.Source.identifier) == ("arm64", URL)
    assert (second.Source.HTTP.Filename, second.Source.Source.identifier) == ("a.tar", URL)
    other = common_pb2.SourceOp(identifier="https://example.com/b", attrs={"k": "v"})
    assert judge(Client(decision(common_pb2.CONVERT, update=other))) == ("https://example.com/b", {"k": "v"})
    with pytest.raises(RemoteError, match=r'source "https://example.com/a.tar" not allowed by policy: action DENY') as caught:
        judge(Client(decision(common_pb2.DENY, "because", "so")))
    ((url, value),) = caught.value.remote.details
    assert url.endswith("policysession.DecisionResponse+json")
    assert json.loads(value) == {"action": 1, "denyMessages": [{"message": "because"}, {"message": "so"}]}


def checksum(algorithm: int, suffix: bytes) -> gateway_pb2.CheckPolicyResponse:
    said = question()
    said.request.HTTP.ChecksumRequest.Algo = cast(Any, algorithm)
    said.request.HTTP.ChecksumRequest.Suffix = suffix
    return said


def test_a_policy_asks_for_what_a_signature_signs() -> None:
    client = Client(checksum(2, b"\x04\0"), decision(common_pb2.ALLOW))
    assert judge(client) is None
    answer = client.asked[1].Source.HTTP.ChecksumResponse
    assert (answer.Digest, answer.Suffix) == (f"sha512:{URL} a.tar 0400", b"\x04\0")
    for asked, words in ((checksum(0, bytes(4097)), "suffix exceeds max size 4096"), (checksum(99, b""), "unsupported checksum algorithm 99")):
        bridge = Bridge()
        with pytest.raises(DockcError, match=words):
            judge(Client(asked), bridge)
        assert bridge.fetched == []


def test_answers_that_make_no_sense() -> None:
    for answers, words in (
        ([question()], "too many policy requests"),
        ([question("https://example.com/other")], "policy requested different source identifier"),
        ([gateway_pb2.CheckPolicyResponse()], "no decision in policy response"),
        ([decision(common_pb2.CONVERT)], "convert action requires updated source"),
        ([decision(7)], "not allowed by policy: action 7"),
    ):
        with pytest.raises(DockcError, match=words):
            judge(Client(*answers))
