"""`type=local`: a cache in a directory, which is an OCI layout."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from dockc.base.files import open_regular
from dockc.errors import DockcError, UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Manifest
from dockc.runtime.content.locks import locked
from dockc.runtime.content.store import ContentStore
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, FileBlobs, Place
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.keys import Imported
from dockc.runtime.remotecache.manifest import OPTIONS, form_of, make_document, read_document
from dockc.runtime.remotecache.registry import MANIFEST
from dockc.runtime.several import TRANSFERS, several

_TAG = "org.opencontainers.image.ref.name"
_INDEX_LIMIT = 4 << 20


class LocalSource:
    """A directory's cache (`CacheSource`)."""

    def __init__(self, entry: CacheEntry) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "src", "tag", "digest")
        self._name = entry.shown()
        if not entry.attrs.get("src"):
            raise UsageError("local cache importer requires src")
        self._folder = Path(entry.attrs["src"]).absolute()
        self._tag = entry.attrs.get("tag", "latest")
        self._digest = entry.attrs.get("digest", "")
        if self._digest:
            digests.validate(self._digest)

    def load(self, place: Place) -> Sequence[Imported]:
        """See `CacheSource`. A directory without a cache is an empty one: the first build of a pipeline has none."""
        index = _read_index(self._folder)
        if index is None and not self._digest:
            return ()
        digest = self._digest or _named(index or {}, self._tag)
        if not digest:
            raise CacheFailed(f"{self._name}: no cache is named {self._tag} there")
        files = _Blobs(self._folder)
        data = files.read(digest, _INDEX_LIMIT)
        root = Descriptor("", digest, len(data))
        return read_document(
            self._name,
            root,
            data,
            lambda one, limit: files.read(one.digest, limit),
            files,
            f"oci-layout://{self._folder}@{digest}",
        )


class _Blobs(FileBlobs):
    """The blobs of a layout that others may write to (`Provider`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _open(self, digest: str) -> BinaryIO:
        digests.validate(digest)
        algorithm, _, encoded = digest.partition(":")
        path = self._folder / "blobs" / algorithm / encoded
        try:
            return open_regular(path)
        except OSError as error:
            raise CacheFailed(f"{self._folder}: cannot read {digest}: {error.strerror}") from None

    def read(self, digest: str, limit: int) -> bytes:
        """A document, verified."""
        with self._open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise CacheFailed(f"{self._folder}: {digest} is larger than {limit} bytes")
        return digests.check(data, digest)

    def open_blob(self, digest: str) -> BinaryIO:
        """See `FileBlobs`."""
        return self._open(digest)


class LocalTarget:
    """A directory that takes a cache (`CacheTarget`)."""

    def __init__(self, entry: CacheEntry) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "dest", "tag", "reset", "gc", *OPTIONS, *base.packing_options())
        if not entry.attrs.get("dest"):
            raise UsageError("local cache exporter requires dest")
        self._folder = Path(entry.attrs["dest"]).absolute()
        self._tag = entry.attrs.get("tag", "latest")
        self._collect = bool(entry.flag("reset") or entry.flag("gc"))
        self.form = form_of(entry)
        self.compression = base.compression_of(entry)

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """See `CacheTarget`: blobs first, the name last; several builds may write to one directory."""
        document = make_document(chains, self.form)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = ContentStore(self._folder)

            def copy(blob: Descriptor, stop: threading.Event) -> None:
                target.take(blob.digest, place.content, cancelled=stop)
                if place.progress is not None:
                    place.progress(blob.digest, blob.size, blob.size, True)

            several(copy, chains.blobs, TRANSFERS, cancelled=place.cancelled, name="cache")
            target.put(document.config)
            target.put(document.data)
            with locked(self._folder / "index.json.lock", place.cancelled):
                _write_index(self._folder, document.root, self._tag)
                if self._collect:
                    collect(self._folder)
        except OSError as error:
            raise CacheFailed(f"cannot write the cache to {self._folder}: {error.strerror}") from error
        return {MANIFEST: dump_json(document.root.to_json()).decode()}


# --- the index ----------------------------------------------------------------------------------------


def _read_index(folder: Path) -> dict[str, Any] | None:
    """The layout's index; None where there is none."""
    try:
        with open_regular(folder / "index.json") as file:
            found = json.loads(file.read(_INDEX_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CacheFailed(f"cannot read {folder / 'index.json'}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CacheFailed(f"{folder / 'index.json'} is no index") from None
    return found if isinstance(found, dict) else {}


def _entries(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = index.get("manifests")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _named(index: Mapping[str, Any], tag: str) -> str:
    """What a tag names; where there is only one manifest and nobody asked for a tag, that one."""
    entries = _entries(index)
    for one in entries:
        notes = one.get("annotations")
        if isinstance(notes, dict) and notes.get(_TAG) == tag:
            return str(one.get("digest", ""))
    return str(entries[0].get("digest", "")) if len(entries) == 1 and tag == "latest" else ""


def _write_index(folder: Path, root: Descriptor, tag: str) -> None:
    """Let `tag` name `root`; other names stay."""
    try:
        index = _read_index(folder) or {}
    except CacheFailed:
        index = {}
    kept = [one for one in _entries(index) if (one.get("annotations") or {}).get(_TAG) != tag]
    entry = {**root.to_json(), "annotations": {_TAG: tag}}
    data = dump_json({"schemaVersion": 2, "manifests": [*kept, entry]})
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".index-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101 - as any file that is made
        Path(temporary).replace(folder / "index.json")
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def collect(folder: Path) -> int:
    """Remove the blobs that no manifest of the index names; returns the bytes that went.

    Nothing is removed where a manifest cannot be read: what it names is not known.
    """
    files = _Blobs(folder)
    needed: set[str] = set()
    waiting = [str(one.get("digest", "")) for one in _entries(_read_index(folder) or {})]
    while waiting:
        digest = waiting.pop()
        if digest in needed:
            continue
        needed.add(digest)
        try:
            parsed = manifests.parse(files.read(digest, manifests.SIZE_LIMIT))
        except DockcError:
            return 0
        if isinstance(parsed, Manifest):
            needed |= {parsed.config.digest, *(layer.digest for layer in parsed.layers)}
            continue
        for one in parsed.manifests:
            if one.media_type in (*mt.MANIFESTS, *mt.INDEXES):
                waiting.append(one.digest)
            else:
                needed.add(one.digest)
    freed = 0
    for path in sorted((folder / "blobs").glob("*/*")):
        if f"{path.parent.name}:{path.name}" not in needed and path.is_file():
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed
