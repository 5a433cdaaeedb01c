"""The daemon as a process: one engine, its sockets, and a good end.

The process enters the builder's namespaces first, while it has one thread. SIGTERM and SIGINT drain it: no new calls,
what runs may finish within
the grace time, then it is cancelled; a second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import grp
import logging
import os
import secrets
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.version import VERSION
from dockc.daemon.builds import Builds
from dockc.daemon.config import Config, Listener
from dockc.daemon.control import Control, Facts
from dockc.daemon.lock import hold
from dockc.daemon.platforms import Runnable
from dockc.daemon.sessions import Sessions
from dockc.errors import DockcError, UsageError
from dockc.protocol.errors import to_rpc
from dockc.rpc.transports import Wire
from dockc.runtime.executor.limits import LOWER, lowered
from dockc.runtime.refs.policy import Disk

if TYPE_CHECKING:
    from dockc.rpc.calls import Channel, Handler

_log = logging.getLogger("dockc.daemon")
_BACKLOG = 1024
_LOCK = "dockcd.lock"
_HOUR = 3600.0
_ARENAS = 2
"""From which all threads take memory: they hold Python's lock at nearly all times when they ask for some."""


def serve(config: Config) -> int:
    """Run until told to end.

    Raises:
        UsageError: an address or certificate that cannot be used.
        DockcError: the store is another daemon's, or cannot be opened.
    """
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.kernel import syscalls

    syscalls.share_memory(_ARENAS)
    root = Path(config.root)
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot make {root}: {exc.strerror}") from exc
    lock = _locked(root)
    resident = _resident(config) if config.serves_builds else None  # while this process is in no namespace yet
    try:
        enter_build_namespace()
        asyncio.run(_run(config, root))
    finally:
        if resident is not None:
            _ended(resident, config.grace)
        for handle in lock:
            os.close(handle)
    return 0


def _resident(config: Config) -> subprocess.Popen[bytes]:
    """Start the resident builder for `dockc build` of this store; it ends when our end of its input is closed."""
    from dockc.daemon.start import command

    return subprocess.Popen(
        command(config.store, "--tied", f"--grace={config.grace}"),
        stdin=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )


