"""SourceOp: content from outside, dispatched by the scheme of its identifier.

The cache key of a source is what it stands for now (a manifest digest, a commit, a content digest), not how it
was written; so two spellings of one image share their cache records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.errors import SolveError, without_credentials
from dockc.oci import digest as digests
from dockc.oci import platform as platforms
from dockc.oci.platform import Platform
from dockc.runtime.refs.result import RefResult
from dockc.runtime.source.base import BLOBS
from dockc.runtime.source.table import SOURCES
from dockc.solver.core.cachekey import root_key
from dockc.solver.op import CacheMap

if TYPE_CHECKING:
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.source.base import Source, SourceKey
    from dockc.runtime.store.worker import Worker
    from dockc.solver.cache.storage.base import KeyRecord
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex

_CACHE_TYPE = "buildkit.source.v0"
_SESSION = "session:"
"""Keys that start so are good for one build only."""


class SourceOp:
    """A vertex that brings in content (`solver.op.Op`)."""

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Take the source apart.

        Raises:
            DockcError: an identifier or attribute that makes no sense.
        """
        self._worker = worker
        self._identifier: str = vertex.op.source.identifier
        self._source = make_source(self._identifier, dict(vertex.op.source.attrs), _platform(vertex), worker)

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """What the source stands for now."""
        key = await ctx.run_blocking(self._source.key, ctx)
        return self._map_of((key.key, *key.more, *((key.claim.name,) if key.claim is not None else ())), key)

    def _map_of(self, names: tuple[str, ...], key: SourceKey) -> CacheMap:
        """The map of the first name, which leads to those of the others."""
        first = self._map(names[0], key)
        if len(names) == 1:
            return first if key.claim is None else replace(first, proven=key.claim.proven)

        async def more(_: OpContext) -> CacheMap:
            return self._map_of(names[1:], key)

        return CacheMap(first.digest, preimage=first.preimage, more=more)

    def _map(self, text: str, key: SourceKey) -> CacheMap:
        digest = _digest(text)
        if text.startswith(_SESSION):
            digest = f"random:{digests.encoded(digest)}"
        preimage = {"kind": "source", "identifier": without_credentials(self._identifier), "pin": key.pin, "key": text}
        return CacheMap(digest, preimage={**preimage, "of": key.preimage})

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """Bring the content in."""
        ref = await ctx.run_blocking(self._source.snapshot, ctx)
        return [RefResult(self._worker.refs.scratch() if ref is None else ref)]


def proven_name(record: KeyRecord | None, refs: RefManager) -> str:
    """The key that BuildKit knows an image by, its chain of diff ids, for one that only dockc knows, its blobs.

    Args:
        record: what is remembered of a key.
        refs: knows whether those blobs have been found to hold that chain.

    Returns:
        "" for other keys, and where nobody has looked.
    """
    text = record.preimage.get("key") if record is not None else None
    if not isinstance(text, str) or not text.startswith(BLOBS):
        return ""
    chain = refs.proven_chain(text.removeprefix(BLOBS))
    return root_key(_digest(chain), 0) if chain else ""


def _digest(name: str) -> str:
    return digests.from_bytes(f"{_CACHE_TYPE}:{name}".encode("utf-8", "surrogateescape"))


def make_source(identifier: str, attributes: Mapping[str, str], platform: Platform, worker: Worker) -> Source:
    """The source behind an identifier.

    Args:
        identifier: `scheme://...`.
        attributes: of the source operation; keys in `llb.attrs`. Unknown ones are ignored, as the
            specification of LLB asks.
        platform: of the vertex.
        worker: store and refs.

    Raises:
        SolveError: no such scheme.
        DockcError: what follows the scheme, or an attribute, makes no sense.
    """
    scheme = identifier.partition("://")[0]
    make = SOURCES.find(scheme)
    if make is None:
        raise SolveError(f"source {identifier!r}: scheme {scheme!r} is not supported")
    made: Source = make(identifier, attributes, platform, worker)
    return made


def _platform(vertex: Vertex) -> Platform:
    """The platform of the vertex in normal form; this machine's when it has none."""
    if not vertex.op.HasField("platform"):
        return platforms.normalize(platforms.default())
    raw = vertex.op.platform
    return platforms.normalize(Platform(raw.OS, raw.Architecture, raw.Variant, raw.OSVersion, tuple(raw.OSFeatures)))
