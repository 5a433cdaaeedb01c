"""What each layer of an image brings: files added, changed and removed, and bytes that no later layer lets be seen.

Layers are read and not unpacked. A file counts where its name stands: symbolic links to directories are not followed.
Source: OCI image specification, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import StoreError
from dockc.runtime.archive import tarheader
from dockc.runtime.archive.compress import Decompressor
from dockc.runtime.archive.tarheader import InvalidTar, Member, TarReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.oci.config import ImageConfig
    from dockc.oci.manifest import Manifest
    from dockc.runtime.content.store import ContentStore

_WHITEOUT, _OPAQUE, _META = ".wh.", ".wh..wh..opq", ".wh..wh."
_ENTRIES = 8_000_000
_NODES = 4_000_000  # names that are kept: some hundred bytes each, and a long path is of many
_BYTES = 256 << 30  # of all files of a layer, as when it is unpacked


class Layer:
    """One layer of an image.

    Attributes:
        digest: of its blob.
        line: what the history says it was made by, or "".
        size: bytes of its blob.
        files: bytes of its files, unpacked.
        added, changed, removed: entries that were not there below, that were, and that are there no more.
        wasted: bytes of its files that a later layer replaces or removes.
    """

    __slots__ = ("added", "changed", "digest", "files", "line", "removed", "size", "wasted")

    def __init__(self, digest: str, line: str, size: int) -> None:
        self.digest, self.line, self.size = digest, line, size
        self.files = self.added = self.changed = self.removed = self.wasted = 0


class File(Record):
    """An entry of the file system that all layers make together.

    Attributes:
        path: from the root, with a leading slash.
        kind: a type of `archive.tarheader`.
        mode: permission bits.
        uid, gid: its owner.
        size: bytes.
        link: where a link leads.
        layer: number of the layer it comes from, the lowest is 0.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    link: str
    layer: int


class _Node:
    __slots__ = ("children", "cleared", "layer", "member")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.layer = -1  # a directory that no layer has spoken of
        self.cleared = -1  # the layer that has removed what lower ones had below: once is enough
        self.member: Member | None = None


class Contents:
    """The layers of one image, read from the lowest up.

    Attributes:
        layers: lowest first.

    Raises:
        StoreError: a layer is not in the store, or damaged.
    """

    def __init__(self, content: ContentStore, manifest: Manifest, config: ImageConfig) -> None:
        self._root = _Node()
        self._nodes = 0
        self.layers: list[Layer] = []
        lines = lines_of(config, len(manifest.layers))
        for descriptor, line in zip(manifest.layers, lines, strict=True):
            self.layers.append(Layer(descriptor.digest, line, descriptor.size))
            with content.open(descriptor.digest) as file:
                archive = TarReader(Decompressor(file))
                try:
                    left = _BYTES
                    for number, member in enumerate(archive):
                        left -= member.real_size
                        if number >= _ENTRIES or left < 0:
                            raise InvalidTar(f"a layer of more than {_ENTRIES} files or {_BYTES >> 30} GiB")
                        self._take(member)
                except StoreError as error:
                    raise StoreError(f"layer {descriptor.digest}: {error.message}", hint=error.hint) from error

    def files(self) -> Iterator[File]:
        """All entries, sorted by name."""
        todo = [("", self._root)]
        while todo:
            path, node = todo.pop()
            if path and node.member is not None:
                one = node.member
                yield File(path, one.kind, one.mode, one.uid, one.gid, one.real_size, one.linkname, node.layer)
            todo += ((f"{path}/{name}", node.children[name]) for name in sorted(node.children, reverse=True))

    def _take(self, member: Member) -> None:
        here = len(self.layers) - 1
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:  # the root itself; what leads out of it is never unpacked
            return
        name = parts.pop()
        folder = self._root
        for part in parts:
            folder = self._child(folder, part)
        if name == _OPAQUE:
            self._empty(folder, here)
        elif name.startswith(_META):
            return
        elif name.startswith(_WHITEOUT):
            old = folder.children.get(name.removeprefix(_WHITEOUT))
            if old is not None and self._remove(old, here):
                del folder.children[name.removeprefix(_WHITEOUT)]
        else:
            self._put(folder, name, member, here)

    def _child(self, folder: _Node, name: str) -> _Node:
        node = folder.children.get(name)
        if node is None:
            self._nodes += 1
            if self._nodes > _NODES:
                raise InvalidTar(f"an image of more than {_NODES} names")
            node = folder.children[name] = _Node()
        return node

    def _put(self, folder: _Node, name: str, member: Member, here: int) -> None:
        layer = self.layers[here]
        node = self._child(folder, name)
        if node.layer < 0:
            layer.added += 1
        elif node.layer != here:
            if member.kind != tarheader.DIRECTORY or node.member is None or node.member.kind != tarheader.DIRECTORY:
                layer.changed += 1
            self._waste(node)
        else:
            layer.files -= _size(node.member)  # the same name twice in one layer: the later one counts
        if member.kind != tarheader.DIRECTORY and node.children:
            self._empty(node, here)
        node.layer, node.member = here, member
        layer.files += _size(member)

    def _waste(self, node: _Node) -> None:
        self.layers[node.layer].wasted += _size(node.member)

    def _empty(self, folder: _Node, here: int) -> None:
        if folder.cleared == here:
            return
        folder.cleared = here
        folder.children = {name: child for name, child in folder.children.items() if not self._remove(child, here)}

    def _remove(self, top: _Node, here: int) -> bool:
        """Remove what lower layers have put at a node and below; whether nothing is left there."""
        if top.cleared == here and top.layer in (-1, here):
            return top.layer < 0 and not top.children
        gone: dict[int, bool] = {}
        order = [top]
        for node in order:
            order += node.children.values()
        for node in reversed(order):  # children before their parents
            node.children = {name: child for name, child in node.children.items() if not gone[id(child)]}
            if 0 <= node.layer < here:
                self._waste(node)
                self.layers[here].removed += 1
                node.layer, node.member = -1, None
            node.cleared = here
            gone[id(node)] = node.layer < 0 and not node.children
        return gone[id(top)]


def _size(member: Member | None) -> int:
    return member.size if member is not None and member.kind == tarheader.REGULAR else 0


def lines_of(config: ImageConfig, count: int) -> Sequence[str]:
    """What each of `count` layers was made by; "" where the history does not fit the layers."""
    lines = [one.created_by for one in config.history if not one.empty_layer]
    return lines if len(lines) == count else [""] * count
