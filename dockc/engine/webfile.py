"""A Dockerfile from the web, as `--file https://...` asks for."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dockc.base.files import FILE_LIMIT
from dockc.engine.connect import registry_client
from dockc.errors import DockcError


def fetch(url: str, store: Path | None = None, *, offline: bool = False) -> bytes:
    """The file; `offline`, as it was when it was last fetched by a build on this store.

    Raises:
        DockcError: it cannot be had, or is larger than a Dockerfile may be.
    """
    from dockc.runtime.source.memory import Memory
    from dockc.runtime.store.place import default_root

    root = store or default_root()
    memory = Memory(root / "content")
    if offline and (known := memory.get("dockerfile", url)) is not None:
        return known
    client = registry_client(offline=offline)
    try:
        with client.transport.request("GET", url) as answer:
            if not 200 <= answer.status < 300:
                raise DockcError(f"failed to read dockerfile: {answer.url}: invalid response status {answer.status}")
            data = answer.read_all(FILE_LIMIT)
        with contextlib.suppress(OSError):  # it may be the first build on this store
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / "content").mkdir(mode=0o700, exist_ok=True)
        memory.put("dockerfile", url, data)
        return data
    finally:
        client.close()
