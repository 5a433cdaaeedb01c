"""Directories that a client lends: its build contexts and Dockerfiles, received over its session."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.aside import aside
from dockc.base.files import read_inside
from dockc.daemon.mirrors import Mirrors
from dockc.daemon.sessions import Caller
from dockc.errors import DockcError
from dockc.protocol.errors import RemoteError
from dockc.protocol.metadata import encoded
from dockc.protocol.names import DIRECTORY, EXCLUDE, FILE_SYNC, FOLLOW, INCLUDE
from dockc.protocol.receiving import Choose, outlined, receive
from dockc.protocol.trees import TreeWriter
from dockc.rpc.status import NOT_FOUND
from dockc.runtime.fsutil.walk import Filter

if TYPE_CHECKING:
    from dockc.runtime.fsutil.arriving import Taker
    from dockc.runtime.fsutil.outline import Outline
    from dockc.runtime.session.files import Report


class ClientDirectory:
    """A directory of a client (`runtime.session.files.Directory`)."""

    shown = ""

    def __init__(self, caller: Caller, mirrors: Mirrors, name: str) -> None:
        self._caller, self._mirrors, self._name = caller, mirrors, name
        self._files: dict[str, bytes | None] = {}
        self._guard = threading.Lock()

    @property
    def lasting(self) -> bool:
        """Whether the client has a key for its files, or is known; another is a stranger each time."""
        return bool(self._caller.shared_key or self._caller.peer)

    @property
    def key(self) -> str:
        """The client's own key for its files, or who it is: the same in its next build."""
        caller = self._caller
        if caller.shared_key:
            return _key("key", caller.shared_key, self._name)
        return _key("peer", caller.peer, self._name) if caller.peer else _key("session", caller.id, self._name)

    def read(self, path: str) -> bytes:
        """See `Directory.read`."""
        found = self._file(path)
        if found is None:
            raise DockcError(f"failed to read dockerfile: open {path}: no such file or directory")
        return found

    def find(self, path: str) -> bytes | None:
        """See `Directory.find`."""
        return self._file(path)

    def _file(self, path: str) -> bytes | None:
        """A small file. What is asked for next is fetched along with it."""
        with self._guard:
            if path not in self._files:
                wanted = tuple(dict.fromkeys((path, f"{path}.dockerignore", "dockerfile", ".dockerignore")))
                try:
                    with self._opened(Filter(follow=wanted), f"files:{path}", None, None) as folder:
                        for one in wanted:
                            self._files.setdefault(one, read_inside(folder, one))
                except RemoteError as exc:
                    if exc.remote.code != NOT_FOUND:
                        raise
                    self._files[path] = None  # the client lends no such directory
            return self._files[path]

    @contextmanager
    def open(
        self,
        wanted: Filter,
        *,
        compare: bool = True,
        outline: Outline | None = None,
        cancelled: threading.Event | None = None,
        report: Report | None = None,
    ) -> Iterator[Path | _Sending]:
        """See `Directory.open`. Builds of one directory take turns: the next one finds what this one has brought."""
        # Who does not say which directory it is gets what was left last, whatever that was of: what is the same by
        # name, size, mode and time is not sent again. Nobody waits there for another build that is at it.
        question = repr((wanted.include, wanted.exclude, wanted.follow))
        if outline is not None:
            question += repr(outline.patterns)
            if self._caller.peer and not self._caller.shared_key:
                with self._mirrors.unless_busy(f"{self.key}:{question}", self._name) as copy:
                    if copy is not None:
                        self._caller.wait(self._sync(copy, wanted, report, compare, outline), cancelled)
                        yield copy
                        return
            with self._opened(wanted, question, cancelled, report, compare=compare, outline=outline) as path:
                yield path
            return
        patient = bool(self._caller.shared_key or not self._caller.peer)
        with self._mirrors.turn(f"{self.key}:{question}", cancelled, patient=patient):
            yield _Sending(
                self._caller,
                lambda target: self._receive(lambda items: (target.choose(items), target), wanted, report),
                cancelled,
            )

    @contextmanager
    def _opened(
        self,
        wanted: Filter,
        question: str,
        cancelled: threading.Event | None,
        report: Report | None,
        *,
        compare: bool = True,
        outline: Outline | None = None,
    ) -> Iterator[Path]:
        caller = self._caller
        owner = ("key", caller.shared_key) if caller.shared_key else ("session", caller.id)
        key = _key(*owner, self._name, question)
        with self._mirrors.locked(key, "" if caller.shared_key else caller.id, self._name) as path:
            caller.wait(self._sync(path, wanted, report, compare, outline), cancelled)
            yield path

    async def _sync(
        self, path: Path, wanted: Filter, report: Report | None, compare: bool, outline: Outline | None
    ) -> None:
        writer = TreeWriter(path, delete=True, compare=compare)
        try:
            choose = outlined(outline, writer.choose) if outline is not None else writer.choose
            size = await self._receive(choose, wanted, report)
            await aside(writer.finish)
            if report is not None:
                report(size, True)
        finally:
            await aside(writer.close)

    async def _receive(self, choose: Choose, wanted: Filter, report: Report | None) -> int:
        """Let the client send what is wanted; bytes that came."""
        metadata = [(DIRECTORY, self._name)]
        for name, values in (
            (INCLUDE, wanted.include),
            (EXCLUDE, wanted.exclude),
            (FOLLOW, wanted.follow or ()),
        ):
            metadata += encoded(name, values)
        call = self._caller.channel.call(FILE_SYNC, metadata)
        try:
            size = await receive(call, choose, report=report)
            call.end()
            await call.drained()
        finally:
            call.cancel()
        return size


class _Sending:
    """A client that sends what is wanted of a directory (`runtime.session.files.Sender`)."""

    def __init__(
        self, caller: Caller, work: Callable[[Taker], Coroutine[Any, Any, int]], cancelled: threading.Event | None
    ) -> None:
        self._caller, self._work, self._cancelled = caller, work, cancelled

    def send(self, target: Taker) -> int:
        """See `Sender.send`."""
        return self._caller.wait(self._work(target), self._cancelled)


def _key(*parts: str) -> str:
    """One text of several, of which a client chooses some: no other ones give the same, nor does any path."""
    return "client " + json.dumps(parts)
