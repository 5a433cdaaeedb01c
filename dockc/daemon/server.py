"""The daemon as a process: one engine, its sockets, and a good end.

The process enters the builder's namespaces first, while it has one thread. SIGTERM, SIGINT and SIGHUP drain it: no new
calls, what runs may finish within the grace time, then it is cancelled; a second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.base.version import VERSION
from dockc.daemon.builds import Builds
from dockc.daemon.config import Config
from dockc.daemon.control import Control, Facts
from dockc.daemon.listening import listening
from dockc.daemon.lock import hold
from dockc.daemon.platforms import Runnable
from dockc.daemon.sessions import Sessions
from dockc.engine import otlp
from dockc.errors import DockcError, UsageError, in_words
from dockc.runtime.executor.limits import LOWER, lowered
from dockc.runtime.refs.policy import Disk

if TYPE_CHECKING:
    from dockc.rpc.calls import Channel

_log = logging.getLogger("dockc.daemon")
_LOCK = "dockcd.lock"
_PATH = 108
"""Bytes of the path of a socket, with its end (unix(7))."""
_ID_LIMIT = 100
"""Bytes of a worker's id."""
_HOUR = 3600.0
_CANCELLED = 10.0
"""Seconds that calls have to end which the daemon's own end has cancelled."""
_ARENAS = 2
"""From which all threads take memory: they hold Python's lock at nearly all times when they ask for some."""


def serve(config: Config) -> int:
    """Run until told to end.

    Raises:
        UsageError: an address or certificate that cannot be used.
        DockcError: the store is another daemon's, or cannot be opened.
    """
    try:
        return _serve(config)
    except OSError as exc:
        raise DockcError(f"the daemon cannot work in {config.root}: {in_words(exc)}") from exc


def _serve(config: Config) -> int:
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

    config = _with_collector(config, root)
    scratch = root / "running"
    await asyncio.to_thread(_emptied, scratch)
    sessions = Sessions(root / "contexts")
    options = EngineOptions(
        root=Path(config.store),
        executor=config.executor,
        snapshotter=config.snapshotter,
        parallelism=config.parallelism,
        network=config.network,
        collector=Path(config.otel) if config.otel else None,
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
        async with listening(config, control.handlers(), control.tracing.handlers(), channels):
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
        await control.close()


def _with_collector(config: Config, root: Path) -> Config:
    """Steps bring spans of their own to a daemon that has a collector to send them to; others ask for it."""
    if config.otel or otlp.way(os.environ) is None:
        return config
    folder = root / "otel"  # so that on this machine nobody else finds a socket which steps of any user may write to
    place = str(folder / "s")
    if len(os.fsencode(place)) >= _PATH:
        _log.warning(
            "steps cannot bring spans: %s is too long a path for a socket; --otel-socket-path names one", place
        )
        return config
    folder.mkdir(mode=0o700, exist_ok=True)
    return replace(config, otel=place)


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
    """Set by SIGTERM or SIGINT, or by the end of the terminal, unless it was said that that is not to matter."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, told.set)
    return told


def _end_at_once_when_told() -> None:
    """The second signal does not wait."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: os._exit(1))


async def _drain(channels: set[Channel], grace: float) -> None:
    """Let running calls finish for a while, then cancel them."""
    tasks = {task for channel in channels for task in channel.tasks}
    await asyncio.gather(*(channel.drained(grace) for channel in channels))
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCELLED)


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
    found = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        found = file.read(_ID_LIMIT).strip()
    if not (found.isalnum() and found.isascii()):
        found = secrets.token_hex(12).encode()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:  # noqa: PTH123
            file.write(found)
    return found.decode()
