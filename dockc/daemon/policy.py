"""What a client says to each source that is about to be used (service PolicyVerifier of its session)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dockc.engine.gateway import resolve_meta
from dockc.errors import DockcError
from dockc.golang.text import quote
from dockc.protocol import platforms as wire
from dockc.protocol.errors import PREFIX, from_rpc
from dockc.protocol.names import CHECK_POLICY
from dockc.rpc.pb import common_pb2, gateway_pb2
from dockc.rpc.status import UNKNOWN, RpcError

if TYPE_CHECKING:
    from dockc.daemon.sessions import Caller
    from dockc.oci.platform import Platform

_DECISION = PREFIX + "policysession.DecisionResponse+json"
_MOST_QUESTIONS = 10


class SessionPolicy:
    """A client that judges sources (`runtime.session.base.SourceCheck`)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def __call__(
        self, bridge: Any, identifier: str, attrs: Mapping[str, str], platform: Platform | None
    ) -> tuple[str, Mapping[str, str]] | None:
        """See `SourceCheck`: the client may ask about the source before it decides."""
        source = common_pb2.SourceOp(identifier=identifier, attrs=dict(attrs))
        asked = gateway_pb2.CheckPolicyRequest(Source=gateway_pb2.ResolveSourceMetaResponse(Source=source))
        if platform is not None:
            asked.Platform.CopyFrom(wire.to_wire(platform))
        for _ in range(_MOST_QUESTIONS):
            try:
                said = await self._caller.unary(CHECK_POLICY, asked, gateway_pb2.CheckPolicyResponse)
            except RpcError as exc:
                raise from_rpc(exc) from None
            if said.HasField("request"):
                self._same(source, said.request.Source)
                asked.Source.CopyFrom(await resolve_meta(bridge, said.request, judge=False))
                continue
            if not said.HasField("decision"):
                raise DockcError("no decision in policy response")
            return _decided(identifier, said.decision)
        raise DockcError("too many policy requests")

    @staticmethod
    def _same(source: common_pb2.SourceOp, other: common_pb2.SourceOp) -> None:
        """A policy may ask about what it judges, and about nothing else."""
        if other.identifier != source.identifier:
            raise DockcError(
                f"policy requested different source identifier: {quote(other.identifier)} != {quote(source.identifier)}"
            )
        if dict(other.attrs) != dict(source.attrs):
            raise DockcError("policy requested different source attrs")


def _decided(identifier: str, decision: gateway_pb2.PolicyDecision) -> tuple[str, Mapping[str, str]] | None:
    if decision.action == common_pb2.ALLOW:
        return None
    if decision.action == common_pb2.CONVERT:
        if not decision.HasField("update"):
            raise DockcError("convert action requires updated source")
        return decision.update.identifier, dict(decision.update.attrs)
    name = "DENY" if decision.action == common_pb2.DENY else str(decision.action)
    words = [{"message": one.message} for one in decision.denyMessages]
    details = [(_DECISION, json.dumps({"action": decision.action, "denyMessages": words}).encode())] if words else []
    message = f"source {quote(identifier)} not allowed by policy: action {name}"
    raise from_rpc(RpcError(message, code=UNKNOWN, details=details))
