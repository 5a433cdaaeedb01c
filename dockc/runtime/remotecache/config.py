"""The cache config: which keys there are, how they follow from each other, and which layers hang on them.

    {"layers":  [{"blob": DIGEST, "parent": N, "annotations": {"mediaType", "diffID", "size", "createdAt"}}],
     "records": [{"digest": KEY, "inputs": [[{"selector": S, "link": N}]], "layers": [{"layer": N, "createdAt": T}],
                  "chains": [{"layers": [N], "createdAt": T}]}],
     "mounts":  {"digest": DIGEST, "size": BYTES}}

`mounts` is dockc's own: the index of cache mounts (`remotecache.mounts`), which others pass over.

Source: BuildKit's `application/vnd.buildkit.cacheconfig.v0`. A missing `parent` or `layer` is 0; -1 is no parent. Every
    number is a position in one of
the two lists. Configs come from anyone: `parse` gives what can be used, and drops records that loop, name what is not
there, or stand on such.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dockc.base.record import Record, replace
from dockc.errors import DockcError
from dockc.golang.text import dump_json
from dockc.golang.times import Time
from dockc.oci import digest as digests

MEDIA_TYPE = "application/vnd.buildkit.cacheconfig.v0"
LIMIT = 64 << 20
"""Configs are not larger than this (bytes)."""
MOST = 200_000
"""Nor do they have more layers or records than this."""
MOST_PLACES = 5_000_000
"""Nor do their results, each with all layers below its topmost, have more layers in all: 3,000 steps on top of each other."""


class BadCacheConfig(DockcError):
    """A document that is no cache config."""


class CacheLayer(Record):
    """A layer: its blob, and the position of the layer below it, -1 for none. What else is said of it may stand in a
    manifest instead.
    """

    blob: str
    parent: int = -1
    media_type: str = ""
    diff_id: str = ""
    size: int = 0
    created_at: str = ""


class CacheResult(Record):
    """A result: positions of its layers, lowest first, and when it was made (nanoseconds since the epoch)."""

    layers: tuple[int, ...]
    created_at: int


class CacheInput(Record):
    """An input: the position of the record that names it, and the selector it is used with."""

    link: int
    selector: str = ""


class CacheRecord(Record):
    """A key: digest of the operation and its output, for each input the records that name it, and results."""

    digest: str
    inputs: tuple[tuple[CacheInput, ...], ...] = ()
    results: tuple[CacheResult, ...] = ()


class MountsAt(Record):
    """The blob that is the index of the cache's mounts, and its size in bytes."""

    digest: str
    size: int


class CacheConfig(Record):
    """All keys of a cache; links go to records that stand before. And where its mounts are listed, if it has any."""

    layers: tuple[CacheLayer, ...] = ()
    records: tuple[CacheRecord, ...] = ()
    mounts: MountsAt | None = None


# --- reading ------------------------------------------------------------------------------------------


