"""What is exported: the solver's records, with their results as layers, as one config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dockc.base.record import Record, made, replace
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import CREATED_AT, UNCOMPRESSED, Descriptor
from dockc.runtime.refs.types import LayerDescriptor, Remote
from dockc.runtime.remotecache.config import CacheConfig, CacheInput, CacheLayer, CacheRecord, CacheResult
from dockc.solver.cache.export import ExportRecord


class Chains(Record):
    """A cache to be written.

    Attributes:
        config: keys and layers, in an order that depends on nothing but them.
        layers: what can be fetched or sent, by digest of the blob.
        others: blobs in the content store, or there already, that belong to the cache too: its mounts.
    """

    config: CacheConfig
    layers: Mapping[str, LayerDescriptor] = made(dict)
    others: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All that is to be sent, each once."""
        return (*(layer.descriptor for layer in self.layers.values()), *self.others)


def make_chains(records: Sequence[ExportRecord[Remote]]) -> Chains:
    """Put records and layers into one config; results without layers are left out, as nothing can be loaded for
    them.
    """
    positions: dict[tuple[str, int], int] = {}
    layers: list[CacheLayer] = []
    blobs: dict[str, LayerDescriptor] = {}

    def chain(remote: Remote) -> tuple[int, ...]:
        found: list[int] = []
        for layer in remote.layers:
            name = (layer.descriptor.digest, found[-1] if found else -1)
            if name not in positions:
                positions[name] = len(layers)
                layers.append(_layer(layer, name[1]))
                blobs.setdefault(layer.descriptor.digest, layer)
            found.append(positions[name])
        return tuple(found)

    made_of = [
        CacheRecord(
            record.digest,
            tuple(tuple(CacheInput(link.record, link.selector) for link in names) for names in record.inputs),
            tuple(
                CacheResult(chain(result.remote), result.created_at)
                for result in record.results
                if result.remote.layers
            ),
        )
        for record in records
    ]
    return Chains(ordered(CacheConfig(tuple(layers), tuple(made_of))), blobs)


def _layer(layer: LayerDescriptor, parent: int) -> CacheLayer:
    blob = layer.descriptor
    kind = mt.convert_layer(blob.media_type, oci=True)
    return CacheLayer(blob.digest, parent, kind, layer.diff_id, blob.size, blob.annotations.get(CREATED_AT, ""))


def ordered(config: CacheConfig) -> CacheConfig:
    """The same config with layers by blob and records by digest: equal caches give equal bytes."""
    by_blob = sorted(range(len(config.layers)), key=lambda at: (config.layers[at].blob, _path(config.layers, at)))
    layer_at = {old: new for new, old in enumerate(by_blob)}
    layer_at[-1] = -1
    layers = tuple(replace(config.layers[old], parent=layer_at[config.layers[old].parent]) for old in by_blob)
    by_digest = sorted(range(len(config.records)), key=lambda at: (config.records[at].digest, _shape(config, at)))
    record_at = {old: new for new, old in enumerate(by_digest)}
    records = []
    for old in by_digest:
        record = config.records[old]
        inputs = tuple(
            tuple(
                sorted(
                    (CacheInput(record_at[one.link], one.selector) for one in names),
                    key=lambda one: (one.link, one.selector),
                )
            )
            for names in record.inputs
        )
        results = tuple(
            CacheResult(tuple(layer_at[place] for place in one.layers), one.created_at) for one in record.results
        )
        records.append(CacheRecord(record.digest, inputs, results))
    return CacheConfig(layers, tuple(records))


def _path(layers: Sequence[CacheLayer], at: int) -> str:
    """Equal blobs are told apart by what lies directly below."""
    parent = layers[at].parent
    return layers[parent].blob if parent != -1 else ""


def _shape(config: CacheConfig, at: int) -> tuple[object, ...]:
    return tuple(
        tuple(sorted((one.selector, config.records[one.link].digest) for one in names))
        for names in config.records[at].inputs
    )


def blob_descriptors(chains: Chains, *, oci: bool) -> tuple[Descriptor, ...]:
    """The blobs as a manifest lists them: in the order of the config's layers, each with its uncompressed digest; then
    the others.
    """
    found = []
    for layer in chains.config.layers:
        known = chains.layers[layer.blob]
        notes = {UNCOMPRESSED: known.diff_id}
        if layer.created_at:
            notes[CREATED_AT] = layer.created_at
        kind = mt.convert_layer(known.descriptor.media_type, oci=oci)
        found.append(Descriptor(kind, layer.blob, known.descriptor.size, annotations=notes))
    return (*found, *chains.others)


def inline_records(chains: Chains, diff_ids: Sequence[str]) -> tuple[CacheRecord, ...]:
    """What an image can carry: records with results that are of the image's layers, named by position, and the records
    that lead to those.

    Args:
        chains: the cache.
        diff_ids: of the image's layers, lowest first. Layers are the same when their uncompressed digests are: an image
            may be packed otherwise.
    """
    places = {diff_id: at for at, diff_id in reversed(tuple(enumerate(diff_ids)))}
    records = []
    for record in chains.config.records:
        results = []
        for one in record.results:
            mine = [chains.config.layers[place].diff_id for place in one.layers]
            if mine == list(diff_ids[: len(mine)]):
                results.append(CacheResult(tuple(range(len(mine))), one.created_at))
            elif all(diff_id in places for diff_id in mine):
                results.append(CacheResult(tuple(places[diff_id] for diff_id in mine), one.created_at))
        records.append(replace(record, results=tuple(one for one in results if one.layers)))
    return _needed(records)


def _needed(records: Sequence[CacheRecord]) -> tuple[CacheRecord, ...]:
    """The records with results, and those they follow from."""
    needed = [bool(record.results) for record in records]
    waiting = [at for at, wanted in enumerate(needed) if wanted]
    while waiting:
        for one in (one for names in records[waiting.pop()].inputs for one in names):
            if not needed[one.link]:
                needed[one.link] = True
                waiting.append(one.link)
    kept = [at for at, wanted in enumerate(needed) if wanted]
    number = {old: new for new, old in enumerate(kept)}
    return tuple(
        replace(
            records[at],
            inputs=tuple(
                tuple(CacheInput(number[one.link], one.selector) for one in names) for names in records[at].inputs
            ),
        )
        for at in kept
    )
