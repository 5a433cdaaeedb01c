"""The kinds of outputs: what `-o type=NAME` may be. A new kind is a function of its own and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from dockc.base.record import Record, made
from dockc.base.table import Table

_ANY_IMAGE = (
    *("name", "oci-mediatypes", "oci-artifact", "attestation-inline", "prefer-nondist-layers", "source-date-epoch"),
    *("compression", "force-compression", "compression-level", "rewrite-timestamp", "containerimage.config"),
)
_ANY_FILES = ("source-date-epoch", "attestation-prefix")


class Kind(Record):
    """One kind of output.

    Attributes:
        export: `module:function` that makes it, of source, output and means (`export.Export`).
        options: the keys that it takes beside `type` and `dest`.
        shown: what the progress calls it: "exporting to ...".
        writes: where it goes: `file` and `directory` on the client's side, or "" where it has no `dest`.
        is_image: whether it has manifests, and so annotations.
        meaning: another kind, which this one is short for.
        implied: the options that it is short for.
    """

    export: str = ""
    options: frozenset[str] = frozenset()
    shown: str = "image"
    writes: str = ""
    is_image: bool = False
    meaning: str = ""
    implied: Mapping[str, str] = made(dict)


_ARCHIVE = frozenset((*_ANY_IMAGE, "tar"))

KINDS: dict[str, Kind] = {
    "image": Kind(
        "dockc.runtime.exporter.export:export_image",
        frozenset(
            (
                *(*_ANY_IMAGE, "push", "push-by-digest", "registry.insecure", "store", "name-canonical", "unpack"),
                *("dangling-name-prefix", "danging-name-empty-only"),
            )
        ),
        is_image=True,
    ),
    "registry": Kind(meaning="image", implied={"push": "true"}, is_image=True),
    "oci": Kind("dockc.runtime.exporter.export:export_archive", _ARCHIVE, "oci image format", "file", is_image=True),
    "docker": Kind(
        "dockc.runtime.exporter.export:export_archive",
        _ARCHIVE | {"context"},
        "docker image format",
        "file",
        is_image=True,
    ),
    "local": Kind(
        "dockc.runtime.exporter.export:export_local",
        frozenset((*_ANY_FILES, "platform-split", "mode")),
        "client directory",
        "directory",
    ),
    "tar": Kind(
        "dockc.runtime.exporter.export:export_tar", frozenset((*_ANY_FILES, "platform-split")), "client tarball", "file"
    ),
    "cacheonly": Kind("dockc.runtime.exporter.export:export_nothing", shown="cache"),
}


def find(name: str) -> Kind | None:
    """The kind of a name; None where nobody knows it. Packages add kinds by entry points of the group
    `dockc.exporters`.
    """
    kind: Kind | None = KINDS.get(name) or Table("dockc.exporters", {}).find(name)
    return kind
