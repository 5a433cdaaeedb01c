"""What clients lend: sessions by id, and what the engine sees of one.

The engine's threads ask in blocking calls; each is carried to the event loop, through the client's tunnel and back.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from dockc.base.files import read_inside
from dockc.base.record import Record, replace
from dockc.errors import DockcError, StoreError
from dockc.protocol.errors import RemoteError, from_rpc
from dockc.protocol.receiving import outlined, receive
from dockc.protocol.sending import Sender
from dockc.protocol.trees import TreeWriter
from dockc.rpc.calls import Call, Channel, parsed
from dockc.rpc.pb import content_pb2, session_pb2
from dockc.rpc.status import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, RpcError
from dockc.rpc.transports import Tunnel, packed, payload
from dockc.runtime.fsutil.walk import Entry, Filter, walk
from dockc.runtime.refs.plan import Item
from dockc.runtime.refs.types import RecordType, UsageRecord
from dockc.runtime.refs.usage import disk_usage
from dockc.runtime.session.base import Session
from dockc.runtime.session.secrets import SshSource
from dockc.runtime.several import TRANSFERS, several

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.fsutil.outline import Outline
    from dockc.runtime.session.auth import CredentialStore
    from dockc.runtime.session.files import Report
    from dockc.runtime.session.sinks import Tree

    M = TypeVar("M", bound=Message)

T = TypeVar("T")

HEALTH = "/grpc.health.v1.Health/Check"
FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
SECRETS = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
SSH_CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
SSH_FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
UPLOAD = "/moby.upload.v1.Upload/Pull"
CONTENT = "/containerd.services.content.v1.Content/"

_WAIT = 5.0
"""Seconds that a build waits for its session."""
_BLOCK = 1 << 20
_PULSE, _PATIENCE, _FAILURES = 5.0, 15.0, 2
_ID = 25  # characters of a record's id
_KEEP_CONTEXTS = 2 * 24 * 3600
"""Seconds after which a client's directory that nobody has built from is forgotten here."""


class SessionGone(DockcError):
    """A client that a build needs has gone."""


