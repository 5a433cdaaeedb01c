"""Making an image config agree with its layers: rootfs, history, creation times, SOURCE_DATE_EPOCH.

A config that comes from a frontend knows how the image is to run and which steps made it, not which layers came
out. The rules here are the reference exporter's, because the config's digest is the image's id.
"""

from __future__ import annotations

from collections.abc import Sequence

from dockc.base.record import Record, replace
from dockc.errors import DockcError
from dockc.golang.text import dump_json, sorted_map
from dockc.golang.times import InvalidTime, Time
from dockc.oci.config import History, ImageConfig
from dockc.oci.fields import InvalidDocument, decode

_COMMENT = "buildkit.exporter.image.v0"
_NO_DESCRIPTION = "created by buildkit"


class InvalidConfig(DockcError):
    """An image config that cannot be exported."""


class LayerInfo(Record):
    """What the store knows about a layer: when it was made and by what."""

    created: Time | None = None
    description: str = ""


def history_of(config: bytes) -> list[History]:
    """The history entries of a config.

    Raises:
        InvalidConfig: not an image config.
    """
    if config.strip() == b"null":
        raise InvalidConfig("invalid null image config for export")
    try:
        fields = decode(config, "image config")
        return [History.from_fields(item) for item in fields.objects("history")]
    except InvalidDocument as error:
        raise InvalidConfig(f"failed to unmarshal history from config: {error.message}") from None


def normalize_history(history: Sequence[History], layers: Sequence[LayerInfo]) -> list[History]:
    """Give every layer exactly one history entry, and every entry a time where one can be known.

    Args:
        history: entries of the config, oldest first.
        layers: the image's layers, lowest first.
    """
    items = list(history)
    owners = sum(not item.empty_layer for item in items)
    if owners > len(layers):
        items = _drop_owners(items, len(layers))
        owners = len(layers)
    for info in layers[owners:]:
        items.append(History(info.created, info.description or _NO_DESCRIPTION, comment=_COMMENT))
    return _fill_times(_layer_times(items, layers))


def _drop_owners(items: Sequence[History], layers: int) -> list[History]:
    """More entries claim a layer than there are layers: the topmost claims fall."""
    left = layers
    out = []
    for item in items:
        if not item.empty_layer:
            if left == 0:
                item = replace(item, empty_layer=True)
            else:
                left -= 1
        out.append(item)
    return out


def _layer_times(items: Sequence[History], layers: Sequence[LayerInfo]) -> list[History]:
    """Entries without a time take that of their layer."""
    out = []
    index = 0
    for item in items:
        if not item.empty_layer:
            if item.created is None:
                item = replace(item, created=layers[index].created)
            index += 1
        out.append(item)
    return out


def _fill_times(items: Sequence[History]) -> list[History]:
    """Entries still without a time: the first new layer's, later on that of the entry before.

    "New" is what follows the first entry without a time: otherwise a first metadata command would seem as
    old as the base image.
    """
    current: Time | None = None
    gap = False
    for item in items:
        if item.created is None:
            gap = True
            continue
        current = item.created
        if gap:
            break
    out = []
    gap = False
    for item in items:
        if item.created is None:
            gap = True
            item = replace(item, created=current)
        elif gap:
            current = item.created
        out.append(item)
    return out


def clamp_history(history: Sequence[History], base: ImageConfig | None, epoch: int) -> list[History]:
    """No entry later than the epoch, except those that are the base image's own."""
    limit = Time(epoch)
    diverged = False
    out = []
    for index, item in enumerate(history):
        if not diverged and base is not None and index < len(base.history) and item == base.history[index]:
            out.append(item)
            continue
        diverged = True
        out.append(replace(item, created=limit) if item.created is None or item.created > limit else item)
    return out


def patch_config(
    config: bytes,
    diff_ids: Sequence[str],
    history: Sequence[History],
    *,
    epoch: int | None = None,
    base: ImageConfig | None = None,
) -> bytes:
    """The config's final bytes.

    Args:
        config: what the frontend made.
        diff_ids: of the layers, lowest first.
        history: normalised.
        epoch: clamps history and creation time, Unix seconds, or None.
        base: the base image's config, whose history keeps its times.

    Raises:
        InvalidConfig: not an image config.
    """
    try:
        parsed = ImageConfig.parse(config)
    except InvalidDocument as error:
        raise InvalidConfig(f"invalid image config for export: {error.message}") from None
    if not parsed.platform.os:
        raise InvalidConfig("invalid image config for export: missing os")
    if not parsed.platform.architecture:
        raise InvalidConfig("invalid image config for export: missing architecture")
    document = dict(parsed.raw)
    document["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    if epoch is not None:
        history = clamp_history(history, base, epoch)
    document["history"] = [item.to_json() for item in history]
    if document.get("created") is None:
        # Where no time is known there is no field: the specification knows no `null`, nor one for a list without
        # members.
        document.pop("created", None)
        times = [item.created for item in history if item.created is not None]
        if times:
            document["created"] = str(times[-1])
    elif epoch is not None:
        limit = Time(epoch)
        if parsed.created is not None and parsed.created > limit:
            document["created"] = str(limit)
    return dump_json(sorted_map(document))


def parse_base(config: bytes) -> ImageConfig | None:
    """The base image's config, None when there is none.

    Raises:
        InvalidConfig: it is none.
    """
    if not config:
        return None
    try:
        return ImageConfig.parse(config)
    except (InvalidDocument, InvalidTime) as error:
        raise InvalidConfig(f"failed to unmarshal base image config: {error.message}") from None