def parse(data: bytes) -> CacheConfig:
    """Read a config.

    Raises:
        BadCacheConfig: it is no JSON object, or too large, as it stands or written out.
    """
    if len(data) > LIMIT:
        raise BadCacheConfig(f"cache config is larger than {LIMIT} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadCacheConfig(f"cache config is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadCacheConfig("cache config is no JSON object")
    mounts = _fields(document.get("mounts"))
    at = MountsAt(_digest(mounts.get("digest")), _number(mounts.get("size")))
    found = of_lists(_list(document.get("layers")), _list(document.get("records")))
    return replace(found, mounts=at) if at.digest and at.size > 0 else found


def of_lists(raw_layers: Sequence[object], raw_records: Sequence[object]) -> CacheConfig:
    """A config from the JSON values of its lists (an image carries records alone).

    Raises:
        BadCacheConfig: there are too many.
    """
    if len(raw_layers) > MOST or len(raw_records) > MOST:
        raise BadCacheConfig(f"cache config has more than {MOST} layers or records")
    layers = tuple(_layer(raw) for raw in raw_layers)
    return CacheConfig(layers, _Records(layers, raw_records).sorted())


def _layer(raw: object) -> CacheLayer:
    fields = _fields(raw)
    notes = _fields(fields.get("annotations"))
    return CacheLayer(
        _digest(fields.get("blob")),
        _number(fields.get("parent", 0)),
        _text(notes.get("mediaType")),
        _digest(notes.get("diffID")),
        max(_number(notes.get("size", 0)), 0),
        _text(notes.get("createdAt")),
    )


class _Records:
    """Puts records in an order in which links go backwards; what cannot be put there is left out."""

    def __init__(self, layers: Sequence[CacheLayer], raw: Sequence[object]) -> None:
        self._layers = layers
        self._raw = [_fields(one) for one in raw]
        self._inputs = [self._links(fields) for fields in self._raw]
        self._place: dict[int, int] = {}
        self._found: list[CacheRecord] = []
        self._places = 0

    def _links(self, fields: Mapping[str, Any]) -> list[list[tuple[int, str]]] | None:
        """Links as they stand; None where an input is named by nothing."""
        found: list[list[tuple[int, str]]] = []
        for one in _list(fields.get("inputs")):
            names = [(_number(link.get("link", 0)), _text(link.get("selector"))) for link in map(_fields, _list(one))]
            names = [(at, selector) for at, selector in names if 0 <= at < len(self._raw)]
            if not names:
                return None
            found.append(names)
        return found

    def sorted(self) -> tuple[CacheRecord, ...]:
        """Depth first, without recursion; a record that is met on the way to itself is not there."""
        done: set[int] = set()
        for start in range(len(self._raw)):
            if start in done:
                continue
            path = {start}
            stack = [(start, iter(self._below(start)))]
            while stack:
                at, rest = stack[-1]
                below = next((one for one in rest if one not in done and one not in path), None)
                if below is not None:
                    path.add(below)
                    stack.append((below, iter(self._below(below))))
                    continue
                stack.pop()
                path.discard(at)
                done.add(at)
                self._add(at)
        return tuple(self._found)

    def _below(self, at: int) -> list[int]:
        return [link for names in self._inputs[at] or () for link, _ in names]

    def _add(self, at: int) -> None:
        inputs = self._inputs[at]
        digest = _digest(self._raw[at].get("digest"))
        if inputs is None or not digest:
            return
        named = [
            tuple(dict.fromkeys(CacheInput(self._place[link], text) for link, text in names if link in self._place))
            for names in inputs
        ]
        if all(named):
            self._place[at] = len(self._found)
            self._found.append(CacheRecord(digest, tuple(named), tuple(self._results(self._raw[at]))))

    def _results(self, fields: Mapping[str, Any]) -> list[CacheResult]:
        found = []
        for one in map(_fields, _list(fields.get("layers"))):
            chain = self._chain(_number(one.get("layer", 0)))
            if chain:
                found.append(CacheResult(chain, _time(one.get("createdAt"))))
        for one in map(_fields, _list(fields.get("chains"))):
            places = tuple(_number(place) for place in _list(one.get("layers")))
            if places and all(0 <= place < len(self._layers) and self._layers[place].blob for place in places):
                found.append(CacheResult(places, _time(one.get("createdAt"))))
        return found

    def _chain(self, top: int) -> tuple[int, ...]:
        """The layers from the lowest to `top`; () where one of them is not there, or they loop."""
        chain: list[int] = []
        seen: set[int] = set()
        at = top
        while at != -1:
            if at in seen or not 0 <= at < len(self._layers) or not self._layers[at].blob:
                return ()
            seen.add(at)
            chain.append(at)
            self._places += 1
            if self._places > MOST_PLACES:
                raise BadCacheConfig(f"cache config's results have more than {MOST_PLACES} layers in all")
            at = self._layers[at].parent
        return tuple(reversed(chain))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -2


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _digest(value: object) -> str:
    return value if isinstance(value, str) and digests.is_valid(value) else ""


def _time(value: object) -> int:
    try:
        found = Time.parse(value) if isinstance(value, str) else Time(0)
        return found.seconds * 1_000_000_000 + found.nanos
    except (DockcError, ValueError):
        return 0


def without(config: CacheConfig, blobs: Collection[str]) -> CacheConfig:
    """The same config without the results that need one of these blobs, and without mounts that are listed in one."""
    if not blobs:
        return config
    gone = {at for at, layer in enumerate(config.layers) if layer.blob in blobs}
    records = tuple(
        replace(one, results=tuple(result for result in one.results if gone.isdisjoint(result.layers)))
        for one in config.records
    )
    mounts = config.mounts if config.mounts is not None and config.mounts.digest not in blobs else None
    return replace(config, records=records, mounts=mounts)


# --- writing ------------------------------------------------------------------------------------------


def dump(config: CacheConfig, *, annotated: bool) -> bytes:
    """The JSON of a config.

    Args:
        config: what to write; each result's layers must be a chain of parents.
        annotated: say of each layer what no manifest says (object stores have none).
    """
    document: dict[str, Any] = {
        "layers": [_layer_json(one, annotated) for one in config.layers],
        "records": records_json(config.records),
    }
    if config.mounts is not None:
        document["mounts"] = {"digest": config.mounts.digest, "size": config.mounts.size}
    return dump_json(document)


def _layer_json(layer: CacheLayer, annotated: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"blob": layer.blob}
    if layer.parent:
        out["parent"] = layer.parent
    if annotated:
        notes: dict[str, Any] = {"mediaType": layer.media_type, "diffID": layer.diff_id, "size": layer.size}
        out["annotations"] = {**notes, "createdAt": layer.created_at or "0001-01-01T00:00:00Z"}
    return out


def records_json(records: Sequence[CacheRecord], *, of_image: bool = False) -> list[dict[str, Any]]:
    """The JSON values of records, results named by their topmost layer.

    Args:
        records: what to write.
        of_image: layers are those of an image; results that are not its lowest ones are named layer by layer.
    """
    found = []
    for record in records:
        out: dict[str, Any] = {}
        apart = [one for one in record.results if of_image and one.layers != tuple(range(len(one.layers)))]
        whole = [one for one in record.results if one not in apart]
        if whole:
            out["layers"] = [{"layer": one.layers[-1], "createdAt": str(Time.from_ns(one.created_at))} for one in whole]
        if apart:
            out["chains"] = [
                {"layers": list(one.layers), "createdAt": str(Time.from_ns(one.created_at))} for one in apart
            ]
        out["digest"] = record.digest
        if record.inputs:
            out["inputs"] = [[_input_json(one) for one in names] for names in record.inputs]
        found.append(out)
    return found


def _input_json(one: CacheInput) -> dict[str, Any]:
    return ({"selector": one.selector} if one.selector else {}) | {"link": one.link}
