"""`-o type=...,dest=...,key=value`: one output in the words of `docker buildx build --output`."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import TypeVar

from dockc.base.pattern import pattern
from dockc.base.record import Record, made, replace
from dockc.errors import UsageError
from dockc.golang.text import quote
from dockc.oci import platform as platforms
from dockc.oci.platform import InvalidPlatform
from dockc.oci.reference import InvalidReference, parse_normalized
from dockc.runtime.archive.compress import Compression
from dockc.runtime.exporter import table

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_ANNOTATION = pattern(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
_FIRST, _LAST = -62135596800, 253402300799
_LEVELS = {"gzip": 9, "zstd": 22, "uncompressed": 0}
T = TypeVar("T")


class Annotations(Record):
    """Annotations of one platform, or of all (key "")."""

    manifest: dict[str, str] = made(dict)
    manifest_descriptor: dict[str, str] = made(dict)
    index: dict[str, str] = made(dict)
    index_descriptor: dict[str, str] = made(dict)


class ImageOptions(Record):
    """How an image is written.

    Attributes:
        oci_types: OCI media types (else Docker's).
        compression: of layers.
        annotations: by platform name; "" for all.
        epoch: SOURCE_DATE_EPOCH of the exporter, Unix seconds; None leaves the build's own.
        rewrite_timestamp: also clamp times inside the layers.
        prefer_nondistributable: keep layers marked that registries need not hold.
    """

    oci_types: bool = True
    compression: Compression = made(Compression)
    annotations: Mapping[str, Annotations] = made(dict)
    epoch: int | None = None
    rewrite_timestamp: bool = False
    prefer_nondistributable: bool = False

    def annotations_for(self, platform: str = "") -> Annotations:
        """What applies to a platform's manifest; index annotations of all platforms."""
        merged = Annotations()
        for key, found in self.annotations.items():
            merged.index.update(found.index)
            merged.index_descriptor.update(found.index_descriptor)
            if key == "":
                merged.manifest.update(found.manifest)
                merged.manifest_descriptor.update(found.manifest_descriptor)
        if platform and (own := self.annotations.get(platform)):
            merged.manifest.update(own.manifest)
            merged.manifest_descriptor.update(own.manifest_descriptor)
        return merged


class Output(Record):
    """One `-o`.

    Attributes:
        type: one of `table.KINDS`, but what is short for another.
        dest: path, "-" for standard output, or "".
        attrs: all other keys, as written.
        image: how an image is written.
    """

    type: str
    dest: str = ""
    attrs: Mapping[str, str] = made(dict)
    image: ImageOptions = made(ImageOptions)

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean attribute; present without a value means true."""
        return parse_flag(key, self.attrs[key]) if key in self.attrs else default

    @property
    def archive(self) -> bool:
        """Whether an `oci` or `docker` output is one tar file (else a directory)."""
        return self.flag("tar", True)

    @property
    def is_directory(self) -> bool:
        """Whether `dest` is a directory."""
        return self.kind.writes == "directory" or (
            self.kind.is_image and self.kind.writes == "file" and not self.archive
        )

    @property
    def deletes(self) -> bool:
        """Whether what lies at `dest` and is not of the result is removed."""
        return self.type == "local" and self.attrs.get("mode", "").strip().lower() == "delete"

    @property
    def kind(self) -> table.Kind:
        """What kind of output it is."""
        return table.find(self.type) or table.Kind()

    @property
    def names(self) -> tuple[str, ...]:
        """Image names of the `name` attribute."""
        return tuple(filter(None, self.attrs.get("name", "").split(",")))

    @property
    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH of this output."""
        return self.image.epoch


def parse_output(text: str) -> Output:
    """Read the value of one `-o`.

    Raises:
        UsageError: with buildx's message where it has one.
    """
    return make_output(*split_output(text))


def split_output(text: str) -> tuple[str, str, dict[str, str]]:
    """Type, destination and attributes of one `-o`, unchecked.

    Raises:
        UsageError: it is not written as an output is.
    """
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise UsageError(f"invalid output {text!r}: {error}") from None
    if len(fields) == 1 and fields[0] == text and not text.startswith("type="):
        return ("tar" if text == "-" else "local"), text, {}
    kind, dest = "", ""
    attributes: dict[str, str] = {}
    for item in fields:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"invalid value {item}")
        key = key.strip()
        match key.lower():
            case "type":
                kind = value
            case "dest":
                dest = value
            case _:
                attributes[key if key.lower().startswith("annotation") else key.lower()] = value
    if not kind:
        raise UsageError("type is required for output")
    return kind, dest, attributes


