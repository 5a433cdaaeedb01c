"""The server of `dockc playground`: the files of one flat folder, for browsers of this machine."""

from __future__ import annotations

import os
import posixpath
import shutil
import signal
import stat
import sys
import urllib.parse
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.version import VERSION
from dockc.errors import DockcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the page may do, said by the server as by the page itself: run its own programs, and talk to nobody else.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; connect-src "
    "'self' blob:; "
    "worker-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".gz": "application/octet-stream",  # not Content-Encoding: the page unpacks it itself
}
_START = "index.html"


def folder_of(given: str | None) -> Path:
    """The folder with the built playground: the one that is named, else the package's, else that of a checkout.

    Raises:
        UsageError: there is none.
    """
    package = Path(__file__).resolve().parents[1]
    places = [Path(given)] if given else [package / "playground", package.parent / "playground" / "dist"]
    for place in places:
        if (place / _START).is_file():
            return place.resolve()
    if given:
        raise UsageError(
            f"no playground in {given}", hint="Make one with `node playground/build.mjs` in a checkout of dockc."
        )
    raise UsageError(
        "this installation has no playground",
        hint="In a checkout of dockc, `node playground/build.mjs` makes it; or name a folder with --folder.",
    )


class _Handler(BaseHTTPRequestHandler):
    """Serves the files of one folder; nothing is listed, nothing is written."""

    server_version = f"dockc/{VERSION}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60
    folder: Path

    def do_GET(self) -> None:
        """A file."""
        self._serve(body=True)

    def do_HEAD(self) -> None:
        """What a file is like."""
        self._serve(body=False)

    def _serve(self, *, body: bool) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0], errors="surrogateescape")
        name = path.removeprefix("/") or _START
        stream = self._open(name)
        if stream is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with stream:
            known = os.fstat(stream.fileno())
            # What a browser has, it need not fetch once more for its service worker, nor on the next visit.
            tag = f'"{known.st_mtime_ns:x}-{known.st_size:x}-{known.st_ino:x}"'
            if tag in (self.headers.get("If-None-Match") or ""):
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.send_header("ETag", tag)
                self.end_headers()
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("ETag", tag)
            self.send_header("Content-Type", _TYPES.get(posixpath.splitext(name)[1], "text/plain; charset=utf-8"))
            self.send_header("Content-Length", str(known.st_size))
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            if body:
                shutil.copyfileobj(stream, self.wfile)

    def end_headers(self) -> None:
        """Every answer says what a page of it may do."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def _open(self, name: str) -> BinaryIO | None:
        # The folder is flat: no other path is a question that the page asks.
        if "/" in name or "\0" in name or name.startswith("."):
            return None
        try:
            descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Requests of one's own browser are no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away is no news; another error would be one of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve(folder: str | None, port: int, *, open_browser: bool, out: Callable[[str], object]) -> int:
    """Serve until a signal ends it; returns the exit status.

    Args:
        folder: the built playground, or None to look for it.
        port: of the loopback address; 0 takes a free one.
        open_browser: open the page in the user's browser.
        out: takes the line that says where the page is.

    Raises:
        UsageError: there is no playground.
        DockcError: the port cannot be had.
    """
    handler = type("Handler", (_Handler,), {"folder": folder_of(folder)})
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise DockcError(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}",
            hint="Choose another port with --port; 0 takes a free one.",
        ) from None
    with server:
        place = f"http://127.0.0.1:{server.server_port}/"
        out(f"The playground is at {place} (end with Ctrl-C)\n")
        if open_browser:
            import webbrowser

            webbrowser.open(place)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    return 0
