"""Definitions in the JSON forms of the cases, read by the protobuf package and not by dockc's own decoder."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.json_format import MessageToDict

from dockc.llb.pb import ops_pb2


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ops(data: bytes) -> list[dict[str, Any]]:
    """Every operation with its digest and metadata."""
    definition = ops_pb2.Definition.FromString(data)
    found = []
    for raw in getattr(definition, "def"):
        digest = _digest(raw)
        op = ops_pb2.Op.FromString(raw)
        found.append({"digest": digest, "op": _plain(op), "metadata": _metadata(definition.metadata[digest])})
    return found


def _plain(message: Any) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=False))


def _metadata(metadata: Any) -> dict[str, Any]:
    found = dict(MessageToDict(metadata, preserving_proto_field_name=True))
    # The cases have capabilities as a list, groups in full, and no resource limits.
    found.pop("linux_resources", None)
    if found.pop("caps", None):
        found["caps"] = sorted(metadata.caps)
    if metadata.HasField("progress_group"):
        group = metadata.progress_group
        found["progress_group"] = {"id": group.id, "name": group.name, "weak": group.weak}
    return found


def source_map(data: bytes) -> dict[str, Any] | None:
    """Files and places; None for an empty definition."""
    definition = ops_pb2.Definition.FromString(data)
    if not definition.HasField("Source"):
        return None
    source = definition.Source
    return {
        "infos": [_info(info) for info in source.infos],
        "locations": {
            digest: [_location(location) for location in places.locations]
            for digest, places in source.locations.items()
        },
    }


def _info(info: Any) -> dict[str, Any]:
    found = {
        "filename": info.filename,
        "language": info.language,
        "data_sha256": _digest(info.data),
        "data_len": len(info.data),
    }
    if info.HasField("definition"):
        found["definition"] = {"digests": [_digest(raw) for raw in getattr(info.definition, "def")]}
    return found


def _location(location: Any) -> dict[str, Any]:
    return {
        "source_index": location.sourceIndex,
        "ranges": [
            {
                "start": [item.start.line, item.start.character],
                "end": [item.end.line, item.end.character],
            }
            for item in location.ranges
        ],
    }