class Caller:
    """One client's session.

    Attributes:
        id, shared_key: what the client calls itself and its files.
        peer: who it is, as the connection says; "" where it does not.
        methods: what it serves, by path.
        health: seconds between two looks at whether it lives, and for the answer; 0 for the usual, which is patient.
    """

    def __init__(
        self,
        name: str,
        shared_key: str,
        methods: Sequence[str],
        channel: Channel,
        *,
        health: float = 0.0,
        peer: str = "",
    ) -> None:
        self.health, self.peer = health, peer
        self.id, self.shared_key, self.methods = name, shared_key, frozenset(methods)
        self.channel = channel
        self._loop = asyncio.get_running_loop()

    def serves(self, path: str) -> bool:
        """Whether the client said that it serves a method; Go's clients write the method's first letter small, too."""
        service, _, method = path.rpartition("/")
        return (
            path in self.methods
            or f"{service}/{method[:1].lower()}{method[1:]}" in self.methods
            or f"{service}/{method.lower()}" in self.methods
        )

    async def unary(self, path: str, request: Message, answer: type[M], metadata: Sequence[tuple[str, str]] = ()) -> M:
        """Ask the client.

        Raises:
            RpcError: it says no, or has gone.
        """
        return parsed(await self.channel.unary(path, request.SerializeToString(), metadata), answer)

    def wait(self, work: Coroutine[Any, Any, T], cancelled: threading.Event | None = None) -> T:
        """Run something on the loop for a thread that waits.

        Raises:
            DockcError: what it raises; words of the client keep their details.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(0.2 if cancelled is not None else None)
            except TimeoutError:
                if future.done():
                    raise
                if cancelled is not None and cancelled.is_set():
                    future.cancel()
                    from dockc.runtime.cancel import Cancelled

                    raise Cancelled("cancelled") from None
            except RpcError as exc:
                if exc.code == UNAVAILABLE:
                    raise SessionGone(f"the client's session {self.id} has gone: {exc.message}") from None
                raise from_rpc(exc) from None
            except asyncio.CancelledError:
                raise SessionGone(f"the client's session {self.id} has gone") from None


class Sessions:
    """All sessions.

    Args:
        contexts: directory for what clients' directories hold.
    """

    def __init__(self, contexts: Path) -> None:
        self._callers: dict[str, Caller] = {}
        self._waiting: dict[str, list[asyncio.Future[Caller]]] = {}
        self.mirrors = Mirrors(contexts)

    def __len__(self) -> int:
        return len(self._callers)

    async def serve(self, call: Call) -> None:
        """`Control.Session`: hold a client's session until it ends.

        Raises:
            RpcError: it has no name, or one that is taken.
        """
        name = call.get("x-docker-expose-session-uuid")
        if not name:
            raise RpcError("session without an id", code=INVALID_ARGUMENT)
        if name in self._callers:
            raise RpcError(f"session {name} is already open", code=INVALID_ARGUMENT)
        call.start()
        tunnel = Tunnel(call)
        caller = Caller(
            name,
            call.get("x-docker-expose-session-sharedkey"),
            call.get_all("x-docker-expose-session-grpc-method"),
            tunnel.channel,
            health=_health(call.get("x-buildkit-session-health-custom-timeout")),
            peer=call.channel.peer,
        )
        self._callers[name] = caller
        for waiter in self._waiting.pop(name, ()):
            if not waiter.done():
                waiter.set_result(caller)
        pulse = asyncio.create_task(_pulse(caller))
        try:
            await asyncio.wait(
                {asyncio.ensure_future(asyncio.shield(tunnel.done)), pulse}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            pulse.cancel()
            self._callers.pop(name, None)
            tunnel.channel.lost(RpcError("the session has ended", code=UNAVAILABLE))
            if not caller.shared_key:  # nobody can ask for these copies again
                await asyncio.shield(asyncio.to_thread(self.mirrors.drop, caller.id))

    async def find(self, name: str) -> Caller:
        """A session by its id, which may still be on its way.

        Raises:
            RpcError: it does not come.
        """
        name = name.rpartition(":")[2]
        found = self._callers.get(name)
        if found is not None:
            return found
        waiter: asyncio.Future[Caller] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(waiter)
        try:
            return await asyncio.wait_for(waiter, _WAIT)
        except TimeoutError:
            raise RpcError(f"no active session for {name}: context deadline exceeded", code=NOT_FOUND) from None
        finally:
            waiters = self._waiting.get(name, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(name, None)


def _health(text: str) -> float:
    """Seconds out of a client's wish in milliseconds; no less than one."""
    return max(int(text) / 1000, 1.0) if text.isascii() and text.isdigit() and len(text) < 9 and int(text) else 0.0


async def _pulse(caller: Caller) -> None:
    """Ask whether the client lives, as long as it serves that."""
    pulse, patience, failures = (caller.health, caller.health, 1) if caller.health else (_PULSE, _PATIENCE, _FAILURES)
    missed = 0
    while missed < failures:
        await asyncio.sleep(pulse)
        try:
            async with asyncio.timeout(patience):
                await caller.channel.unary(HEALTH, b"")
            missed = 0
        except (RpcError, TimeoutError) as exc:
            if isinstance(exc, RpcError) and exc.code != UNAVAILABLE:
                missed = 0
                continue
            missed += 1


