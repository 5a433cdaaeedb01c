"""A file tree with the digests of its entries, read and computed only as far as someone asks.

Nodes are kept between builds; a `HashTree` is one use of them together with the mounted file system.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dockc.runtime.fsutil.failure import FileError, check, failed
from dockc.runtime.fsutil.filehash import Seen, entry_digest
from dockc.runtime.fsutil.inroot import MAX_LINKS, Root
from dockc.runtime.fsutil.rows import pack, unpack

FILE, LINK, DIRECTORY = "f", "l", "d"
_Row = tuple[int, str, str, str, bytes, bytes, bool, tuple[int, int, int, int]]
"""One node as it is stored: depth, name, kind, link target, own digest, tree digest, entries known, what was seen."""
_NOTHING = Seen()


class Node:
    """One entry.

    Attributes:
        kind: `FILE` (anything that is no link or directory), `LINK` or `DIRECTORY`.
        link: target of a link.
        own: digest of the entry itself (a directory's metadata); b"" if not computed yet.
        tree: digest of a directory with all below it; b"" if not computed yet.
        children: entries of a directory by name; None if not read yet.
        seen: what was seen when `own` was computed.
    """

    __slots__ = ("children", "kind", "link", "own", "seen", "tree")

    def __init__(self, kind: str, link: str = "") -> None:
        self.kind = kind
        self.link = link
        self.own = b""
        self.tree = b""
        self.seen = _NOTHING
        self.children: dict[str, Node] | None = None

    @classmethod
    def directory(cls) -> Node:
        """A directory of which nothing is known."""
        return cls(DIRECTORY)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == DIRECTORY

    def count(self) -> int:
        """How many entries are known: this one and all below it."""
        counted, pending = 0, [self]
        while pending:
            node = pending.pop()
            counted += 1
            if node.children:
                pending.extend(node.children.values())
        return counted

    def encode(self) -> bytes:
        """The node and all below it as bytes."""
        return pack(self._rows())

    def _rows(self) -> Iterator[_Row]:
        ways: list[Iterator[tuple[str, Node]]] = [iter([("", self)])]
        while ways:
            depth = len(ways) - 1
            for name, node in ways[-1]:
                below, link = node.children, node.link
                name = name if name.isascii() else to_utf8(name)
                link = link and to_utf8(link)
                yield depth, name, node.kind, link, node.own, node.tree, below is not None, node.seen
                if below:
                    ways.append(iter(below.items()))
                    break
            else:
                ways.pop()

    @classmethod
    def decode(cls, data: bytes) -> Node | None:
        """The inverse of `encode`; None for anything else (written by another version)."""
        rows: Iterator[_Row] | None = unpack(data, _Row)
        if rows is None:
            return None
        path: list[Node] = []
        for depth, name, kind, link, own, tree, known, seen in rows:
            if depth > len(path) or (depth == 0) != (not path):
                return None
            node = cls(kind, from_utf8(link))
            node.own, node.tree, node.seen = own, tree, Seen(*seen)
            node.children = {} if known else None
            del path[depth:]
            if path:
                above = path[-1].children
                if above is None:
                    return None
                above[from_utf8(name)] = node
            path.append(node)
        return path[0] if path else None


def to_utf8(text: str) -> str:
    """A name with its undecodable bytes in a form that is valid UTF-8 (a name itself has no NUL)."""
    if text.isascii():
        return text
    return "".join(f"\0{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)


def from_utf8(text: str) -> str:
    """The inverse of `to_utf8`."""
    if "\0" not in text:
        return text
    first, *rest = text.split("\0")
    return first + "".join(chr(int(part[:4], 16)) + part[4:] for part in rest)


class HashTree:
    """Nodes together with the files they stand for, which are mounted when first needed.

    Use as a context manager, from one thread at a time.

    Attributes:
        nodes: what is known.
        changed: something was learned that is worth keeping.
    """

    def __init__(
        self,
        mount: Callable[[], AbstractContextManager[Path]],
        root: Node | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._mount = mount
        self.nodes = root or Node.directory()
        self._cancelled = cancelled
        self._stack = ExitStack()
        self._opened: Root | None = None
        self.changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def _root(self) -> Root:
        if self._opened is None:
            self._opened = self._stack.enter_context(Root(self._stack.enter_context(self._mount())))
        return self._opened

    # --- structure ------------------------------------------------------------------------------

    def find(self, path: str, *, follow: bool) -> tuple[str, Node] | None:
        """The entry at an absolute path, links on the way followed inside the tree.

        Args:
            path: clean and absolute.
            follow: a link in the last component is followed too.

        Returns:
            The path without links and the node, or None where nothing is.

        Raises:
            FileError: too many links.
        """
        todo = [part for part in path.split("/") if part]
        todo.reverse()
        here: list[str] = []
        node: Node | None = self.nodes
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = here[:-1]
                node = self._get(here)
                continue
            above = "/" + "/".join(here)
            here.append(part)
            node = self._child(above, node, part) if node is not None else None
            if node is None or node.kind != LINK or (not follow and not todo):
                continue
            links += 1
            if links > MAX_LINKS:
                raise FileError("too many links")
            here.pop()
            if node.link.startswith("/"):
                here = []
            todo.extend(reversed(node.link.split("/")))
            node = self._get(here)
        return None if node is None else ("/" + "/".join(here), node)

    def _get(self, parts: list[str]) -> Node | None:
        node: Node | None = self.nodes
        for number, part in enumerate(parts):
            if node is None:
                return None
            node = self._child("/" + "/".join(parts[:number]), node, part)
        return node

    def _child(self, path: str, node: Node, name: str) -> Node | None:
        return self._children(path, node).get(name) if node.is_dir else None

    def _children(self, path: str, node: Node) -> dict[str, Node]:
        if node.children is None:
            check(self._cancelled)
            node.children = self._read(path)
            self.changed = True
        return node.children

    def entries(self, path: str, node: Node) -> list[tuple[str, Node]]:
        """The entries of a directory in byte order."""
        return sorted(self._children(path, node).items(), key=lambda item: os.fsencode(item[0]))

    def _read(self, path: str) -> dict[str, Node]:
        found: dict[str, Node] = {}
        fd = self._root.open_dir(path, read=True)
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    if entry.is_symlink():
                        found[entry.name] = Node(LINK, os.readlink(entry.name, dir_fd=fd))
                    elif entry.is_dir(follow_symlinks=False):
                        found[entry.name] = Node.directory()
                    else:
                        found[entry.name] = Node(FILE)
        except OSError as error:
            raise failed("open", path, error, wrap=f"failed to walk {path}") from error
        finally:
            os.close(fd)
        return found

    # --- digests --------------------------------------------------------------------------------

    def own(self, path: str, node: Node) -> bytes:
        """Digest of the entry itself."""
        if not node.own:
            with self._root.parent(path) as (fd, name):
                self._compute(fd, name, path, node)
        return node.own

    def digest(self, path: str, node: Node) -> bytes:
        """Digest of the entry and, of a directory, of all below it."""
        if not node.is_dir:
            return self.own(path, node)
        pending = [(path, node)]
        while pending:
            path, here = pending[-1]
            if here.tree:
                pending.pop()
                continue
            below = self.entries(path, here)
            open_ended = [
                ("/" + name if path == "/" else f"{path}/{name}", child)
                for name, child in below
                if child.is_dir and not child.tree
            ]
            if open_ended:
                pending.extend(open_ended)
                continue
            self.own(path, here)
            self._own_of_entries(path, below)
            listing = hashlib.sha256(b"\0sha256:" + here.own.hex().encode())
            for name, child in self._listed(below):
                listing.update(name + b"sha256:" + (child.tree or child.own).hex().encode())
            here.tree = listing.digest()
            self.changed = True
            pending.pop()
        return node.tree

    def _listed(self, below: list[tuple[str, Node]]) -> Iterator[tuple[bytes, Node]]:
        """What a directory's digest is over: its entries.

        Names that begin with the byte 0xff appear a second time in the directory above theirs: the
        reference skips over the entries of a directory up to that byte, and keys must be equal.
        """
        pending = [(b"\0" + os.fsencode(name), child) for name, child in reversed(below)]
        while pending:
            name, child = pending.pop()
            yield name, child
            if child.is_dir and child.children:
                odd = sorted((os.fsencode(n), c) for n, c in child.children.items() if n[:1] == "\udcff")
                pending.extend((name + b"\0" + inner, c) for inner, c in reversed(odd))

    def _own_of_entries(self, path: str, below: list[tuple[str, Node]]) -> None:
        missing = [(name, child) for name, child in below if not child.own and not child.is_dir]
        if not missing:
            return
        fd = self._root.open_dir(path)
        try:
            for name, child in missing:
                self._compute(fd, name, f"{path.rstrip('/')}/{name}", child)
        finally:
            os.close(fd)

    def _compute(self, fd: int, name: str, path: str, node: Node) -> None:
        check(self._cancelled)
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            link = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
            node.own, node.seen = entry_digest(fd, name, status, link, self._cancelled)
        except OSError as error:
            raise failed("open", path, error, wrap=f"failed to create hash for {path}") from error
        self.changed = True
