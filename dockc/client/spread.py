"""A build on a builder of several nodes: each platform on the node that has it, another node where one goes or is full,
and one index of what came.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.aside import aside, together
from dockc.base.record import Record, made, replace
from dockc.client import address, building, joining, nodes
from dockc.engine.progress import Steps
from dockc.engine.request import Asked, load, with_changes
from dockc.errors import DockcError
from dockc.oci import platform as platforms
from dockc.protocol.errors import RemoteError
from dockc.rpc.status import CANCELLED, RESOURCE_EXHAUSTED, UNAVAILABLE
from dockc.rpc.transports import CannotConnect
from dockc.runtime.remotecache.base import CacheEntry
from dockc.solver.progress import SolveStatus, VertexEvent

if TYPE_CHECKING:
    from dockc.client.builders import Node
    from dockc.client.control import Export, Spans
    from dockc.client.nodes import Health
    from dockc.oci.platform import Platform
    from dockc.solver.progress import StatusSink


class Ways(Record):
    """How a builder elsewhere shall build: what is no part of the request.

    Attributes:
        frontend: the builder's frontend that compiles; "" compiles here.
        cache_from, cache_to: caches to read and to write.
        stores: directories of local caches, by store name.
        attests: attestations that the builder makes.
        metadata: of the call that builds, such as the trace that it belongs to.
        spans: as in `BuildSpec`.
    """

    frontend: str = ""
    cache_from: tuple[CacheEntry, ...] = ()
    cache_to: tuple[CacheEntry, ...] = ()
    stores: Mapping[str, Path] = made(dict)
    attests: Mapping[str, str] = made(dict)
    metadata: tuple[tuple[str, str], ...] = ()
    spans: Spans | None = None


class NoNode(DockcError):
    """No node of a builder could build."""


async def build(name: str, members: Sequence[Node], request: Asked, sink: StatusSink, ways: Ways) -> dict[str, str]:
    """Build on the nodes of a builder; what the exporters answer.

    Raises:
        NoNode: each node is gone or full.
        UsageError: an output or cache that one node alone can make.
        DockcError: as `building.build`.
    """
    if len(members) == 1:
        return await _on(members[0], request, sink, ways, building.exports_of(request))
    return await _Spread(name, members, request, sink, ways).run()


async def _on(node: Node, request: Asked, sink: StatusSink, ways: Ways, exports: Sequence[Export]) -> dict[str, str]:
    return await building.build(
        building.Place(address.parse(node.addr), node.tls or None),
        request,
        sink,
        frontend=ways.frontend,
        cache_from=ways.cache_from,
        cache_to=ways.cache_to,
        stores=ways.stores,
        attests=ways.attests,
        metadata=ways.metadata,
        spans=ways.spans,
        exports=exports,
    )


class _Spread:
    """One build on its way over several nodes."""

    def __init__(self, name: str, members: Sequence[Node], request: Asked, sink: StatusSink, ways: Ways) -> None:
        self._name, self._members, self._request, self._sink, self._ways = name, members, request, sink, ways
        self._identity = nodes.identity_of(request.compile.context, request.compile.file)
        self._steps = Steps(sink)
        self._health: dict[Node, Health] = {}
        self._gone: dict[Node, str] = {}

    async def run(self) -> dict[str, str]:
        said = await together(*(nodes.ask(node) for node in self._members))
        inputs = await asyncio.to_thread(load, self._request.compile, showing=self._steps.measured)
        self._health = dict(zip(self._members, said, strict=True))
        for node, health in self._health.items():
            if health.problem:
                self._gone[node] = health.problem
                self._say(f"the node {node.shown} is left out: {health.problem}")
        wanted = list(dict.fromkeys(inputs.options.target_platforms or (None,)))
        first = {one: self._choices(one)[0] for one in wanted}
        groups: dict[Node, list[Platform | None]] = {}
        for one, node in first.items():
            groups.setdefault(node, []).append(one)
        shown = "; ".join(f"{', '.join(map(_text, group))} on {node.shown}" for node, group in groups.items())
        self._say(shown)
        if len(groups) == 1:
            return await self._group(wanted, self._request, prefix=False)
        joining.check(self._request.outputs, self._request.names, self._ways.cache_to)
        with ExitStack() as stack:
            # Each group writes to a place of its own, and what is there then becomes one result.
            shares = [joining.Share(self._request, Path(stack.enter_context(_folder(self._request)))) for _ in groups]
            answers = await together(
                *(
                    self._group(group, share.request, prefix=True)
                    for group, share in zip(groups.values(), shares, strict=True)
                )
            )
            join = partial(joining.join, self._request, shares, answers, self._steps)
            return await aside(join)

    def _choices(self, platform: Platform | None) -> tuple[Node, ...]:
        """Nodes for a platform, the best first. Without one it is this machine's, as it would be in a build here.

        Raises:
            NoNode: none is left.
        """
        left = [node for node in self._members if node not in self._gone]
        found = nodes.ranked(left, self._health, platform or platforms.default(), self._identity)
        if not found:
            told = "; ".join(f"{node.shown}: {why}" for node, why in self._gone.items())
            raise NoNode(f"no node of the builder {self._name} can build {_text(platform)}: {told}")
        return found

    async def _group(self, group: Sequence[Platform | None], request: Asked, *, prefix: bool) -> dict[str, str]:
        """Build platforms together on one node, and on the next best one when it goes."""
        several = prefix
        asked = [one for one in group if one is not None]
        if asked and several:
            attrs = {**request.compile.attrs, "platform": ",".join(map(platforms.format_all, asked))}
            attrs["multi-platform"] = "true"  # so that each part is an index
            request = replace(request, compile=with_changes(request.compile, attrs=attrs))
        while True:
            node = self._choices(group[0])[0]
            sink = _Relayed(self._sink, node.shown if several else "", len(self._gone))
            exports = building.exports_of(request)
            try:
                return await _on(node, request, sink, self._ways, exports)
            except DockcError as exc:
                why = _why_gone(exc, exports)
                if not why:
                    raise
                sink.close()
                self._gone.setdefault(node, why)
                if any(one.receiver is not None and one.receiver.spent for one in exports):
                    raise
                following = self._choices(group[0])[0]
                what = ", ".join(map(_text, group))
                self._say(f"{node.shown} does not finish {what} ({why}): {following.shown} builds it")

    def _say(self, text: str) -> None:
        with self._steps.step(f"[internal] {self._name}: {text}"):
            pass


def _why_gone(error: DockcError, exports: Sequence[Export]) -> str:
    """Why a node cannot build this, where another can; "" where the build itself has failed."""
    if isinstance(error, CannotConnect):
        return error.message
    if not isinstance(error, RemoteError):
        return ""
    if error.remote.code in {UNAVAILABLE, CANCELLED}:  # nobody here has cancelled it: that raises another error
        return f"it is gone: {error.message}"
    here = any(one.receiver is not None and one.receiver.failed for one in exports)
    if error.remote.code == RESOURCE_EXHAUSTED or ("no space left on device" in error.message.lower() and not here):
        return f"it is full: {error.message}"
    return ""


def _text(platform: Platform | None) -> str:
    return platforms.format_all(platform) if platform is not None else "the build"


def _folder(request: Asked) -> tempfile.TemporaryDirectory[str]:
    """A place for parts of an archive, on the disk that the whole is for where one is named."""
    for output in request.outputs:
        if output.type == "oci" and output.dest not in {"", "-"}:
            parent = Path(output.dest).absolute().parent
            if parent.is_dir():
                return tempfile.TemporaryDirectory(prefix=".dockc-", dir=parent)
    return tempfile.TemporaryDirectory(prefix="dockc-")


class _Relayed:
    """A sink for one node's progress, whose steps are its own: equal steps of two nodes are two.

    State: the names that its steps have got, and those that are not over.
    """

    def __init__(self, inner: StatusSink, node: str, attempt: int) -> None:
        self._inner, self._node, self._attempt = inner, node, attempt
        self._names: dict[str, str] = {}
        self._open: dict[str, VertexEvent] = {}

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        if self._node or self._attempt:
            own = self._own
            status = SolveStatus(
                tuple(
                    replace(one, digest=own(one.digest), name=self._named(one.name), inputs=tuple(map(own, one.inputs)))
                    for one in status.vertexes
                ),
                tuple(replace(one, vertex=own(one.vertex)) for one in status.statuses),
                tuple(replace(one, vertex=own(one.vertex)) for one in status.logs),
                tuple(replace(one, vertex=own(one.vertex)) for one in status.warnings),
            )
        for one in status.vertexes:
            if one.started is not None and one.completed is None:
                self._open[one.digest] = one
            else:
                self._open.pop(one.digest, None)
        self._inner(status)

    def close(self) -> None:
        """The node is gone: what it was doing is not done."""
        now = time.time_ns()
        ended = tuple(replace(one, completed=now, error="context canceled") for one in self._open.values())
        self._open.clear()
        if ended:
            self._inner(SolveStatus(ended))

    def _named(self, name: str) -> str:
        if not self._node:
            return name
        return f"[{self._node} {name[1:]}" if name.startswith("[") else f"[{self._node}] {name}"

    def _own(self, digest: str) -> str:
        found = self._names.get(digest)
        if found is None:
            text = f"{self._node}\0{self._attempt}\0{digest}"
            found = self._names[digest] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        return found