def make_output(kind: str, dest: str, attributes: Mapping[str, str]) -> Output:
    """An output from its parts, checked; see `parse_output`."""
    known = table.find(kind)
    if known is None:
        raise UsageError(f"unknown output type {kind!r}", hint=f"known types: {', '.join(table.KINDS)}")
    given = {**known.implied, **attributes}
    if known.meaning:
        kind, known = known.meaning, table.KINDS[known.meaning]
    annotations = {key: value for key, value in given.items() if _ANNOTATION.fullmatch(key)}
    plain = {key: value for key, value in given.items() if key not in annotations}
    for key in plain:
        if key not in known.options:
            raise UsageError(f"type={kind} output has no option {key!r}", hint=_listed(known))
    if annotations and not known.is_image:
        raise UsageError(f"type={kind} output takes no annotations")
    image = _image_options(kind, plain, annotations)
    output = Output(kind, dest, plain, image)
    _check(output)
    return output


def annotated(output: Output, more: Mapping[str, str]) -> Output:
    """An output with further annotations, which a frontend asks for; what is no annotation is not looked at.

    Raises:
        UsageError: they cannot be understood.
    """
    found = {key: value for key, value in more.items() if _ANNOTATION.fullmatch(key)}
    groups = {platform: replace(group, **_copied(group)) for platform, group in output.image.annotations.items()}
    for platform, group in _annotations(found).items():
        mine = groups.setdefault(platform, Annotations())
        for field in ("manifest", "manifest_descriptor", "index", "index_descriptor"):
            getattr(mine, field).update(getattr(group, field))
    return replace(output, image=replace(output.image, annotations=groups))


def _copied(group: Annotations) -> dict[str, dict[str, str]]:
    return {
        field: dict(getattr(group, field)) for field in ("manifest", "manifest_descriptor", "index", "index_descriptor")
    }


def _listed(kind: table.Kind) -> str:
    names = ", ".join(sorted(kind.options))
    return f"it has {names}" if names else "it has none"


def _check(output: Output) -> None:
    """Flags that must be readable, and combinations that make no sense."""
    for key in ("push", "push-by-digest", "registry.insecure", "store", "name-canonical", "unpack", "tar"):
        output.flag(key)
    if output.type == "local":
        output.flag("platform-split")
        mode = output.attrs.get("mode", "").strip().lower()
        if mode not in ("", "copy", "delete"):
            raise UsageError(f'invalid local exporter mode "{output.attrs["mode"]}"')
    if output.flag("unpack"):
        raise UsageError("unpack=true is not supported: there is no image store to unpack into")
    if output.attrs.get("context"):
        raise UsageError("context is not supported for type=docker; give a dest, or load into the default engine")
    if output.dest and not output.kind.writes:
        raise UsageError(f"dest is not supported for type={output.type}")
    for name in output.names:
        if name == "*":
            continue
        try:
            parse_normalized(name)
        except InvalidReference as error:
            raise UsageError(f"failed to parse {name}: {error.message}") from None
    if output.is_directory:
        if not output.dest:
            raise UsageError(f"dest is required for {output.type} exporter")
        if output.dest == "-":
            raise UsageError(f"dest cannot be stdout for {output.type} exporter")


