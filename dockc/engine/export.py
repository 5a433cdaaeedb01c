"""From a frontend's result to what exporters get: one file system, image config and platform each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dockc.engine.bridge import Bridge, Result
from dockc.engine.request import wants_index
from dockc.errors import DockcError
from dockc.oci import platform as platforms
from dockc.oci.descriptor import platform_to_json
from dockc.oci.keys import BASE_CONFIG, CONFIG, EPOCH, PLATFORMS, RESULT_NAME
from dockc.oci.platform import Platform
from dockc.runtime.exporter.source import ExportSource, PlatformResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.runtime.exporter.options import Output


def export_source(bridge: Bridge, result: Result) -> ExportSource:
    """What the outputs are made of; the result's refs are solved by now.

    Raises:
        DockcError: the frontend's metadata cannot be read, or names a platform without a result.
    """
    known = platforms_of(result.metadata)
    if set(result.refs) == {""}:
        keys = [("", known[0][1] if known else platforms.normalize(platforms.default()))]
    elif not known:
        raise DockcError("unable to export multiple refs, missing platforms mapping")
    else:
        keys = list(known)
    found = []
    for key, platform in keys:
        if key not in result.refs:
            raise DockcError(f"failed to find ref for ID {key}")
        ref = result.refs[key]
        found.append(
            PlatformResult(
                platform=platform,
                ref=None if ref is None else bridge.file_system(ref),
                config=_of(result.metadata, CONFIG, key) or empty_config(platform),
                base_config=_of(result.metadata, BASE_CONFIG, key),
                epoch=_epoch(_of(result.metadata, EPOCH, key)),
            )
        )
    attrs = bridge.request.attrs
    return ExportSource(
        tuple(found), multi=len(found) > 1 or wants_index(attrs) or "" not in result.refs, names=bridge.request.names
    )


def told_by_frontend(output: Output, metadata: Mapping[str, bytes]) -> Output:
    """An output with the name (for `name=*`) and the annotations that the frontend gives it; the output's own
    annotations stand beside them.

    Raises:
        UsageError: annotations that cannot be understood.
    """
    from dockc.base.record import replace
    from dockc.runtime.exporter.options import annotated

    name = metadata.get(RESULT_NAME, b"").decode("utf-8", "replace")
    if output.names == ("*",) and name:
        output = replace(output, attrs={**output.attrs, "name": name})
    told = {key: data.decode("utf-8", "replace") for key, data in metadata.items() if key.startswith("annotation")}
    return annotated(output, told) if told and output.kind.is_image else output


def for_output(source: ExportSource, output: Output) -> ExportSource:
    """A source with the image config that an output brings along (`containerimage.config`), if it does, and without the
    time of the build where the output wants none (an empty `source-date-epoch`).
    """
    from dockc.base.record import replace

    given = output.attrs.get(CONFIG, "").encode()
    if given:
        source = replace(source, results=tuple(replace(one, config=given) for one in source.results))
    if output.attrs.get("source-date-epoch") == "":
        source = replace(source, results=tuple(replace(one, epoch=None) for one in source.results))
    return source


def platforms_of(metadata: Mapping[str, bytes]) -> tuple[tuple[str, Platform], ...]:
    """Names and platforms out of `refs.platforms` (BuildKit, exporter/containerimage/exptypes).

    Raises:
        DockcError: it cannot be read.
    """
    data = metadata.get(PLATFORMS)
    if data is None:
        return _platform_of_config(metadata.get(CONFIG, b""))
    try:
        listed = (json.loads(data) or {}).get("Platforms") or [] if data else []
        found = tuple((str(one.get("ID") or ""), _platform(one.get("Platform") or {})) for one in listed)
    except RecursionError:
        raise DockcError("failed to parse platforms passed to exporter: nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DockcError("failed to parse platforms passed to exporter: they are no list of platforms") from None
    if not found:
        raise DockcError("invalid empty platforms index for exporter")
    for key, platform in found:
        if not key:
            raise DockcError("invalid empty platform key for exporter")
        if not platform.os or not platform.architecture:
            raise DockcError(f"invalid platform value {platform.os}/{platform.architecture} for exporter")
    return tuple((key, platforms.normalize(platform)) for key, platform in found)


def _platform_of_config(config: bytes) -> tuple[tuple[str, Platform], ...]:
    """The platform that an image config says; none where it says none, or is none (whoever writes the image says so).

    Raises:
        DockcError: it says half of one.
    """
    try:
        told = json.loads(config) if config else None
    except (ValueError, RecursionError):
        return ()
    if not isinstance(told, dict) or not (told.get("os") or told.get("architecture")):
        return ()
    if not (told.get("os") and told.get("architecture")):
        raise DockcError("invalid image config: os and architecture must be specified together")
    try:
        platform = platforms.normalize(_platform(told))
    except TypeError:
        return ()
    return ((platforms.format_all(platform), platform),)


def platforms_json(found: tuple[tuple[str, Platform], ...]) -> bytes:
    """What `platforms_of` reads."""
    listed = [{"ID": key, "Platform": platform_to_json(one)} for key, one in found]
    return json.dumps({"Platforms": listed}, separators=(",", ":")).encode()


def _platform(fields: Mapping[str, object]) -> Platform:
    features = fields.get("os.features") or ()
    if not isinstance(features, list | tuple):
        raise TypeError("os.features is no list")
    return Platform(
        str(fields.get("os", "")),
        str(fields.get("architecture", "")),
        str(fields.get("variant", "")),
        str(fields.get("os.version", "")),
        tuple(map(str, features)),
    )


def _of(metadata: Mapping[str, bytes], name: str, key: str) -> bytes:
    """A value for one platform: its own, or the one for all."""
    return metadata.get(f"{name}/{key}" if key else name) or metadata.get(name, b"")


def _epoch(data: bytes) -> int | None:
    text = data.decode("utf-8", "replace")
    if not text:
        return None
    from dockc.runtime.exporter.options import epoch_of

    found = epoch_of(text)
    if found is None:
        raise DockcError(f"invalid {EPOCH}: {text[:100]}")
    return found


def empty_config(platform: Platform) -> bytes:
    """The image config of a result that has none, as BuildKit's exporter makes it."""
    config: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        config["variant"] = platform.variant
    from dockc.golang.ospaths import DEFAULT_PATH

    config |= {
        "rootfs": {"type": "layers", "diff_ids": None},
        "config": {"WorkingDir": "/", "Env": [f"PATH={DEFAULT_PATH}"]},
    }
    return json.dumps(config, separators=(",", ":")).encode()
