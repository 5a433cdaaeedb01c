"""Taking images out of archives into the store: what `docker save`, `podman save`, skopeo and dockc itself write.

Three forms are known: an OCI layout as a directory or a tar archive (docker has written it since 25, with its own
`manifest.json` beside it), and the older archive of `manifest.json`, one config and one `layer.tar` for each layer.
Archives may be compressed in any way that dockc reads. They are foreign: sizes and counts are bounded, no name of an
entry is ever a path on disk, and no blob counts before its digest has been checked. A name is given to an image last,
when all of it is here.

Sources: OCI image layout specification; Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset
Format".
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.files import open_stream
from dockc.base.record import Record
from dockc.errors import DigestMismatch, DockcError, RegistryError, StoreError
from dockc.oci import config as configs
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.config import ImageConfig
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument, decode
from dockc.oci.keys import IMAGE_NAME
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.archive.compress import Decompressor
from dockc.runtime.archive.tarheader import InvalidTar, TarReader
from dockc.runtime.content.errors import telling
from dockc.runtime.registry.client import NotFound
from dockc.runtime.registry.transport import printable
from dockc.runtime.source import ocilayout
from dockc.runtime.source.ocilayout import ArchiveFiles, Layout, NoArchive
from dockc.runtime.source.registry import LocalNames

if TYPE_CHECKING:
    from dockc.oci.digest import Reader
    from dockc.oci.fields import Fields
    from dockc.oci.reference import Reference
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress

STDIN = "-"
_READING = "reading the archive"
_CHUNK = 1 << 20
_LARGEST = 256 << 30  # bytes of an uncompressed archive
_ENTRIES = 20_000
_TRAILER = 1 << 20  # what may follow the end of an archive: tar fills its last record
_NESTING = 4
_COMPRESSED = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "uncompressed"}


class Loaded(Record):
    """An image that has a name now.

    Attributes:
        name: familiar form with tag.
        target: manifest or index.
        absent: platforms of its index that the archive did not bring.
    """

    name: str
    target: Descriptor
    absent: tuple[str, ...] = ()


def load(
    content: ContentStore, source: Path | BinaryIO, *, name: str = "", progress: Progress | None = None
) -> list[Loaded]:
    """Take the images of an archive or a layout into the store.

    Args:
        content: where their blobs go, and their names.
        source: a layout directory, an archive, or a stream of one.
        name: the name of the only image, instead of those that the archive says.
        progress: hears of the archive, where it has to be copied, and of each blob.

    Raises:
        RegistryError: it holds no images, or they are not whole.
        StoreError: the archive is damaged, or the disk is full.
        DigestMismatch: bytes that are not what their digest says.
        DockcError: an image without a name, several images for one name, or a name that is none.
    """
    shown = str(source) if isinstance(source, Path) else "standard input"
    wanted = references.parse_normalized(name).tag_name_only() if name else None
    if wanted is not None and wanted.digest:
        raise DockcError(f"an image cannot be named by digest: {name}", hint="Give a name with a tag.")
    found = _images(content, source, shown, progress or _unheard)
    return _give_names(content, found, wanted, shown)


def _unheard(what: str, current: int, total: int, done: bool) -> None:
    """Nobody listens."""


def base(content: ContentStore, source: Path, wanted: str = "", *, progress: Progress | None = None) -> str:
    """Take an image of an archive or a layout into the store, without a name: to build on it.

    Args:
        content: where its blobs go; it can be read as an OCI layout afterwards.
        source: as for `load`.
        wanted: which image, by name or by tag; "" is the only one.
        progress: as for `load`.

    Returns:
        Digest of the image's manifest or index.

    Raises:
        NotFound: no image of that name or tag, or several and none is meant.
        DockcError: as `load`.
    """
    shown = str(source)
    found = _images(content, source, shown, progress or _unheard)
    fitting = [one for one in found if not wanted or wanted in one.tags or _is_named(one, wanted)]
    if len({one.target.digest for one in fitting}) == 1:
        return fitting[0].target.digest
    names = sorted({name for one in found for name in (*(ref.familiar() for ref in one.names), *one.tags)})
    what = f"no image {wanted!r} in it" if not fitting else f"it holds {len(fitting)} images, and none is named"
    raise NotFound(f"{shown}: {what}", hint=printable(f"It holds {', '.join(names)[:500]}.") if names else "")


def _is_named(one: _Found, wanted: str) -> bool:
    try:
        ref = references.parse_normalized(wanted).tag_name_only()
    except references.InvalidReference:
        return False
    return ref in one.names


def _images(content: ContentStore, source: Path | BinaryIO, shown: str, report: Progress) -> list[_Found]:
    with telling("loading an image", content.root):
        if isinstance(source, Path) and source.is_dir():
            return _layout_images(content, ocilayout.open_layout(source), report)
        with _plain(content, source, shown, report) as path:
            try:
                files = ArchiveFiles(path, None, shown=shown)
            except NoArchive as error:  # it may be a packed one for whom there is an unpacker here
                raise NoArchive(f"{shown}: not a tar archive, packed or not: {error.reason}") from None
            return _archive_images(content, files, shown, report)


class _Found(Record):
    target: Descriptor
    names: tuple[Reference, ...]
    absent: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def _give_names(content: ContentStore, found: list[_Found], wanted: Reference | None, shown: str) -> list[Loaded]:
    if wanted is not None:
        if len({one.target.digest for one in found}) != 1:
            raise DockcError(
                f"{shown} holds {len(found)} images, and one name was given for them",
                hint="Without a name, they get those that the archive says.",
            )
        named = [(wanted, found[0])]
    else:
        named = [(ref, one) for one in found for ref in one.names]
        if not named:
            raise DockcError(
                f"{shown} does not say how its image is called", hint="Give it a name: dockc image load --name NAME."
            )
    known = LocalNames(content)
    done: dict[str, Loaded] = {}
    for ref, one in named:
        known.put(ref, one.target, built=True)
        done[ref.familiar()] = Loaded(ref.familiar(), one.target, one.absent)
    return list(done.values())


# -- archives as they come


@contextmanager
def _plain(content: ContentStore, source: Path | BinaryIO, shown: str, report: Progress) -> Iterator[Path]:
    """An uncompressed archive that can be read at any place: the file itself, or a copy without a name in the store."""
    if isinstance(source, Path):
        with _opened(source, shown) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            stream = Decompressor(file, archives=True)
            if regular and stream.name == "uncompressed":
                yield source
                return
            with _copied(content, stream, shown, report) as path:
                yield path
        return
    with _copied(content, Decompressor(source, archives=True), shown, report) as path:
        yield path


def _opened(path: Path, shown: str) -> BinaryIO:
    try:
        return open_stream(path)
    except OSError as error:
        raise RegistryError(f"{shown}: {error.strerror}") from None


@contextmanager
def _copied(content: ContentStore, stream: Reader, shown: str, report: Progress) -> Iterator[Path]:
    """The stream in a file that goes with its descriptor. Headers are read on the way: what is no tar ends at once."""
    with telling("unpacking an archive", content.root), tempfile.TemporaryFile(dir=content.root / "ingest") as copy:
        tee = _Tee(stream, copy, shown, report)
        try:
            for number, _ in enumerate(TarReader(tee)):
                if number >= _ENTRIES:
                    raise RegistryError(f"{shown}: more than {_ENTRIES} entries")
        except InvalidTar as error:
            raise RegistryError(f"{shown}: not a tar archive: {error.message}") from None
        except StoreError as error:
            raise StoreError(f"{shown}: {error.message}", hint=error.hint) from error
        left = _TRAILER
        while left and (data := stream.read(min(left, _CHUNK))):  # whoever writes to a pipe wants to get rid of it
            left -= len(data)
        copy.flush()
        tee.done()
        yield Path(f"/proc/self/fd/{copy.fileno()}")


class _Tee:
    def __init__(self, stream: Reader, copy: BinaryIO, shown: str, report: Progress) -> None:
        self._stream, self._copy, self._shown, self._report = stream, copy, shown, report
        self._left = _LARGEST

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise RegistryError(f"{self._shown}: more than {_LARGEST >> 30} GiB")
        self._copy.write(data)
        self._report(_READING, _LARGEST - self._left, 0, False)
        return data

    def done(self) -> None:
        self._report(_READING, _LARGEST - self._left, 0, True)


def _archive_images(content: ContentStore, files: ArchiveFiles, shown: str, report: Progress) -> list[_Found]:
    if files.has("index.json"):
        return _layout_images(content, Layout(Path(shown), files), report)
    if files.has("manifest.json"):
        return _docker_images(content, files, shown, report)
    if files.has("repositories"):
        raise RegistryError(f"{shown}: an archive of a docker before 1.10", hint="Load and save it with a newer one.")
    raise RegistryError(
        f"{shown}: no image archive: it has neither index.json nor manifest.json",
        hint="The archive of a file system becomes an image by `FROM scratch` and `ADD`.",
    )


# -- OCI layouts


def _layout_images(content: ContentStore, layout: Layout, report: Progress) -> list[_Found]:
    found: dict[str, _Found] = {}
    copied: dict[str, Descriptor | None] = {}
    try:
        for entry in layout.index.manifests:
            names = _names_of(entry)
            tags = tuple(filter(None, (entry.annotations.get(ocilayout.REF_NAME, ""),)))
            known = found.get(entry.digest)
            if known is not None:
                found[entry.digest] = _Found(known.target, (*known.names, *names), known.absent, (*known.tags, *tags))
                continue
            absent: list[str] = []
            target = _copy(content, layout, entry, absent, copied, report)
            if target is None:
                raise RegistryError(f"{layout.path}: nothing of the image {entry.digest} is in it")
            found[entry.digest] = _Found(target, names, tuple(absent), tags)
    except InvalidDocument as error:
        raise RegistryError(f"{layout.path}: {error.message}") from None
    if not found:
        raise RegistryError(f"{layout.path}: an OCI layout without images")
    return list(found.values())


def _names_of(entry: Descriptor) -> tuple[Reference, ...]:
    """The whole name where a tool has noted it; a tag alone does not say of what."""
    name = entry.annotations.get(IMAGE_NAME, "")
    if not name:
        name = entry.annotations.get(ocilayout.REF_NAME, "")
        if ":" not in name and "/" not in name:
            return ()
    try:
        ref = references.parse_normalized(name).tag_name_only()
    except references.InvalidReference:  # an annotation may say anything
        return ()
    return () if ref.digest else (ref,)


def _copy(
    content: ContentStore,
    layout: Layout,
    wanted: Descriptor,
    absent: list[str],
    copied: dict[str, Descriptor | None],
    report: Progress,
    depth: int = 0,
) -> Descriptor | None:
    """Copy what is below a descriptor, blobs before what speaks of them; None where nothing of it is there.

    Each document is read once, however many speak of it: `copied` is what came of it, by digest.
    """
    if wanted.digest not in copied:
        copied[wanted.digest] = _copy_new(content, layout, wanted, absent, copied, report, depth)
    return copied[wanted.digest]


def _copy_new(
    content: ContentStore,
    layout: Layout,
    wanted: Descriptor,
    absent: list[str],
    copied: dict[str, Descriptor | None],
    report: Progress,
    depth: int,
) -> Descriptor | None:
    if depth > _NESTING:
        raise RegistryError(f"{layout.path}: more than {_NESTING} indexes inside each other")
    try:
        file, size = layout.blob(wanted.digest)
    except NotFound:
        return None
    with file:
        if size > manifests.SIZE_LIMIT:
            raise RegistryError(f"{layout.path}: manifest {wanted.digest} is larger than {manifests.SIZE_LIMIT} bytes")
        data = file.read(size)
    if len(data) != wanted.size:
        raise DigestMismatch(f"{layout.path}: manifest {wanted.digest} has {len(data)} bytes and not {wanted.size}")
    parsed = manifests.parse(data, wanted.media_type)
    if isinstance(parsed, Index):
        here = 0
        for child in parsed.manifests:
            if _copy(content, layout, child, absent, copied, report, depth + 1) is not None:
                here += 1
            elif child.platform is not None and child.platform.os != "unknown":
                absent.append(platforms.format_all(child.platform))
        if not here:
            raise RegistryError(f"{layout.path}: none of the images of {wanted.digest} is in it")
    else:
        for part in (parsed.config, *parsed.layers):
            try:
                layout.provider.fetch(part, content, progress=report)
            except NotFound:
                if not mt.is_nondistributable(part.media_type):
                    raise
    content.put(data, wanted.digest)
    return Descriptor(wanted.media_type or parsed.media_type, wanted.digest, wanted.size)


# -- archives of docker before 25, and of kaniko, skopeo, bazel


def _docker_images(content: ContentStore, files: ArchiveFiles, shown: str, report: Progress) -> list[_Found]:
    data = _small(files, "manifest.json", shown, manifests.SIZE_LIMIT)
    try:
        # The document is a list of objects.
        entries = decode(b'{"images":' + data + b"}", "manifest.json").objects("images")
        if not entries:
            raise RegistryError(f"{shown}: an archive without images")
        return [_docker_image(content, files, entry, shown, report) for entry in entries]
    except InvalidDocument as error:
        raise RegistryError(f"{shown}: {error.message}") from None


def _docker_image(content: ContentStore, files: ArchiveFiles, entry: Fields, shown: str, report: Progress) -> _Found:
    raw = _small(files, entry.text("Config"), shown, configs.SIZE_LIMIT)
    config = ImageConfig.parse(raw)
    layers = entry.texts("Layers")
    if len(layers) != len(config.diff_ids):
        raise RegistryError(
            f"{shown}: {len(layers)} layers, and a config that speaks of {len(config.diff_ids)} ({entry.text('Config')})"
        )
    names = tuple(references.parse_normalized(name).tag_name_only() for name in entry.texts("RepoTags"))
    found = tuple(
        _layer(content, files, path, diff_id, shown, report)
        for path, diff_id in zip(layers, config.diff_ids, strict=True)
    )
    described = Descriptor(mt.OCI_CONFIG, content.put(raw), len(raw))
    document = Manifest(mt.OCI_MANIFEST, described, found).marshal()
    target = Descriptor(mt.OCI_MANIFEST, content.put(document), len(document))
    return _Found(target, tuple(ref for ref in names if not ref.digest))


def _layer(
    content: ContentStore, files: ArchiveFiles, path: str, diff_id: str, shown: str, report: Progress
) -> Descriptor:
    """One layer; a plain one must be what the config says, of a compressed one that is found out when it is used."""
    file, size = _member(files, path, shown)
    with file:
        at = file.tell()
        kind = Decompressor(file).name
        file.seek(at)
        left = size
        with content.writer(diff_id if kind == "uncompressed" else None, size) as writer:
            if not writer.complete:
                writer.restart()
                while left and (data := file.read(min(left, _CHUNK))):
                    writer.write(data)
                    left -= len(data)
                    report(diff_id, size - left, size, False)
            try:
                digest, written = writer.commit()
            except DigestMismatch as error:
                raise DigestMismatch(f"{shown}: layer {path}: {error.message}") from error
    report(diff_id, size, size, True)
    return Descriptor(mt.layer_type(_COMPRESSED[kind]), digest, written)


def _member(files: ArchiveFiles, name: str, shown: str) -> tuple[BinaryIO, int]:
    try:
        return files.open(name)
    except FileNotFoundError:
        raise RegistryError(f"{shown}: {name or 'the config'} is missing") from None
    except OSError as error:
        raise StoreError(f"{shown}: {error.strerror}") from None


def _small(files: ArchiveFiles, name: str, shown: str, limit: int) -> bytes:
    file, size = _member(files, name, shown)
    with file:
        if size > limit:
            raise RegistryError(f"{shown}: {name} is larger than {limit} bytes")
        return file.read(size)
