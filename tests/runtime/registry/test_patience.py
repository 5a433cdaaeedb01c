"""Peers that never answer, or never end: what is cancelled ends at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dockc.errors import RegistryError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.registry.patience import Watch, abandonable
from dockc.runtime.registry.transport import Transport, Unreachable, retry_after
from tests.runtime.registry.conftest import FAST
from tests.runtime.registry_servers import Answer, Script, Seen

LONG = 3600.0
Stalling = Callable[[bytes], tuple[str, threading.Event]]


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    """Servers that send something and then nothing for as long as the test lasts; an event says that a request is there."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def start(sent: bytes) -> tuple[str, threading.Event]:
        listener = socket.create_server(("127.0.0.1", 0))
        asked = threading.Event()

        def serve() -> None:
            with listener, listener.accept()[0] as peer:
                peer.recv(1 << 16)
                peer.sendall(sent)
                asked.set()
                over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/x", asked

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nX-A: "])
def test_before_there_is_an_answer(stalling: Stalling, sent: bytes) -> None:
    url, asked = stalling(sent)
    cancelled = threading.Event()

    def cancel() -> None:
        asked.wait()
        cancelled.set()

    threading.Thread(target=cancel).start()
    transport = Transport(replace(FAST, connect=LONG, read=LONG))
    with pytest.raises(Cancelled):
        transport.request("GET", url, cancelled=cancelled)
    transport.close()


@pytest.mark.parametrize("length", [b"Content-Length: 100000\r\n", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_in_the_middle_of_an_answer(stalling: Stalling, length: bytes) -> None:
    url, asked = stalling(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
    cancelled = threading.Event()
    transport = Transport(replace(FAST, connect=LONG, read=LONG))
    with transport.request("GET", url, cancelled=cancelled) as answer:
        assert asked.wait(60)
        threading.Timer(0.05, cancelled.set).start()
        with pytest.raises(Cancelled):
            answer.read()
    transport.close()


def test_headers_that_never_end_are_too_late(stalling: Stalling) -> None:
    url, _ = stalling(b"HTTP/1.1 200 OK\r\nX-A: ")
    transport = Transport(replace(FAST, connect=0.2, read=0.2, attempts=1))
    with pytest.raises(Unreachable, match="timed out"):
        transport.request("GET", url, cancelled=threading.Event())
    transport.close()


def test_what_comes_after_all_is_disposed_of() -> None:
    go, gone, cancelled = threading.Event(), threading.Event(), threading.Event()
    cancelled.set()
    disposed: list[str] = []

    def late() -> str:
        go.wait()
        return "late"

    def dispose(what: str) -> None:
        disposed.append(what)
        gone.set()

    with pytest.raises(Cancelled):
        abandonable(late, cancelled, 0, dispose)
    go.set()
    assert gone.wait(60)
    assert disposed == ["late"]
    assert abandonable(lambda: "now", threading.Event(), 0, disposed.append) == "now"
    nothing: dict[str, str] = {}
    with pytest.raises(KeyError, match="x"):
        abandonable(lambda: nothing["x"], threading.Event(), 0, disposed.append)


def test_a_socket_that_serves_another_by_now_is_left_alone() -> None:
    watch = Watch()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        first, second = threading.Event(), threading.Event()
        forget_first = watch.add(ours, first)
        watch.add(ours, second)
        forget_first()
        first.set()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        second.set()
        assert ours.recv(1) == b""


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Amz-Security-Token", "x-identity-header", "X-Anything"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_strangers_see_nothing_that_may_be_secret(name: str, method: str) -> None:
    with Script(lambda seen: Answer(204)) as stranger:
        with Script(lambda seen: Answer(307, headers={"Location": f"{stranger.url}/there"})) as server:
            body = b"data" if method == "PUT" else None
            with Transport(FAST).request(method, f"{server.url}/x?sig=mine", headers={name: "secret", "Accept": "a/b"}, body=body) as answer:
                assert answer.status == 204
        assert server.seen[0].headers[name.lower()] == "secret"
    (seen,) = stranger.seen
    assert (seen.path, seen.query, seen.headers["accept"]) == ("/there", "", "a/b")
    assert "secret" not in repr(seen)


def test_forms_stay_with_the_first_host() -> None:
    """A token server that sends a refresh token on to another is not obeyed; one that moves within itself is."""
    with Script(lambda seen: Answer(200)) as stranger:
        places = {"/out": f"{stranger.url}/x", "/in": "/fine"}

        def answer(seen: Seen) -> Answer:
            return Answer(307, headers={"Location": places[seen.path]}) if seen.path in places else Answer(200, seen.body)

        with Script(answer) as server:
            transport = Transport(FAST)
            with transport.request("POST", f"{server.url}/in", body=b"refresh_token=secret") as found:
                assert found.read_all(99) == b"refresh_token=secret"
            with pytest.raises(RegistryError, match="redirect of a POST"):
                transport.request("POST", f"{server.url}/out", body=b"refresh_token=secret")
    assert stranger.seen == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 7 ", 7.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("1" * 30, 0.0)],
)
def test_how_long_a_server_wants_to_be_left_alone(text: str, seconds: float) -> None:
    with Script(lambda seen: Answer(200, headers={"Retry-After": text})) as server, Transport(FAST).request("GET", server.url) as answer:
        assert retry_after(answer) == seconds


def test_a_date_to_come_back_at() -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2115 07:28:00 GMT"}
    with Script(lambda seen: Answer(200, headers=headers)) as server, Transport(FAST).request("GET", server.url) as answer:
        assert retry_after(answer) > LONG


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
@pytest.mark.parametrize("cancel", [False, True])
def test_whoever_begins_an_answer_for_ever_keeps_no_thread(piece: bytes, cancel: bool) -> None:
    gone = threading.Event()

    def endless(server: socket.socket) -> None:
        with server, server.accept()[0] as peer:
            peer.recv(1 << 16)
            try:
                while not gone.wait(0.02):
                    peer.sendall(piece)
            except OSError:
                gone.set()

    before = set(threading.enumerate())
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    serving = threading.Thread(target=endless, args=(listener,))
    serving.start()
    transport = Transport(replace(FAST, connect=0.2, read=LONG if cancel else 0.2, attempts=1))
    cancelled = threading.Event()
    if cancel:
        threading.Timer(0.2, cancelled.set).start()
    with pytest.raises(Cancelled if cancel else Unreachable):
        transport.request("GET", url, cancelled=cancelled)
    assert gone.wait(60), "the connection is still open"
    serving.join()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before
    transport.close()
