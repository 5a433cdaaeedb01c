"""A socket for one step that leads to the user's SSH agent, or to a short-lived one with the named keys.

Unless the user asked for raw forwarding, only two requests pass: listing the keys and signing. A step can
use a key while it runs and can neither read, add nor remove one.
Source: draft-ietf-sshm-ssh-agent (messages: 4-byte length, 1-byte type).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from dockc.base import children
from dockc.base.children import Child, ChildLost
from dockc.base.sockets import Address
from dockc.errors import DockcError
from dockc.runtime.session.secrets import SshSource, read_key

REQUEST_IDENTITIES, SIGN_REQUEST = 11, 13
FAILURE = b"\0\0\0\1\5"
MAX_MESSAGE = 256 * 1024
_TIMEOUT = 30.0
_CONNECTIONS = 64
"""Of one step to its agent at once."""


@contextlib.contextmanager
def forward(source: SshSource, directory: Path, *, uid: int, gid: int, mode: int) -> Iterator[Path]:
    """Serve a socket in `directory` until the context ends.

    Args:
        source: where it leads.
        directory: a directory of this run.
        uid: owner of the socket.
        gid: its group.
        mode: its permissions.

    Raises:
        DockcError: no agent could be started for the keys, or the socket cannot be made.
    """
    with contextlib.ExitStack() as stack:
        agent = source.socket or stack.enter_context(_own_agent(source))
        path = directory / f"ssh-{len(os.listdir(directory))}.sock"  # noqa: PTH208
        listener = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)))
        try:
            with Address(path) as place:
                listener.bind(place)
            os.chown(path, uid, gid)
            path.chmod(mode & 0o777)
        except OSError as exc:
            raise DockcError(f"cannot make the ssh agent socket: {exc.strerror or exc}") from exc
        listener.listen(8)
        server = _Server(listener, agent, source.raw)
        server.start()
        try:
            yield path
        finally:
            server.stop()


class _Server:
    """Takes a step's connections, so many at once, and ends them all with the step, whatever the agent does.

    Mutable, under `_lock`: both ends of the connections that are open; whether the step has ended.
    """

    def __init__(self, listener: socket.socket, agent: Path, raw: bool) -> None:
        self._listener, self._agent, self._raw = listener, agent, raw
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._places = threading.Semaphore(_CONNECTIONS)
        self._ended = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._ended = True
            self._shut(self._listener, *self._open)
        self._places.release()
        self._thread.join(_TIMEOUT)

    @staticmethod
    def _shut(*sockets: socket.socket) -> None:
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            self._places.acquire()  # who comes when all are taken waits
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed: the step has ended
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as upstream:
            try:
                self._carry(client, upstream)
            except OSError:
                return  # one connection failed; the step sees it closed
            finally:
                with self._lock:
                    self._open -= {client, upstream}
                self._places.release()

    def _carry(self, client: socket.socket, upstream: socket.socket) -> None:
        upstream.settimeout(_TIMEOUT)
        with Address(self._agent) as place:
            upstream.connect(place)
        with self._lock:
            if self._ended:
                return
            self._open |= {client, upstream}
        if not self._raw:
            _filter(client, upstream)
            return
        upstream.settimeout(None)
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _filter(client: socket.socket, upstream: socket.socket) -> None:
    while (message := _read_message(client)) is not None:
        if message[4] not in (REQUEST_IDENTITIES, SIGN_REQUEST):
            client.sendall(FAILURE)
            continue
        upstream.sendall(message)
        answer = _read_message(upstream)
        if answer is None:
            return
        client.sendall(answer)


def _read_message(sock: socket.socket) -> bytes | None:
    """One message with its length, or None at the end of the stream or on nonsense."""
    head = _read_exactly(sock, 4)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if not 1 <= size <= MAX_MESSAGE:
        return None
    body = _read_exactly(sock, size)
    return None if body is None else head + body


def _read_exactly(sock: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            return None
        data += more
    return bytes(data)


@contextlib.contextmanager
def _own_agent(source: SshSource) -> Iterator[Path]:
    """An ssh-agent that holds just these keys and ends with the context."""
    for tool in ("ssh-agent", "ssh-add"):
        if shutil.which(tool) is None:
            raise DockcError(
                f"{tool} is not installed",
                hint="Forwarding key files needs OpenSSH; or forward a running agent: --ssh default",
            )
    with tempfile.TemporaryDirectory(prefix="dockc-ssh-") as directory:
        path = Path(directory, "agent")
        agent = Child(["ssh-agent", "-D", "-a", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            _wait_for(path, agent)
            for key in source.keys:
                _add_key(key, source.piped.get(key), path)
            yield path
        finally:
            agent.terminate()
            with contextlib.suppress(ChildLost):
                agent.wait()


def _wait_for(path: Path, agent: Child) -> None:
    for _ in range(200):
        if path.exists():
            return
        with contextlib.suppress(subprocess.TimeoutExpired, ChildLost):
            agent.wait(0.02)
            break
    raise DockcError("ssh-agent did not start")


def _add_key(key: Path, data: bytes | None, agent: Path) -> None:
    # The key goes in on standard input: ssh-add refuses files that others may read, and such files are common.
    try:
        data = read_key(key) if data is None else data
    except OSError as exc:
        raise DockcError(f"failed to open {key}: {exc.strerror}") from exc
    done = children.run(
        ["ssh-add", "-q", "-"],
        data=data,
        env={"SSH_AUTH_SOCK": str(agent), "PATH": os.environ.get("PATH", os.defpath), "SSH_ASKPASS_REQUIRE": "never"},
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"ssh-add ended with {done.returncode}"
        raise DockcError(f"failed to parse {key}: {reason}")