def lent(
    caller: Caller,
    mirrors: Mirrors,
    credentials: CredentialStore,
    folder: Path,
    find: Callable[[str], Coroutine[Any, Any, Caller]],
) -> tuple[Session, Callable[[], None]]:
    """What a build sees of a client's session, and what is to be called on the loop when the build is over.

    Args:
        caller: the client.
        mirrors: for its directories.
        credentials: the client's, of registries.
        folder: for files of this build; removed after it.
        find: other sessions, whose directories a build may name.
    """

    def others(name: str) -> Mapping[str, ClientDirectory] | None:
        return None if name == caller.id else _Directories(caller.wait(find(name)), mirrors)

    agents = _Agents(caller, folder) if caller.serves(SSH_FORWARD) else None
    session = Session(
        id=caller.id,
        directories=_Directories(caller, mirrors) if caller.serves(FILE_SYNC) else {},
        others=others,
        stores=_Stores(caller, folder) if caller.serves(CONTENT + "Read") else {},
        secrets=_Secrets(caller) if caller.serves(SECRETS) else None,
        ssh=agents,
        credentials=credentials,
        uploads=_Uploads(caller, folder) if caller.serves(UPLOAD) else {},
        sinks=_Sinks(caller),
        caches=_Caches(caller, folder),
    )
    return session, agents.close if agents is not None else _nothing


def _nothing() -> None:
    """There is nothing to close."""


# --- directories ----------------------------------------------------------------------------------------


class _About(Record):
    """What a copy is of, when it was made and last used (nanoseconds since the epoch, 0 where nobody knows), how often."""

    what: str = ""
    created: int = 0
    last: int = 0
    count: int = 0


class Mirrors:
    """Copies of clients' directories, kept so that the next build of one moves only what has changed.

    A copy is locked while it is brought up to date and read. Beside each lies a file that says what it is of and when it
    was used, so that it is counted and collected with the store, as a record of type `source.local` (`plan.Guests`).

    Mutable: locks and sizes by the name of a copy, and names by the session that they go with.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: dict[str, threading.Lock] = {}
        self._owned: dict[str, set[str]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._guard = threading.Lock()

    @contextmanager
    def locked(self, key: str, owner: str = "", what: str = "") -> Iterator[Path]:
        """The copy for a key, alone.

        Args:
            key: the same for the same files of the same client.
            owner: the session that it goes with; "" keeps it longer.
            what: what the client calls the directory.
        """
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
            if owner:
                self._owned.setdefault(owner, set()).add(name)
        with lock:
            yield self._made(name, what)

    @contextmanager
    def unless_busy(self, key: str, what: str = "") -> Iterator[Path | None]:
        """The copy for a key, alone, kept for later; None where somebody has it."""
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(blocking=False):
            yield None
            return
        try:
            yield self._made(name, what)
        finally:
            lock.release()

    def _made(self, name: str, what: str) -> Path:
        path = self._root / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(OSError):
            os.utime(path)
        self._note(name, what)
        return path

    def _note(self, name: str, what: str) -> None:
        """Write down that a copy is used."""
        moment, before = time.time_ns(), self._about(name)
        after = {"what": what, "created": before.created or moment, "last": moment, "count": before.count + 1}
        with suppress(OSError):  # a full disk: it is counted as it was
            made = self._root / f"{name}.new"
            made.write_text(json.dumps(after))
            made.replace(self._root / f"{name}.json")

    def _about(self, name: str) -> _About:
        """What is known of a copy."""
        try:
            found = json.loads((self._root / f"{name}.json").read_bytes())
            return _About(str(found["what"]), int(found["created"]), int(found["last"]), int(found["count"]))
        except (OSError, ValueError, KeyError, TypeError):
            return _About()

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._root) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def items(self) -> Mapping[str, Item]:
        """See `plan.Guests`; what was measured since a copy was last used is not measured again."""
        found: list[Item] = []
        for name in self._names():
            about, lock = self._about(name), self._locks.get(name)
            busy = lock is not None and lock.locked()
            count, size = self._sizes.get(name, (-1, 0))
            if count != about.count:
                size = disk_usage(self._root / name)
                if not busy:
                    self._sizes[name] = about.count, size
            if not about.created:
                with suppress(OSError):
                    changed = (self._root / name).stat().st_mtime_ns
                    about = replace(about, created=changed, last=changed)
            usage = UsageRecord(
                id=name[:_ID],
                record_type=RecordType.LOCAL_SOURCE,
                description=f"local source for {about.what}" if about.what else "local source",
                size=size,
                created_at=about.created,
                last_used_at=about.last,
                usage_count=about.count,
                in_use=busy,
                mutable=True,
                shared=False,
                lazy=False,
                held_by=("a build that reads it",) if busy else (),
            )
            found.append(Item(usage, size))
        return {item.usage.id: item for item in sorted(found, key=lambda item: (item.usage.created_at, item.usage.id))}

    def remove(self, name: str) -> int:
        """See `plan.Guests`."""
        whole = next((one for one in self._names() if one.startswith(name)), "")
        return self._remove(whole) if whole else -1

    def _remove(self, name: str, *, wait: bool = False, unless: Callable[[Path], bool] = lambda path: False) -> int:
        """Remove a copy that nobody reads (with `wait`, once nobody does), unless something holds."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(blocking=wait):
            return -1
        try:
            path = self._root / name
            if unless(path):
                return -1
            size = disk_usage(path)
            shutil.rmtree(path, ignore_errors=True)
            (self._root / f"{name}.json").unlink(missing_ok=True)
            self._sizes.pop(name, None)
            return size
        except OSError:
            return -1
        finally:
            lock.release()

    def drop(self, owner: str) -> None:
        """Remove the copies that go with a session, once nobody reads them any more."""
        with self._guard:
            names = self._owned.pop(owner, set())
        for name in names:
            self._remove(name, wait=True)
        with self._guard:
            for name in names:
                self._locks.pop(name, None)

    def forget(self, *, older: float = _KEEP_CONTEXTS) -> None:
        """Remove copies that nobody has used for a while (seconds)."""
        for name in self._names():
            self._remove(name, unless=lambda path: time.time() - path.stat().st_mtime < older)


