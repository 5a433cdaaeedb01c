"""Names of the store, and what stands behind them."""

from __future__ import annotations

from pathlib import Path

from dockc.oci import mediatypes as mt
from dockc.oci import reference as references
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Index, Manifest
from dockc.runtime.content.store import ContentStore
from dockc.runtime.source.registry import LocalNames
from dockc.runtime.store import images


def test_attestations_are_no_platform(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)

    def put(data: bytes, kind: str) -> Descriptor:
        return Descriptor(kind, content.put(data), len(data))

    def manifest(os: str, architecture: str) -> Descriptor:
        config = f'{{"os": "{os}", "architecture": "{architecture}", "config": {{}}, "rootfs": {{"type": "layers", "diff_ids": []}}}}'
        return put(Manifest(mt.OCI_MANIFEST, put(config.encode(), mt.OCI_CONFIG), ()).marshal(), mt.OCI_MANIFEST)

    members = (manifest("linux", "amd64"), manifest("linux", "arm64"), manifest("unknown", "unknown"))
    root = put(Index(mt.OCI_INDEX, members).marshal(), mt.OCI_INDEX)
    LocalNames(content).put(references.parse_normalized("app:1"), root, built=True)
    (found,) = images.listing(content)
    assert (found.name, found.platforms) == ("app:1", ("linux/amd64", "linux/arm64"))
    assert {one.digest for one in members} <= set(images.reachable(content)), "they are kept all the same"
