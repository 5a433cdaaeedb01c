"""`--cache-from` and `--cache-to` for a builder elsewhere: entries in its words, and directories that the session
lends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from dockc.base import jsontext
from dockc.base.files import open_regular, read_regular
from dockc.base.record import replace
from dockc.errors import DockcError, UsageError
from dockc.oci.keys import IMAGE_NAME
from dockc.runtime.remotecache.base import CacheEntry, parse_entry
from dockc.runtime.remotecache.writing import INDEX_LIMIT, Writing, collects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.oci.descriptor import Descriptor

_NAME = "org.opencontainers.image.ref.name"


def parse(text: str) -> CacheEntry:
    """Read one: `type=TYPE[,KEY=VALUE]`, or the name of an image.

    Raises:
        UsageError: it is neither.
    """
    entry = parse_entry(text)
    kind, attrs = entry.type, dict(entry.attrs)
    if kind == "gha":
        from dockc.runtime.remotecache.gha import of_runner

        attrs = of_runner(attrs, os.environ)
    return CacheEntry(kind, attrs)


def imports(texts: Sequence[str]) -> tuple[list[CacheEntry], dict[str, Path]]:
    """Caches to read, and the directories that they are in by store name. A directory that is not there yet is no
    cache.

    Raises:
        UsageError: a local cache without a directory.
    """
    found, stores = [], {}
    for text in texts:
        entry = parse(text)
        if entry.type == "local":
            folder = entry.attrs.get("src", "")
            if not folder:
                raise UsageError("local cache importer requires src")
            attrs = dict(entry.attrs)
            digest = attrs.get("digest") or _digest(Path(folder), attrs.get("tag", "latest"))
            if not digest:
                continue
            attrs["digest"] = digest
            entry = CacheEntry("local", attrs)
            stores[f"local:{folder}"] = Path(folder)
        found.append(entry)
    return found, stores


def exports(texts: Sequence[str], *, forgiving: bool = False) -> tuple[list[CacheEntry], dict[str, Path]]:
    """Caches to write, and the directories for them by store name.

    Args:
        texts: as the command line has them.
        forgiving: one that cannot be written does not fail the build, unless it says `ignore-error=false`.

    Raises:
        UsageError: a local cache without a directory, or with an option that makes no sense.
    """
    found, stores = [], {}
    for text in texts:
        entry = parse(text)
        if forgiving:
            entry = CacheEntry(entry.type, {"ignore-error": "true", **entry.attrs})
        if entry.type == "local":
            folder = entry.attrs.get("dest", "")
            if not folder:
                raise UsageError("local cache exporter requires dest")
            collects(entry)
            Path(folder).mkdir(parents=True, exist_ok=True)
            stores[f"local:{folder}"] = Path(folder)
        found.append(entry)
    return found, stores


def _digest(folder: Path, tag: str) -> str:
    """What a tag names in the index of a directory, or ""."""
    try:
        entries = jsontext.parsed(read_regular(folder / "index.json", INDEX_LIMIT))["manifests"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for entry in entries:
        notes: Mapping[str, str] = entry.get("annotations") or {}
        if notes.get(_NAME) == tag or tag in notes.get(IMAGE_NAME, ""):
            return str(entry.get("digest", ""))
    return str(entries[0].get("digest", "")) if len(entries) == 1 and tag == "latest" else ""


class Turns:
    """The directories that caches are written to while a build runs elsewhere: nobody collects in them meanwhile
    (`remotecache.writing`).
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._writing: dict[str, Writing] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def begin(self, entries: Sequence[CacheEntry]) -> None:
        """Take part where these caches go."""
        for entry in entries:
            folder = entry.attrs.get("dest", "")
            if entry.type == "local" and folder not in self._writing:
                self._writing[folder] = self._held.enter_context(Writing(Path(folder)))

    def note(self, entries: Sequence[CacheEntry], response: Mapping[str, str]) -> None:
        """Name in their directories the caches that were written, and remove there what has no name any more, where that
        is asked for.

        The builder's answer tells one manifest, that of the cache which was written last. Where there were several caches,
        a directory's own is the newest manifest in it.
        """
        from dockc.oci.descriptor import Descriptor
        from dockc.oci.fields import decode
        from dockc.oci.reference import Reference
        from dockc.runtime.exporter.archive import write_index

        text = response.get("cache.manifest", "")
        if not text:
            return
        root = Descriptor.from_fields(decode(text.encode(), "cache.manifest"))
        none: tuple[Reference, ...] = ()
        alone = sum(entry.type != "inline" for entry in entries) == 1
        for entry in entries:
            if entry.type != "local":
                continue
            folder, tag = Path(entry.attrs["dest"]), entry.attrs.get("tag", "")
            own = root if alone else _newest(folder)
            if own is None:
                continue
            writing = self._writing[entry.attrs["dest"]]
            with writing.index():
                write_index(folder, replace(own, annotations={_NAME: tag}) if tag else own, none, "")
            if collects(entry):
                writing.collect()


def _newest(folder: Path) -> Descriptor | None:
    """The manifest of a cache that was written, or asked for, last of those in a directory; None where there is none."""
    from dockc.oci import manifest as manifests
    from dockc.oci.descriptor import Descriptor
    from dockc.runtime.remotecache.config import MEDIA_TYPE

    found: list[tuple[int, Path]] = []
    for path in folder.glob("blobs/*/*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= manifests.SIZE_LIMIT:
            found.append((status.st_mtime_ns, path))
    for _, path in sorted(found, reverse=True):
        try:
            with open_regular(path) as file:
                data = file.read(manifests.SIZE_LIMIT)
            parsed = manifests.parse(data) if data.startswith(b"{") else None
        except (OSError, DockcError):
            continue
        if parsed is None:
            continue
        kinds = (
            {one.media_type for one in parsed.manifests}
            if isinstance(parsed, manifests.Index)
            else {parsed.config.media_type}
        )
        if MEDIA_TYPE in kinds:
            return Descriptor(parsed.media_type, f"{path.parent.name}:{path.name}", len(data))
    return None