class _Directories(Mapping[str, "ClientDirectory"]):
    """Directories of a client by name. It alone knows which there are: any name may be asked for."""

    def __init__(self, caller: Caller, mirrors: Mirrors) -> None:
        self._caller, self._mirrors = caller, mirrors
        self._known: dict[str, ClientDirectory] = {}

    def __getitem__(self, name: str) -> ClientDirectory:
        return self._known.setdefault(name, ClientDirectory(self._caller, self._mirrors, name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


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
        return f"{caller.shared_key or (f'peer {caller.peer}' if caller.peer else caller.id)}:{self._name}"

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
    ) -> Iterator[Path]:
        """See `Directory.open`."""
        question = repr((wanted.include, wanted.exclude, wanted.follow))
        if outline is not None:
            question += repr(outline.patterns)
        caller = self._caller
        if caller.peer and not caller.shared_key:
            # Who does not say which directory it is gets the copy that it left last, whatever that was of: what is the
            # same by name, size, mode and time is not sent again. Nobody waits for another build that is at it.
            with self._mirrors.unless_busy(f"{self.key}:{question}", self._name) as copy:
                if copy is not None:
                    caller.wait(self._sync(copy, wanted, report, compare, outline), cancelled)
                    yield copy
                    return
        with self._opened(wanted, question, cancelled, report, compare=compare, outline=outline) as path:
            yield path

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
        key = f"{caller.shared_key or caller.id}:{self._name}:{question}"
        with self._mirrors.locked(key, "" if caller.shared_key else caller.id, self._name) as path:
            caller.wait(self._sync(path, wanted, report, compare, outline), cancelled)
            yield path

    async def _sync(
        self, path: Path, wanted: Filter, report: Report | None, compare: bool, outline: Outline | None
    ) -> None:
        metadata = [("dir-name", self._name)]
        for name, values in (
            ("include-patterns", wanted.include),
            ("exclude-patterns", wanted.exclude),
            ("followpaths", wanted.follow or ()),
        ):
            metadata += _encoded(name, values)
        call = self._caller.channel.call(FILE_SYNC, metadata)
        writer = TreeWriter(path, delete=True, compare=compare)
        try:
            choose = outlined(outline, writer.choose) if outline is not None else writer.choose
            size = await receive(call, choose, report=report)
            call.end()
            await call.drained()
            await asyncio.to_thread(writer.finish)
            if report is not None:
                report(size, True)
        finally:
            call.cancel()
            await asyncio.to_thread(writer.close)


def _encoded(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Metadata of a list; percent-encoded where a value is no plain text."""
    if all(value.isascii() and value.isprintable() for value in values):
        return [(name, value) for value in values]
    from urllib.parse import quote

    return [(f"{name}-encoded", "1"), *((name, quote(value, errors="surrogateescape")) for value in values)]


# --- secrets, agents, uploads --------------------------------------------------------------


class _Secrets:
    """`runtime.session.secrets.SecretStore`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, secret_id: str) -> bytes | None:
        request = session_pb2.GetSecretRequest(ID=secret_id)

        async def ask() -> bytes | None:
            try:
                return (await self._caller.unary(SECRETS, request, session_pb2.GetSecretResponse)).data
            except RpcError as exc:
                if exc.code == NOT_FOUND:
                    return None
                raise

        return self._caller.wait(ask())


class _Agents:
    """`runtime.session.secrets.SshAgents`: a socket here for each agent of the client."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder
        self._sources: dict[str, SshSource | None] = {}
        self._servers: list[asyncio.Server] = []
        self._guard = threading.Lock()

    def close(self) -> None:
        """Take no more connections."""
        for server in self._servers:
            server.close()

    def __bool__(self) -> bool:
        return True

    def find(self, ssh_id: str) -> SshSource | None:
        with self._guard:
            if ssh_id not in self._sources:
                self._sources[ssh_id] = self._caller.wait(self._open(ssh_id))
            return self._sources[ssh_id]

    async def _open(self, ssh_id: str) -> SshSource | None:
        try:
            await self._caller.unary(
                SSH_CHECK, session_pb2.CheckAgentRequest(ID=ssh_id), session_pb2.CheckAgentResponse
            )
        except RpcError:
            return None  # the client has no such agent
        path = self._folder / f"ssh-{len(self._sources)}.sock"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        path.chmod(0o600)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _relay(self._caller, ssh_id, reader, writer)

        self._servers.append(await asyncio.start_unix_server(connected, sock=sock))
        return SshSource(path, (), raw=True)  # the client lets through what it wants


async def _relay(caller: Caller, ssh_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    call = caller.channel.call(SSH_FORWARD, [("buildkit.ssh.id", ssh_id)])

    async def back() -> None:
        while (messages := await call.receive_all()) is not None:
            for message in messages:
                writer.write(payload(message))
            await writer.drain()

    answering = asyncio.create_task(back())
    try:
        while data := await reader.read(65536):
            await call.send(packed(data))
        call.end()
        await answering
    except (OSError, RpcError):
        pass
    finally:
        answering.cancel()
        call.cancel()
        writer.close()


class _Uploads(Mapping[str, Path]):
    """Files that a client sends when their address is asked for."""

    PREFIX = "http://buildkit-session/"

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder
        self._files: dict[str, Path] = {}
        self._guard = threading.Lock()

    def __contains__(self, url: object) -> bool:
        return isinstance(url, str) and url.startswith(self.PREFIX)

    def __getitem__(self, url: str) -> Path:
        if url not in self:
            raise KeyError(url)
        with self._guard:
            if url not in self._files:
                handle, name = tempfile.mkstemp(dir=self._folder)
                with os.fdopen(handle, "wb") as file:
                    self._caller.wait(self._pull(url, file))
                self._files[url] = Path(name)
            return self._files[url]

    async def _pull(self, url: str, file: BinaryIO) -> None:
        metadata = [("urlhost", "buildkit-session"), ("urlpath", "/" + url.removeprefix(self.PREFIX))]
        call = self._caller.channel.call(UPLOAD, metadata)
        try:
            while (messages := await call.receive_all()) is not None:
                await asyncio.to_thread(file.write, b"".join(map(payload, messages)))
        finally:
            call.cancel()

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class _Stores(Mapping[str, "ClientLayout"]):
    """OCI layouts of a client, which alone knows which there are."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder
        self._known: dict[str, ClientLayout] = {}

    def __getitem__(self, name: str) -> ClientLayout:
        return self._known.setdefault(name, ClientLayout(self._caller, f"oci:{name}", self._folder))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Caches:
    """Directories of caches at a client (`runtime.session.base.LentCaches`)."""

    def __init__(self, caller: Caller, folder: Path) -> None:
        self._caller, self._folder = caller, folder

    def layout(self, name: str) -> ClientLayout:
        return ClientLayout(self._caller, f"local:{name}", self._folder)

    def write(
        self, name: str, blobs: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        if not self._caller.serves(CONTENT + "Write"):
            raise StoreError("the client takes no caches")
        _write_all(self._caller, f"local:{name}", blobs, content, cancelled)


class ClientLayout:
    """A store of blobs at a client, as an OCI layout without an index: images are asked for by digest."""

    _FIXED: ClassVar[Mapping[str, bytes]] = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[]}',
    }

    def __init__(self, caller: Caller, store: str, folder: Path) -> None:
        self._caller, self._store, self._folder = caller, store, folder

    @property
    def path(self) -> Path:
        """A name that tells it from those of other clients."""
        return Path(f"/client/{self._caller.id}/{self._store}")

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """See `LentLayout.open`."""
        if name in self._FIXED:
            return io.BytesIO(self._FIXED[name]), len(self._FIXED[name])
        folder, _, rest = name.partition("/")
        algorithm, _, value = rest.partition("/")
        if folder != "blobs":
            raise FileNotFoundError(name)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  the caller closes it
        try:
            size = self._caller.wait(self._read(f"{algorithm}:{value}", file))
        except RemoteError as exc:
            file.close()
            if exc.remote.code == NOT_FOUND:
                raise FileNotFoundError(name) from None
            raise
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file, size

    async def _read(self, digest: str, file: BinaryIO) -> int:
        metadata = [("buildkit-attachable-store-id", self._store)]
        info = await self._caller.unary(
            CONTENT + "Info", content_pb2.InfoRequest(digest=digest), content_pb2.InfoResponse, metadata
        )
        call = self._caller.channel.call(CONTENT + "Read", metadata)
        size = 0
        try:
            await call.send(content_pb2.ReadContentRequest(digest=digest, size=info.info.size).SerializeToString())
            call.end()
            while (data := await call.receive()) is not None:
                part = parsed(data, content_pb2.ReadContentResponse).data
                size += len(part)
                if size > info.info.size:
                    raise RpcError(f"the client sends more of {digest} than it said", code=INVALID_ARGUMENT)
                await asyncio.to_thread(file.write, part)
        finally:
            call.cancel()
        return size


