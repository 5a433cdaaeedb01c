"""`--cache-from` and `--cache-to` for a builder elsewhere: entries in its words, and directories that the session
lends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dockc.base.files import open_regular
from dockc.errors import UsageError
from dockc.runtime.remotecache.base import CacheEntry, parse_entry


def parse(text: str) -> CacheEntry:
    """Read one: `type=TYPE[,KEY=VALUE]`, or the name of an image.

    Raises:
        UsageError: it is neither.
    """
    entry = parse_entry(text)
    kind, attrs = entry.type, dict(entry.attrs)
    if kind == "gha":
        for key, variable in (
            ("token", "ACTIONS_RUNTIME_TOKEN"),
            ("url", "ACTIONS_CACHE_URL"),
            ("url_v2", "ACTIONS_RESULTS_URL"),
        ):
            if key not in attrs and os.environ.get(variable):
                attrs[key] = os.environ[variable]
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
        UsageError: a local cache without a directory.
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
            Path(folder).mkdir(parents=True, exist_ok=True)
            stores[f"local:{folder}"] = Path(folder)
        found.append(entry)
    return found, stores


def _digest(folder: Path, tag: str) -> str:
    """What a tag names in the index of a directory, or ""."""
    try:
        with open_regular(folder / "index.json") as file:
            entries = json.loads(file.read())["manifests"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for entry in entries:
        notes: Mapping[str, str] = entry.get("annotations") or {}
        if notes.get("org.opencontainers.image.ref.name") == tag or tag in notes.get("io.containerd.image.name", ""):
            return str(entry.get("digest", ""))
    return str(entries[0].get("digest", "")) if len(entries) == 1 and tag == "latest" else ""


def note(entries: Sequence[CacheEntry], response: Mapping[str, str]) -> None:
    """Name in their directories the caches that were written."""
    from dockc.oci.descriptor import Descriptor
    from dockc.oci.fields import decode
    from dockc.oci.reference import Reference
    from dockc.runtime.exporter.archive import write_index

    text = response.get("cache.manifest", "")
    if not text:
        return
    root = Descriptor.from_fields(decode(text.encode(), "cache.manifest"))
    none: tuple[Reference, ...] = ()
    for entry in entries:
        if entry.type == "local":
            write_index(Path(entry.attrs["dest"]), root, none, "")
