"""Names of images in dockc's own store, read without opening the store: no lock, no namespace."""

from __future__ import annotations

import json
from pathlib import Path

_LIMIT = 64 << 10
_MANY = 2000


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
            with path.open("rb") as file:
                name = json.loads(file.read(_LIMIT))["name"]
            found.add(references.parse_normalized(name).familiar())
        except (OSError, ValueError, KeyError, TypeError, RecursionError, DockcError):
            continue  # another program is writing it, or it is not ours
    return tuple(sorted(found))
