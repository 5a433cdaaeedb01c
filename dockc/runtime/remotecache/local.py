"""`type=local`: a cache in a directory, which is an OCI layout."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dockc.errors import UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.content.store import ContentStore
from dockc.runtime.remotecache import base
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed, Place
from dockc.runtime.remotecache.chains import Chains
from dockc.runtime.remotecache.keys import Imported
from dockc.runtime.remotecache.manifest import OPTIONS, form_of, make_document, read_document
from dockc.runtime.remotecache.registry import MANIFEST
from dockc.runtime.remotecache.writing import BlobFiles, Writing, collects, entries_of, index_of
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
        index = index_of(self._folder)
        if index is None and not self._digest:
            return ()
        digest = self._digest or _named(index or {}, self._tag)
        if not digest:
            raise CacheFailed(f"{self._name}: no cache is named {self._tag} there")
        files = BlobFiles(self._folder)
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


class LocalTarget:
    """A directory that takes a cache (`CacheTarget`)."""

    def __init__(self, entry: CacheEntry) -> None:
        """Check the options; no I/O."""
        base.check_options(entry, "dest", "tag", "reset", "gc", *OPTIONS, *base.packing_options())
        if not entry.attrs.get("dest"):
            raise UsageError("local cache exporter requires dest")
        self._folder = Path(entry.attrs["dest"]).absolute()
        self._tag = entry.attrs.get("tag", "latest")
        self._collect = collects(entry)
        self.form = form_of(entry)
        self.compression = base.compression_of(entry)

    def save(self, chains: Chains, place: Place) -> Mapping[str, str]:
        """See `CacheTarget`: blobs first, the name last; several builds may write to one directory."""
        document = make_document(chains, self.form)
        try:
            with Writing(self._folder, place.cancelled) as turn:
                target = ContentStore(self._folder)

                def copy(blob: Descriptor, stop: threading.Event) -> None:
                    target.take(blob.digest, place.content, cancelled=stop)
                    if place.progress is not None:
                        place.progress(blob.digest, blob.size, blob.size, True)

                several(copy, chains.blobs, TRANSFERS, cancelled=place.cancelled, name="cache")
                target.put(document.config)
                target.put(document.data)
                with turn.index():
                    _write_index(self._folder, document.root, self._tag)
                if self._collect:
                    turn.collect()
        except OSError as error:
            raise CacheFailed(f"cannot write the cache to {self._folder}: {error.strerror}") from error
        return {MANIFEST: dump_json(document.root.to_json()).decode()}


# --- the index ----------------------------------------------------------------------------------------


def _named(index: Mapping[str, Any], tag: str) -> str:
    """What a tag names; where there is only one manifest and nobody asked for a tag, that one."""
    entries = entries_of(index)
    for one in entries:
        notes = one.get("annotations")
        if isinstance(notes, dict) and notes.get(_TAG) == tag:
            return str(one.get("digest", ""))
    return str(entries[0].get("digest", "")) if len(entries) == 1 and tag == "latest" else ""


def _write_index(folder: Path, root: Descriptor, tag: str) -> None:
    """Let `tag` name `root`; other names stay."""
    try:
        index = index_of(folder) or {}
    except CacheFailed:
        index = {}
    kept = [one for one in entries_of(index) if (one.get("annotations") or {}).get(_TAG) != tag]
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