def _image_options(kind: str, attrs: Mapping[str, str], annotations: Mapping[str, str]) -> ImageOptions:
    types = attrs.get("oci-mediatypes")
    oci_types = True if types is None else parse_flag("oci-mediatypes", types)
    artifact = parse_flag("oci-artifact", attrs["oci-artifact"]) if "oci-artifact" in attrs else False
    if artifact and not oci_types:
        raise UsageError('exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"')
    for key in ("attestation-inline", "prefer-nondist-layers", "rewrite-timestamp"):
        if key in attrs:
            parse_flag(key, attrs[key])
    grouped = _annotations(annotations)
    if not oci_types and any(a.index or a.index_descriptor or a.manifest_descriptor for a in grouped.values()):
        raise UsageError('cannot export annotations with "oci-mediatypes=false"')
    return ImageOptions(
        oci_types=oci_types,
        compression=_compression(attrs),
        annotations=grouped,
        epoch=_epoch(attrs.get("source-date-epoch", "")),
        rewrite_timestamp=attrs.get("rewrite-timestamp", "false") in _TRUE,
        prefer_nondistributable=attrs.get("prefer-nondist-layers", "false") in _TRUE,
    )


def _compression(attrs: Mapping[str, str]) -> Compression:
    name = attrs.get("compression", "gzip")
    if name == "estargz":
        raise UsageError("compression=estargz is not supported")
    if name not in ("gzip", "zstd", "uncompressed"):
        raise UsageError(f"unsupported compression type {name}")
    force = attrs.get("force-compression")
    if force not in (None, "") and force not in _TRUE | _FALSE:
        raise UsageError(f"non-bool value {force} specified for force-compression: {_unparsed('Bool', force)}")
    level: int | None = None
    if "compression-level" in attrs:
        text = attrs["compression-level"]
        if re.fullmatch(r"[+-]?[0-9]{1,9}", text) is None:
            raise UsageError(f"non-integer value {text} specified for compression-level: {_unparsed('Int', text)}")
        level = int(text)
        if not 0 <= level <= _LEVELS[name]:
            raise UsageError(f"compression-level for {name} must be between 0 and {_LEVELS[name]}")
    # "uncompressed" and others are literal types; the checks above have narrowed the name.
    if name == "zstd":
        return Compression("zstd", level, force == "" or force in _TRUE)
    if name == "uncompressed":
        return Compression("uncompressed", level, force == "" or force in _TRUE)
    return Compression("gzip", level, force == "" or force in _TRUE)


def epoch_of(text: str) -> int | None:
    """Unix seconds of a moment that an image config can name, in the years 1 to 9999; None for anything else."""
    found = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
    return found if found is not None and _FIRST <= found <= _LAST else None


def _epoch(text: str) -> int | None:
    if not text:
        return None
    found = epoch_of(text)
    if found is None:
        raise UsageError(f"invalid source-date-epoch: {text[:100]}")
    return found


def _annotations(raw: Mapping[str, str]) -> dict[str, Annotations]:
    found: dict[str, Annotations] = {}
    for key, value in raw.items():
        match = _ANNOTATION.fullmatch(key)
        if match is None:
            continue
        kind, platform, name = match.group(1) or "manifest", match.group(2) or "", match.group(3)
        if platform:
            try:
                platform = platforms.format_all(platforms.parse(platform))
            except InvalidPlatform as error:
                raise UsageError(error.message) from None
        group = found.setdefault(platform, Annotations())
        match kind:
            case "manifest":
                group.manifest[name] = value
            case "manifest-descriptor":
                group.manifest_descriptor[name] = value
            case "index":
                group.index[name] = value
            case "index-descriptor":
                group.index_descriptor[name] = value
            case _:
                raise UsageError(f"unrecognized annotation type {kind}")
    return found


def parse_flag(key: str, text: str) -> bool:
    """A boolean as Go reads it; an empty one is true."""
    if text == "" or text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise UsageError(f"non-bool value specified for {key}: {_unparsed('Bool', text)}")


def _unparsed(kind: str, text: str) -> str:
    """What Go says of a text that it cannot read as a value."""
    return f"strconv.Parse{kind}: parsing {quote(text)}: invalid syntax"
