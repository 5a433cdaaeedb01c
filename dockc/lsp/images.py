"""Images in dockc's own store, read without opening the store: no lock, no namespace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dockc.base.files import open_regular
from dockc.lsp.inlays import ImageFacts

_LIMIT = 64 << 10
_MANY = 2000
_DOCUMENT = 4 << 20
_DEPTH = 4


def local_images(root: Path) -> tuple[str, ...]:
    """Familiar names of images that were built or pulled, sorted; none where there is no store.

    Args:
        root: of the store.
    """
    from dockc.errors import DockcError
    from dockc.oci import reference as references

    found = set()
    try:
        files = sorted((root / "content" / "images").iterdir())[:_MANY]
    except OSError:
        return ()
    for path in files:
        try:
            with open_regular(path) as file:
                name = json.loads(file.read(_LIMIT))["name"]
            found.add(references.parse_normalized(name).familiar())
        except (OSError, ValueError, KeyError, TypeError, RecursionError, DockcError):
            continue  # another program is writing it, or it is not ours
    return tuple(sorted(found))


def image_facts(root: Path, name: str) -> ImageFacts | None:
    """Size and age of an image in the store; None where it is not there.

    Args:
        root: of the store.
        name: of the image, as FROM has it.
    """
    from dockc.base.hashing import sha256
    from dockc.errors import DockcError
    from dockc.oci import reference as references

    content = root / "content"
    try:
        ref = references.parse_normalized(name)
        tagged = str(ref.tag_name_only())
        if ref.digest:
            target: Any = {"digest": ref.digest}
        else:
            entry = json.loads(_head(content / "images" / sha256(tagged.encode()), _LIMIT))
            target = entry["target"] if entry["name"] == tagged else None
        manifest = _manifest(content, target, 0)
        if manifest is None:
            return None
        size = sum(int(layer["size"]) for layer in manifest["layers"])
        created = _blob(content, manifest["config"]["digest"]).get("created") or ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError, DockcError):
        return None  # not there, or not ours
    return ImageFacts(size, _days(created))


def _manifest(content: Path, target: Any, depth: int) -> Any:
    """The manifest that a target is or, of an index, the first whose document is here."""
    if depth > _DEPTH or not isinstance(target, dict):
        return None
    try:
        document = _blob(content, target["digest"])
    except OSError:
        return None
    if "layers" in document:
        return document
    found = (_manifest(content, child, depth + 1) for child in document.get("manifests", ()))
    return next((one for one in found if one is not None), None)


def _blob(content: Path, digest: str) -> Any:
    algorithm, _, encoded = digest.partition(":")
    if not algorithm.isalnum() or not encoded.isalnum():
        raise ValueError("no digest")
    return json.loads(_head(content / "blobs" / algorithm / encoded, _DOCUMENT))


def _head(path: Path, limit: int) -> bytes:
    with open_regular(path) as file:
        return file.read(limit)


def _days(created: str) -> int | None:
    """Whole days since a time of RFC 3339; None for none, and for the beginning of time, which stands for none."""
    try:
        made = datetime.fromisoformat(created)
    except ValueError:
        return None
    if made.tzinfo is None or made.year < 1990:
        return None
    return max((datetime.now(UTC) - made).days, 0)
