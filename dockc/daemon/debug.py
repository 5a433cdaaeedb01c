"""The debug address: what Prometheus asks, and what a person asks of a daemon that does not do as it should.

    /metrics        numbers, in Prometheus' text form
    /debug/vars     the same as JSON
    /debug/stacks   what every task and thread is doing
    /debug/gc       collect garbage, and say how much there was

Paths are those of BuildKit's daemon where they mean something here. Whoever reaches the address may ask: the address is
the permission.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import resource
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.version import VERSION
from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.daemon.control import Control

_LINE = 8192
_PATIENCE = 10.0
_BEGAN = time.time()
#: Name: what Prometheus calls its kind, and what it is.
_TOLD = {
    "dockc_build_info": ("gauge", "Version of the daemon, as a label."),
    "dockc_builds_running": ("gauge", "Builds that run."),
    "dockc_builds_total": ("counter", "Builds that have ended, by how."),
    "dockc_connections": ("gauge", "Open connections of clients."),
    "dockc_sessions": ("gauge", "Sessions of clients."),
    "process_cpu_seconds_total": ("counter", "CPU time of the daemon, without its steps."),
    "process_max_fds": ("gauge", "Files that may be open."),
    "process_open_fds": ("gauge", "Files that are open."),
    "process_resident_memory_bytes": ("gauge", "Memory of the daemon."),
    "process_start_time_seconds": ("gauge", "When it began, in seconds since 1970."),
    "process_threads": ("gauge", "Threads of the daemon."),
    "process_virtual_memory_bytes": ("gauge", "Addresses of the daemon."),
}

Numbers = Mapping[tuple[str, str], float]
"""By name and label (`key=\"value\"`, or "")."""


def numbers(control: Control, connections: int) -> Numbers:
    """What there is to count."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    with Path("/proc/self/statm").open("rb") as file:
        pages = [int(one) for one in file.read().split()]
    size = os.sysconf("SC_PAGE_SIZE")
    ended = {("dockc_builds_total", f'result="{key}"'): float(count) for key, count in control.builds.ended.items()}
    return {
        ("dockc_build_info", f'version="{VERSION}"'): 1.0,
        ("dockc_builds_running", ""): float(control.builds.running),
        **ended,
        ("dockc_connections", ""): float(connections),
        ("dockc_sessions", ""): float(len(control.sessions)),
        ("process_cpu_seconds_total", ""): spent.ru_utime + spent.ru_stime,
        ("process_max_fds", ""): float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("process_open_fds", ""): float(len(os.listdir("/proc/self/fd"))),  # noqa: PTH208
        ("process_resident_memory_bytes", ""): float(pages[1] * size),
        ("process_start_time_seconds", ""): _BEGAN,
        ("process_threads", ""): float(threading.active_count()),
        ("process_virtual_memory_bytes", ""): float(pages[0] * size),
    }


def exposition(of: Numbers) -> str:
    """Prometheus' text form, version 0.0.4."""
    lines = []
    for name, (kind, text) in _TOLD.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [
            f"{name}{f'{{{label}}}' if label else ''} {value:.15g}"
            for (found, label), value in of.items()
            if found == name
        ]
    return "\n".join(lines) + "\n"


def stacks() -> str:
    """What every task and thread is doing."""
    out = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda one: one.get_name()):
        out.write(f"task {task.get_name()}\n")
        task.print_stack(file=out)
        out.write("\n")
    names = {one.ident: one.name for one in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  the interpreter's only word for it
        out.write(f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}\n")
    return out.getvalue()


class Debug:
    """Answers at the debug address.

    Args:
        tell: gives the numbers.
    """

    def __init__(self, tell: Callable[[], Numbers]) -> None:
        self._tell = tell

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, media type and text for a path."""
        match path:
            case "/metrics":
                return 200, "text/plain; version=0.0.4; charset=utf-8", exposition(self._tell())
            case "/debug/vars":
                found = {f"{name}{{{label}}}" if label else name: one for (name, label), one in self._tell().items()}
                return 200, "application/json", json.dumps(found, indent=2) + "\n"
            case "/debug/stacks" | "/debug/pprof/goroutine":
                return 200, "text/plain; charset=utf-8", stacks()
            case "/debug/gc":
                return 200, "text/plain; charset=utf-8", f"{gc.collect()} objects\n"
            case "/debug" | "/debug/" | "/":
                return 200, "text/plain; charset=utf-8", "/metrics\n/debug/vars\n/debug/stacks\n/debug/gc\n"
        return 404, "text/plain; charset=utf-8", f"there is no {path} here\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        try:
            with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_PATIENCE):
                    await self._one(reader, writer)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode("latin-1").split()
        for _ in range(100):
            if not (await reader.readline()).strip():
                break
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            status, kind, text = 400, "text/plain; charset=utf-8", "this is no request\n"
        elif words[0] not in {"GET", "HEAD"}:
            status, kind, text = 405, "text/plain; charset=utf-8", "only GET is answered\n"
        else:
            status, kind, text = self.answer(words[1].partition("?")[0])
        body = text.encode("utf-8", "replace")
        head = f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n".encode())
        if words[:1] != ["HEAD"]:
            writer.write(body)
        await writer.drain()


_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


async def listen(address: str, debug: Debug) -> asyncio.Server:
    """Listen at `HOST:PORT`, `tcp://HOST:PORT` or `unix://PATH`.

    Raises:
        UsageError: the address is none, or cannot be had.
    """
    scheme, separator, rest = address.partition("://")
    try:
        if separator and scheme == "unix" and rest:
            before = os.umask(0o177)
            try:
                with suppress(FileNotFoundError):
                    if stat.S_ISSOCK(os.lstat(rest).st_mode):
                        os.unlink(rest)  # noqa: PTH108
                return await asyncio.start_unix_server(debug.serve, rest, limit=_LINE)
            finally:
                os.umask(before)
        host, colon, port = (rest if separator else address).rpartition(":")
        if scheme in {"tcp", address} and colon and port.isdecimal() and int(port) < 65536:
            return await asyncio.start_server(debug.serve, host.strip("[]") or None, int(port), limit=_LINE)
    except OSError as exc:
        raise UsageError(f"cannot listen on the debug address {address}: {exc.strerror or exc}") from exc
    raise UsageError(f"invalid debug address {address}", hint="HOST:PORT or unix://PATH")