def _ended(resident: subprocess.Popen[bytes], grace: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        resident.communicate(timeout=grace + 10)
    if resident.poll() is None:
        resident.kill()
        resident.wait()


def _locked(root: Path) -> tuple[int, ...]:
    """Be the one daemon of a root: what is to be closed in the end."""
    try:
        return hold(root / _LOCK, root.resolve())
    except BlockingIOError as exc:
        raise DockcError(f"could not lock {root}/{_LOCK}, another instance running?") from exc
    except OSError as exc:
        raise DockcError(f"could not lock {root}/{_LOCK}: {exc.strerror}") from exc


async def _run(config: Config, root: Path) -> None:
    from dockc.engine.engine import Engine, EngineOptions

    scratch = root / "running"
    await asyncio.to_thread(_emptied, scratch)
    sessions = Sessions(root / "contexts")
    options = EngineOptions(
        root=Path(config.store),
        executor=config.executor,
        snapshotter=config.snapshotter,
        parallelism=config.parallelism,
        network=config.network,
        gc=config.gc,
        tells_limits=False,  # clients can do nothing about them
    )
    low = lowered(())
    if low:
        _log.warning("%s: %s. Raise the hard limits that the daemon is started with", LOWER, low)
    async with Engine(options) as engine:
        engine.work.worker.refs.host(sessions.mirrors)
        if config.network is not None:  # what is wrong with it is said now, not by the first step
            await engine.work.blocking(lambda: engine.work.worker.executor)
        builds = Builds(Path(config.store), config.history)
        await asyncio.to_thread(builds.load)
        control = Control(engine, sessions, _facts(config, root), scratch, builds)
        channels: set[Channel] = set()
        # Whoever finds the daemon's socket may tell it to end, and finds its debug address, too.
        told = _when_told()
        debug = await _debug(config, control, channels)
        async with _listening(config, control.handlers(), control.tracing.handlers(), channels):
            gc.collect()
            gc.freeze()  # what is here now stays: later looks for garbage pass it by
            _notify("READY=1")
            for one in config.listeners:
                _log.info("running server on %s", one.text)
            keeper = asyncio.create_task(_keep(sessions))
            try:
                await told.wait()
                _end_at_once_when_told()
            finally:
                keeper.cancel()
                if debug is not None:
                    debug.close()
        _notify("STOPPING=1")
        await _drain(channels, config.grace)
        await control.tracing.close()


async def _debug(config: Config, control: Control, channels: set[Channel]) -> asyncio.Server | None:
    if not config.debug:
        return None
    from dockc.daemon import debug

    return await debug.listen(config.debug, debug.Debug(lambda: debug.numbers(control, len(channels))))


def _emptied(folder: Path) -> None:
    """What a daemon that was killed has left."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


async def _keep(sessions: Sessions) -> None:
    while True:
        await asyncio.to_thread(sessions.mirrors.forget)
        await asyncio.sleep(_HOUR)


def _when_told() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    return told


def _end_at_once_when_told() -> None:
    """The second signal does not wait."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: os._exit(1))


async def _drain(channels: set[Channel], grace: float) -> None:
    """Let running calls finish for a while, then cancel them."""
    for channel in list(channels):
        channel.drain()
    tasks = {task for channel in channels for task in channel.tasks}
    if tasks and grace:
        await asyncio.wait(tasks, timeout=grace)
    for channel in list(channels):
        channel.shut()
    tasks = {task for task in tasks if not task.done()}
    if tasks:
        await asyncio.wait(tasks, timeout=10)


# --- sockets --------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _listening(
    config: Config, handlers: dict[str, Handler], spans: dict[str, Handler], channels: set[Channel]
) -> AsyncIterator[None]:
    """The sockets: those of the daemon, and the one that takes nothing but spans."""

    def made(channel: Channel) -> None:
        channels.add(channel)
        channel.ended.add_done_callback(lambda _: channels.discard(channel))

    def wire(served: dict[str, Handler] = handlers) -> Wire:
        return Wire(served, made=made, explain=to_rpc)

    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    paths: list[tuple[Path, tuple[int, int]]] = []
    place = ""
    try:
        for one in config.listeners:
            place = one.text
            if one.scheme == "unix":
                servers.append(await loop.create_unix_server(wire, sock=_unix(one, config), backlog=_BACKLOG))
                if not one.path.startswith("@"):
                    paths.append((Path(one.path), _identity(Path(one.path))))
            elif one.scheme == "fd":
                servers += [await loop.create_unix_server(wire, sock=sock, backlog=_BACKLOG) for sock in _inherited()]
            else:
                tls = config.tls.context() if config.tls is not None else None
                servers.append(await loop.create_server(wire, one.host, one.port, ssl=tls, backlog=_BACKLOG))
                if tls is None:
                    _log.warning("%s has no TLS: whoever reaches it can build as this user", one.text)
        if config.otel:
            one = Listener(f"unix://{config.otel}", "unix", path=config.otel)
            place = one.text
            servers.append(
                await loop.create_unix_server(lambda: wire(spans), sock=_unix(one, config), backlog=_BACKLOG)
            )
            paths.append((Path(config.otel), _identity(Path(config.otel))))
            _log.info("taking spans on %s", config.otel)
        yield
    except OSError as exc:
        raise UsageError(f"cannot listen on {place}: {exc.strerror or exc}") from exc
    finally:
        for server in servers:
            server.close()
        for path, own in paths:
            with contextlib.suppress(OSError):
                if _identity(path) == own:  # not another daemon's, which has taken the place
                    path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _unix(one: Listener, config: Config) -> socket.socket:
    """A socket of the path, with the group and mode that it shall have from its first moment."""
    made = socket.socket(socket.AF_UNIX)
    if one.path.startswith("@"):
        made.bind("\0" + one.path[1:])
        return made
    path = Path(one.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    try:
        if config.owner is not None:
            os.chown(path, config.owner, -1)
        if config.group:
            os.chown(path, -1, _group(config.group))
            path.chmod(0o660)
    except OSError as exc:
        raise UsageError(f"cannot give {path} to another user or group: {exc.strerror}") from exc
    return made


def _group(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {name}") from None


def _inherited() -> list[socket.socket]:
    """Sockets that systemd has opened (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise UsageError("fd:// needs sockets of systemd", hint="Start the daemon by a .socket unit.")
    count = int(os.environ.get("LISTEN_FDS", "0") or 0)
    if not count:
        raise UsageError("systemd gave no sockets")
    return [socket.socket(fileno=number) for number in range(3, 3 + count)]


def _notify(text: str) -> None:
    """Tell systemd (sd_notify(3))."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), "\0" + where[1:] if where.startswith("@") else where)


# --- facts ----------------------------------------------------------------------------------------------


def _facts(config: Config, root: Path) -> Facts:
    labels = {
        "org.mobyproject.buildkit.worker.executor": "oci",
        "org.mobyproject.buildkit.worker.hostname": socket.gethostname(),
        "org.mobyproject.buildkit.worker.network": "host" if config.network is None else config.network.resolved(),
        "org.mobyproject.buildkit.worker.oci.process-mode": "sandbox",
        "org.mobyproject.buildkit.worker.selinux.enabled": "false",
        "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
        "dockc.version": VERSION,
    }
    return Facts(
        worker=_worker_id(root),
        labels={**labels, **config.labels},
        platforms=Runnable(config.platforms, config.platforms_age).now,
        entitlements=config.entitlements,
        builds=config.builds,
        rules=config.gc.on(Disk.of(root)),
    )


def _worker_id(root: Path) -> str:
    """The worker's id, made once."""
    path = root / "workerid"
    try:
        found = path.read_text().strip()
    except OSError:
        found = ""
    if not found:
        found = secrets.token_hex(12)
        path.write_text(found)
    return found
