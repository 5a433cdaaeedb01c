"""An image as one tar file or one directory: the OCI layout, and Docker's `manifest.json` beside it.

Entries of the archive are sorted and carry no times, so equal images give equal archives.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dockc.base.files import read_regular
from dockc.base.record import replace
from dockc.errors import DigestMismatch, DockcError, StoreError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument
from dockc.oci.keys import CREATED, IMAGE_NAME
from dockc.oci.manifest import Index, Manifest
from dockc.oci.reference import DEFAULT_TAG, Reference
from dockc.runtime.archive.tarencode import END, header, pad
from dockc.runtime.archive.tarheader import DIRECTORY, REGULAR, Member

if TYPE_CHECKING:
    import threading

    from dockc.runtime.content.store import ContentStore

REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20


def tree(content: ContentStore, root: Descriptor) -> tuple[list[Manifest], list[Descriptor]]:
    """All image manifests below a root, and all blobs, manifests included, each once."""
    images: list[Manifest] = []
    blobs: dict[str, Descriptor] = {}
    todo = [root]
    while todo:
        descriptor = todo.pop()
        if descriptor.digest in blobs:
            continue
        blobs[descriptor.digest] = descriptor
        if descriptor.media_type not in mt.INDEXES | mt.MANIFESTS:
            continue
        parsed = manifests.parse(content.read(descriptor.digest), descriptor.media_type)
        if isinstance(parsed, Index):
            todo.extend(reversed(parsed.manifests))
        else:
            images.append(parsed)
            todo.extend((*reversed(parsed.layers), parsed.config))
    return images, list(blobs.values())


def index_entries(root: Descriptor, names: Sequence[Reference], created: str) -> tuple[Descriptor, ...]:
    """Entries of `index.json`: one per name, or one without a name.

    Args:
        root: manifest or index.
        names: with tags.
        created: RFC 3339 time to note.
    """
    notes = {CREATED: created, **root.annotations}
    if not names:
        return (replace(root, annotations=notes),)
    return tuple(replace(root, annotations={**notes, IMAGE_NAME: str(name), REF_NAME: _object(name)}) for name in names)


def _object(name: Reference) -> str:
    """The tag, with a digest that follows it; a digest alone does not tell anything without the name."""
    if not name.tag:
        return str(name)
    return f"{name.tag}@{name.digest}" if name.digest else name.tag


def docker_manifest(content: ContentStore, root: Descriptor, names: Sequence[Reference]) -> bytes:
    """Docker's `manifest.json` for one image.

    Raises:
        DockcError: the root is an index; Docker's format has no word for it.
    """
    parsed = manifests.parse(content.read(root.digest), root.media_type)
    if isinstance(parsed, Index):
        raise DockcError("docker exporter does not currently support exporting manifest lists")
    entry: dict[str, Any] = {
        "Config": _blob_path(parsed.config.digest),
        "RepoTags": [name.familiar() for name in names] or None,
        "Layers": [_blob_path(layer.digest) for layer in parsed.layers] or None,
    }
    return dump_json([entry])


def write_tar(
    out: BinaryIO,
    content: ContentStore,
    root: Descriptor,
    names: Sequence[Reference],
    created: str,
    *,
    docker: bool,
    cancelled: threading.Event | None = None,
) -> None:
    """Write an archive: an OCI layout, with `manifest.json` for Docker engines when asked for.

    Raises:
        DigestMismatch: a blob of the store is damaged.
        StoreError: a blob is missing.
    """
    _, blobs = tree(content, root)
    index = Index(mt.OCI_INDEX, index_entries(root, names, created)).marshal(indent=None)
    small = {"oci-layout": (_LAYOUT, 0o444), "index.json": (index, 0o644)}
    if docker:
        small["manifest.json"] = (docker_manifest(content, root, names), 0o644)
    folders = {"blobs", *(f"blobs/{digests.algorithm(blob.digest)}" for blob in blobs)}
    by_path = {_blob_path(blob.digest): blob for blob in blobs}
    for name in sorted([*small, *by_path, *(f"{folder}/" for folder in folders)]):
        if name.endswith("/"):
            out.write(header(Member(name, DIRECTORY, 0o755, 0, 0, 0, 0)))
        elif name in small:
            data, mode = small[name]
            out.write(header(Member(name, REGULAR, mode, 0, 0, len(data), 0)))
            out.write(data + pad(len(data)))
        else:
            _add_blob(out, name, content, by_path[name].digest, cancelled)
    out.write(END)


def _add_blob(out: BinaryIO, name: str, content: ContentStore, digest: str, cancelled: threading.Event | None) -> None:
    size = content.size(digest)
    out.write(header(Member(name, REGULAR, 0o444, 0, 0, size, 0)))
    with content.open(digest) as file:
        checked = _Checked(file, digest, cancelled)
        left = size
        while left and (data := checked.read(min(_CHUNK, left))):
            out.write(data)
            left -= len(data)
        checked.finish()
    out.write(pad(size))


class _Checked:
    """Reads a blob and makes sure that it is what its name says."""

    def __init__(self, file: BinaryIO, digest: str, cancelled: threading.Event | None) -> None:
        self._file = file
        self._digest = digest
        self._hasher = digests.Hasher(digests.algorithm(digest))
        self._cancelled = cancelled

    def read(self, size: int = -1) -> bytes:
        if self._cancelled is not None and self._cancelled.is_set():
            from dockc.runtime.cancel import Cancelled

            raise Cancelled
        data = self._file.read(size)
        self._hasher.update(data)
        return data

    def finish(self) -> None:
        if self._hasher.digest() != self._digest:
            raise DigestMismatch(f"unexpected digest {self._hasher.digest()} copied for {self._digest}")


def write_directory(
    folder: Path,
    content: ContentStore,
    root: Descriptor,
    names: Sequence[Reference],
    created: str,
    *,
    cancelled: threading.Event | None = None,
) -> None:
    """Add an image to an OCI layout directory, which is made when it is not there.

    Blobs that are there stay; entries of `index.json` with the same names are replaced, and an image without
    a name is tagged `latest`. The index is written last, so a reader sees the old image or the new one; builds
    that write into one layout wait for each other.

    Raises:
        StoreError: it cannot be written.
        DigestMismatch: a blob of the store is damaged.
    """
    _, blobs = tree(content, root)
    try:
        for blob in blobs:
            _copy_blob(folder / _blob_path(blob.digest), content, blob.digest, cancelled)
        _write_index(folder, root, names, created)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error


def write_index(folder: Path, root: Descriptor, names: Sequence[Reference], created: str) -> None:
    """Name an image whose blobs are in an OCI layout directory; see `write_directory`.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        _write_index(folder, root, names, created)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error


