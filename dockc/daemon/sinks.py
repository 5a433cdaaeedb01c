"""Outputs that go to a client: archives, trees of files, blobs of a layout."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.daemon.layouts import write_blobs
from dockc.daemon.outflow import PIECE, Outflow
from dockc.daemon.sessions import Caller
from dockc.errors import DockcError, StoreError
from dockc.protocol.errors import RemoteError
from dockc.protocol.names import CONTENT, EXPORTER_FACT, EXPORTER_ID, EXPORTER_PLATFORMS, FILE_SEND
from dockc.protocol.sending import Sender
from dockc.rpc.calls import Call
from dockc.rpc.status import ALREADY_EXISTS
from dockc.runtime.fsutil.walk import Entry, Filter, walk

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.session.sinks import Tree


class Sinks:
    """`runtime.session.sinks.Sinks`: outputs to the client, by their numbers."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _call(self, output: int, metadata: Mapping[str, str], *more: tuple[str, str]) -> Call:
        if not self._caller.serves(FILE_SEND):
            raise StoreError(f"method {FILE_SEND} not supported by the client")
        told = [
            (EXPORTER_FACT + key, value) for key, value in metadata.items() if value.isascii() and value.isprintable()
        ]
        return self._caller.channel.call(FILE_SEND, [(EXPORTER_ID, str(output)), *told, *more])

    @contextmanager
    def archive(self, output: int, metadata: Mapping[str, str]) -> Iterator[BinaryIO]:
        """See `Sinks.archive` of `runtime.session.sinks`, as the others here."""

        async def begin() -> Call:
            return self._call(output, metadata)

        stream = Outflow(self._caller, self._caller.wait(begin()))
        buffered = io.BufferedWriter(stream, PIECE)
        try:
            yield buffered
            buffered.flush()
            stream.finish()
        except BaseException as exc:
            stream.break_off()
            # A client that has the file already says so, and that is well.
            if not (isinstance(exc, RemoteError) and exc.remote.code == ALREADY_EXISTS):
                raise
        finally:
            with suppress(ValueError, OSError, DockcError):
                buffered.close()

    def directory(self, output: int, trees: Sequence[Tree], *, delete: bool, cancelled: threading.Event | None) -> None:
        """Send trees of files; the client takes away what it has beside them where it wants that."""
        self._caller.wait(self._send(output, trees), cancelled)

    def blobs(
        self, output: int, digests: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        """Send blobs into the client's layout."""
        if not self._caller.serves(CONTENT + "Write"):
            raise StoreError("the client takes no image layouts")
        write_blobs(self._caller, "export", digests, content, cancelled)

    async def _send(self, output: int, trees: Sequence[Tree]) -> None:
        call = self._call(output, {}, (EXPORTER_PLATFORMS, "1"))
        places = _Places(trees)
        epoch = next((tree.epoch for tree in trees if tree.epoch is not None), None)
        sender = Sender(
            call,
            trees[0].root if trees else Path("/nonexistent"),
            places.entries,
            root_owned=False,
            xattrs=True,
            where=places.where,
            time=epoch * 10**9 if epoch is not None else None,
        )
        try:
            await sender.run()
            call.end()
            await call.drained()
        finally:
            call.cancel()


class _Places:
    """Several trees as one: those with a folder of their own below it, the others on top of each other."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._trees = trees
        self._owner: dict[str, Path] = {}

    def where(self, path: str) -> Path:
        """The file of an entry."""
        return self._owner[path]

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of the protocol.

        Raises:
            DockcError: two trees have the same file and no folders of their own.
        """
        from heapq import merge

        last, last_dir = "", False
        for entry in merge(
            *(self._tree(tree) for tree in self._trees),
            key=lambda one: [os.fsencode(part) for part in one.path.split("/")],
        ):
            is_dir = stat.S_ISDIR(entry.status.st_mode)
            if entry.path == last:
                if is_dir and last_dir:
                    continue
                names = " with ".join(
                    tree.name
                    for tree in self._trees
                    if (tree.root / entry.path).is_symlink() or (tree.root / entry.path).exists()
                )
                raise DockcError(f"cannot overwrite {entry.path} from {names} when split option is disabled")
            last, last_dir = entry.path, is_dir
            yield entry

    def _tree(self, tree: Tree) -> Iterator[Entry]:
        prefix = f"{tree.folder}/" if tree.folder else ""
        if tree.folder:
            self._owner[tree.folder] = tree.root
            yield Entry(tree.folder, tree.root.lstat())
        for entry in walk(tree.root, Filter()):
            path = prefix + entry.path
            self._owner.setdefault(path, tree.root / entry.path)
            yield Entry(path, entry.status, entry.link, prefix + entry.same_as if entry.same_as else "")