# --- outputs --------------------------------------------------------------------------------------------


class _Sinks:
    """`runtime.session.sinks.Sinks`: outputs to the client, by their numbers."""

    _PIECE = 1 << 20

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _call(self, output: int, metadata: Mapping[str, str], *more: tuple[str, str]) -> Call:
        if not self._caller.serves(FILE_SEND):
            raise StoreError(f"method {FILE_SEND} not supported by the client")
        told = [
            (f"exporter-md-{key}", value) for key, value in metadata.items() if value.isascii() and value.isprintable()
        ]
        return self._caller.channel.call(FILE_SEND, [("buildkit-attachable-exporter-id", str(output)), *told, *more])

    @contextmanager
    def archive(self, output: int, metadata: Mapping[str, str]) -> Iterator[BinaryIO]:
        async def begin() -> Call:
            return self._call(output, metadata)

        call = self._caller.wait(begin())
        raw = _CallWriter(self._caller, call)
        stream = io.BufferedWriter(raw, 1 << 20)
        try:
            yield stream
            stream.flush()
            self._caller.wait(_finished(call))
        except BaseException as exc:
            raw.broken = True
            self._caller.wait(_broken_off(call))
            # A client that has the file already says so, and that is well.
            if not (isinstance(exc, RemoteError) and exc.remote.code == ALREADY_EXISTS):
                raise
        finally:
            with suppress(ValueError, OSError, DockcError):
                stream.close()

    def directory(self, output: int, trees: Sequence[Tree], *, delete: bool, cancelled: threading.Event | None) -> None:
        self._caller.wait(self._send(output, trees), cancelled)

    def blobs(
        self, output: int, digests: Mapping[str, int], content: ContentStore, *, cancelled: threading.Event | None
    ) -> None:
        if not self._caller.serves(CONTENT + "Write"):
            raise StoreError("the client takes no image layouts")
        _write_all(self._caller, "export", digests, content, cancelled)

    async def _send(self, output: int, trees: Sequence[Tree]) -> None:
        call = self._call(output, {}, ("buildkit-exporter-multi-platform", "1"))
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