def _write_index(folder: Path, root: Descriptor, names: Sequence[Reference], created: str) -> None:
    with _locked(folder):
        _replace(folder / "oci-layout", [_LAYOUT], 0o644)
        entries = index_entries(root, names, created)
        if not names:
            notes = {REF_NAME: DEFAULT_TAG, **entries[0].annotations}
            entries = (replace(entries[0], annotations=notes),)
        kept = _other_entries(folder / "index.json", entries)
        index = Index(mt.OCI_INDEX, (*kept, *entries)).marshal(indent=None)
        _replace(folder / "index.json", [index], 0o644)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone in the directory; the lock ends with the process. Windows has no locks on directories."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy_blob(target: Path, content: ContentStore, digest: str, cancelled: threading.Event | None) -> None:
    if target.is_file() and not target.is_symlink() and target.stat().st_size == content.size(digest):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with content.open(digest) as file:
        checked = _Checked(file, digest, cancelled)

        def pieces() -> Iterable[bytes]:
            while data := checked.read(_CHUNK):
                yield data
            checked.finish()

        _replace(target, pieces(), 0o444)


def _replace(target: Path, pieces: Iterable[bytes], mode: int) -> None:
    """Write a file that appears whole under its name."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            for data in pieces:
                file.write(data)
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _other_entries(path: Path, new: Sequence[Descriptor]) -> list[Descriptor]:
    """Entries of an index on disk that the new ones do not replace."""
    try:
        old = manifests.parse(read_regular(path, manifests.SIZE_LIMIT), mt.OCI_INDEX)
    except FileNotFoundError:
        return []
    except (InvalidDocument, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: not an OCI index: {error}") from None
    if not isinstance(old, Index):
        raise StoreError(f"{path}: not an OCI index")
    replaced = {_entry_key(entry) for entry in new}
    return [entry for entry in old.manifests if _entry_key(entry) not in replaced]


def _entry_key(entry: Descriptor) -> tuple[str, str]:
    """What an entry is known by: its name, or its digest when it has none."""
    name = entry.annotations.get(IMAGE_NAME) or entry.annotations.get(REF_NAME) or ""
    return ("name", name) if name else ("digest", entry.digest)


def _blob_path(digest: str) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"
