"""A definition with other sources: operations that read them get new digests, all the way up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.llb.definition import Definition, Source
from dockc.llb.pb import ops_pb2
from dockc.oci import digest as digests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def sources_of(definition: Definition) -> Iterator[tuple[str, ops_pb2.Op]]:
    """The source operations, with their digests."""
    for digest, data in definition.ops:
        op = ops_pb2.Op.FromString(data)
        if op.WhichOneof("op") == "source":
            yield digest, op


def with_sources(definition: Definition, changed: Mapping[str, tuple[str, Mapping[str, str]]]) -> Definition:
    """The graph with other identifiers and attributes, by the digest of the source operation."""
    renamed: dict[str, str] = {}
    ops: list[tuple[str, bytes]] = []
    for digest, data in definition.ops:
        op = ops_pb2.Op.FromString(data)
        touched = digest in changed
        if touched:
            op.source.identifier = changed[digest][0]
            op.source.attrs.clear()
            op.source.attrs.update(changed[digest][1])
        for one in op.inputs:
            if one.digest in renamed:
                one.digest, touched = renamed[one.digest], True
        if touched:
            data = op.SerializeToString(deterministic=True)
            renamed[digest] = digests.from_bytes(data)
        ops.append((renamed.get(digest, digest), data))
    metadata = {renamed.get(digest, digest): one for digest, one in definition.metadata.items()}
    source = definition.source
    if source is not None:
        source = Source(source.infos, {renamed.get(key, key): places for key, places in source.locations.items()})
    return Definition(dict(ops).items(), metadata, source)