def _write_all(
    caller: Caller, store: str, blobs: Mapping[str, int], content: ContentStore, cancelled: threading.Event | None
) -> None:
    """Send blobs by digest, with their sizes, several at once; the first failure ends all."""

    def send(digest: str, stop: threading.Event) -> None:
        caller.wait(_write(caller, store, digest, blobs[digest], content), stop)

    several(send, blobs, TRANSFERS, cancelled=cancelled, name="send")


async def _write(caller: Caller, store: str, digest: str, size: int, content: ContentStore) -> None:
    """Send one blob, unless the client has it (containerd, `content.Writer` over the wire)."""
    call = caller.channel.call(CONTENT + "Write", [("buildkit-attachable-store-id", store)])
    try:
        start = content_pb2.WriteContentRequest(
            action=content_pb2.STAT, ref=f"dockc-{digest}", total=size, expected=digest
        )
        await call.send(start.SerializeToString())
        told = await call.receive()
        at = parsed(told, content_pb2.WriteContentResponse).offset if told is not None else 0
        with await asyncio.to_thread(content.open, digest) as file:
            file.seek(at)
            data = await asyncio.to_thread(file.read, _BLOCK)
            while data:
                part = content_pb2.WriteContentRequest(
                    action=content_pb2.WRITE, ref=f"dockc-{digest}", offset=at, data=data
                )
                at += len(data)
                await call.send(part.SerializeToString())
                # The next piece is read while the client writes this one.
                data, _ = await asyncio.gather(asyncio.to_thread(file.read, _BLOCK), call.receive())
        commit = content_pb2.WriteContentRequest(
            action=content_pb2.COMMIT, ref=f"dockc-{digest}", offset=at, total=size, expected=digest
        )
        await call.send(commit.SerializeToString())
        call.end()
        await call.drained()
    except RpcError as exc:
        if exc.code != ALREADY_EXISTS:
            raise
    finally:
        call.cancel()


async def _finished(call: Call) -> None:
    call.end()
    await call.drained()


async def _broken_off(call: Call) -> None:
    call.cancel()


class _CallWriter(io.RawIOBase):
    """A stream whose bytes go out as messages."""

    _PIECE = 1 << 20

    def __init__(self, caller: Caller, call: Call) -> None:
        self._caller, self._call = caller, call
        self.broken = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        if not self.broken:
            for at in range(0, len(view), self._PIECE):
                self._caller.wait(self._call.send(packed(view[at : at + self._PIECE])))
        return len(view)


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
