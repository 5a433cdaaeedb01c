"""Registries that lie, break, stall or send us in circles."""

from __future__ import annotations

import gzip
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.base.record import replace
from dockc.errors import DigestMismatch, RegistryError
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.reference import Reference, parse_normalized
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.registry.client import AccessDenied, Client, NotFound
from dockc.runtime.registry.fetch import RegistryProvider
from dockc.runtime.registry.hosts import HostsConfig, RegistrySettings
from dockc.runtime.registry.push import Push
from dockc.runtime.registry.transport import TooSlow, Transport, Unreachable
from tests.runtime.registry.conftest import FAST
from tests.runtime.registry_servers import Answer, Image, Script, Seen, error_body, free_port, make_image, serve_image


@pytest.fixture
def image(source: ContentStore) -> Image:
    import os

    return make_image(source, [{"data": os.urandom(200_000)}])


def at(server: Script, name: str = "app:latest") -> Reference:
    return parse_normalized(f"{server.address}/{name}")


def test_unreachable(client: Client) -> None:
    port = free_port()
    with pytest.raises(Unreachable) as caught:
        client.resolve(parse_normalized(f"localhost:{port}/app"))
    assert caught.value.message == (
        f"localhost:{port}/app:latest: cannot reach the registry: "
        f"http://localhost:{port}/v2/app/manifests/latest: connection refused"
    )


def test_unknown_host(client: Client) -> None:
    with pytest.raises(Unreachable) as caught:
        client.resolve(parse_normalized("registry.invalid/app"))
    assert "host name cannot be resolved (dial tcp: lookup " in caught.value.message
    assert ": no such host)" in caught.value.message


def test_manifest_with_a_wrong_digest(client: Client, source: ContentStore, image: Image) -> None:
    honest = serve_image(source, image)

    def answer(seen: Seen) -> Answer:
        reply = honest(seen)
        return Answer(200, reply.body + b" ", {"Content-Type": mt.OCI_MANIFEST})

    with Script(answer) as server:
        ref = at(server).with_digest(image.root.digest)
        with pytest.raises(DigestMismatch, match="unexpected manifest digest: expected sha256:"):
            client.manifest(ref)


def test_manifest_that_contradicts_its_header(client: Client) -> None:
    claimed = digests.from_bytes(b"other")

    def answer(_: Seen) -> Answer:
        return Answer(200, b"{}", {"Content-Type": mt.OCI_MANIFEST, "Docker-Content-Digest": claimed})

    with Script(answer) as server, pytest.raises(DigestMismatch, match=f"expected {claimed}"):
        client.manifest(at(server))


def test_head_with_another_digest_than_asked_for(client: Client, source: ContentStore, image: Image) -> None:
    with Script(serve_image(source, image)) as server:
        ref = at(server).with_digest("sha256:" + "0" * 64)
        with pytest.raises(NotFound):
            client.resolve(ref)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 50_000])
def test_garbage_manifest(client: Client, body: bytes) -> None:
    with Script(lambda _: Answer(200, body)) as server, pytest.raises(RegistryError) as caught:
        client.manifest(at(server))
    assert caught.value.message.startswith(f"{at(server)}: manifest")


def test_huge_manifest(client: Client) -> None:
    with Script(lambda _: Answer(200, b" " * (5 << 20))) as server, pytest.raises(RegistryError, match="larger than"):
        client.manifest(at(server))


def test_registry_without_head(client: Client, source: ContentStore, image: Image) -> None:
    honest = serve_image(source, image)
    with Script(lambda seen: Answer(405) if seen.method == "HEAD" else honest(seen)) as server:
        assert client.resolve(at(server)).digest == image.root.digest


def test_interrupted_download_goes_on_where_it_stopped(
    client: Client, source: ContentStore, store: ContentStore, image: Image
) -> None:
    honest = serve_image(source, image)
    size = image.layers[0].size

    def answer(seen: Seen) -> Answer:
        reply = honest(seen)
        reply.cut = len(reply.body) // 2 if len(reply.body) > 1000 else None
        return reply

    with Script(answer) as server:
        RegistryProvider(client, at(server)).fetch(image.layers[0], store)
        ranges = [seen.headers.get("range") for seen in server.seen]
    assert ranges[:2] == [None, f"bytes={size // 2}-"]
    assert store.verify(image.layers[0].digest) == size


def test_server_that_ignores_ranges(client: Client, source: ContentStore, store: ContentStore, image: Image) -> None:
    data = source.read(image.layers[0].digest)

    def answer(_: Seen) -> Answer:
        return Answer(200, data, cut=1000 if len(server.seen) == 1 else None)

    with Script(answer) as server:
        RegistryProvider(client, at(server)).fetch(image.layers[0], store)
    assert store.read(image.layers[0].digest) == data


def test_server_that_continues_at_the_wrong_place(
    client: Client, source: ContentStore, store: ContentStore, image: Image
) -> None:
    data = source.read(image.layers[0].digest)

    def answer(seen: Seen) -> Answer:
        if len(server.seen) == 1:
            return Answer(200, data, cut=1000)
        if "range" in seen.headers:
            return Answer(206, data[5:], {"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"})
        return Answer(200, data)

    with Script(answer) as server:
        RegistryProvider(client, at(server)).fetch(image.layers[0], store)
    assert store.read(image.layers[0].digest) == data


def test_blob_that_is_always_cut_off(client: Client, source: ContentStore, store: ContentStore, image: Image) -> None:
    data = source.read(image.layers[0].digest)
    with Script(lambda seen: Answer(200, data, cut=0)) as server, pytest.raises(RegistryError) as caught:
        RegistryProvider(client, at(server)).fetch(image.layers[0], store)
    assert f"blob {image.layers[0].digest}: got 0 of {len(data)} bytes" in caught.value.message
    assert not store.has(image.layers[0].digest)


@pytest.mark.parametrize("kind", ["other", "longer", "shorter"])
def test_blob_with_wrong_bytes(
    client: Client, source: ContentStore, store: ContentStore, image: Image, kind: str
) -> None:
    data = source.read(image.layers[0].digest)
    wrong = {"other": b"\0" + data[1:], "longer": data + b"x", "shorter": data[:-1]}[kind]
    with Script(lambda seen: Answer(200, wrong)) as server:
        provider = RegistryProvider(client, at(server))
        with pytest.raises((DigestMismatch, RegistryError)) as caught:
            provider.fetch(image.layers[0], store)
    assert image.layers[0].digest in caught.value.message
    assert not store.has(image.layers[0].digest)


def test_redirect_loop(client: Client) -> None:
    with Script(lambda seen: Answer(307, headers={"Location": seen.path})) as server:
        with pytest.raises(RegistryError, match="more than 10 redirects"):
            client.manifest(at(server))
        assert len(server.seen) == 11


@pytest.mark.parametrize("target", ["ftp://x/y", "file:///etc/passwd", "http://", "http://[bad"])
def test_redirect_to_nowhere(client: Client, target: str) -> None:
    with Script(lambda _: Answer(302, headers={"Location": target})) as server, pytest.raises(RegistryError):
        client.manifest(at(server))


def test_redirected_blob_gets_no_credentials(source: ContentStore, store: ContentStore, image: Image) -> None:
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.session.auth import Credentials

    data = source.read(image.layers[0].digest)
    with Script(lambda _: Answer(200, data)) as storage:

        def answer(seen: Seen) -> Answer:
            if "authorization" not in seen.headers:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return Answer(307, headers={"Location": f"{storage.url}/bucket/blob"})

        with Script(answer) as server:
            client = Client(config=DockerConfig({server.address: Credentials("u", "p")}), limits=FAST)
            RegistryProvider(client, at(server)).fetch(image.layers[0], store)
            client.close()
        assert "authorization" not in storage.seen[0].headers
        assert server.seen[-1].headers["authorization"] == "Basic dTpw"


def test_busy_server_is_asked_again(client: Client, source: ContentStore, image: Image) -> None:
    honest = serve_image(source, image)

    def answer(seen: Seen) -> Answer:
        if len(server.seen) < 3:
            return Answer(503, headers={"Retry-After": "86400"})
        return honest(seen)

    with Script(answer) as server:
        assert client.resolve(at(server)).digest == image.root.digest


def test_server_that_stays_broken(client: Client) -> None:
    body = error_body("UNAVAILABLE", "disk\x1b[31m full")
    with Script(lambda _: Answer(500, body)) as server, pytest.raises(RegistryError) as caught:
        client.manifest(at(server))
    assert caught.value.message == (
        f"{at(server)}: unexpected status 500 from {server.url}/v2/app/manifests/latest: unavailable: disk\ufffd[31m full"
    )


def test_too_many_requests(client: Client) -> None:
    with Script(lambda _: Answer(429, error_body("TOOMANYREQUESTS", "slow down"))) as server:
        ref = at(server)
        with pytest.raises(RegistryError, match="too many requests: toomanyrequests: slow down"):
            client.manifest(ref)


def test_slow_server_times_out() -> None:
    from dataclasses import replace

    client = Client(limits=replace(FAST, read=0.2, attempts=1))
    with Script(lambda _: Answer(200, b"{}", delay=1)) as server, pytest.raises(Unreachable, match="timed out"):
        client.manifest(at(server))
    client.close()


def test_cancel_stops_a_download(client: Client, source: ContentStore, store: ContentStore, image: Image) -> None:
    data = source.read(image.layers[0].digest)
    cancelled = threading.Event()

    def answer(seen: Seen) -> Answer:
        cancelled.set()
        return Answer(200, data)

    with Script(answer) as server, pytest.raises(Cancelled):
        RegistryProvider(client, at(server)).fetch(image.layers[0], store, cancelled=cancelled)
    assert not store.has(image.layers[0].digest)


def test_two_steps_share_one_download(client: Client, source: ContentStore, store: ContentStore, image: Image) -> None:
    honest = serve_image(source, image)

    def answer(seen: Seen) -> Answer:
        time.sleep(0.2)
        return honest(seen)

    with Script(answer) as server:
        provider = RegistryProvider(client, at(server))
        threads = [threading.Thread(target=provider.fetch, args=(image.layers[0], store)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.seen) == 1
    assert store.has(image.layers[0].digest)


def test_mirror_first_then_the_registry(source: ContentStore, image: Image) -> None:
    with Script(lambda _: Answer(404)) as mirror, Script(serve_image(source, image)) as origin:
        hosts = HostsConfig({origin.address: RegistrySettings(mirrors=(mirror.address,))})
        client = Client(hosts=hosts, limits=FAST)
        assert client.resolve(at(origin)).digest == image.root.digest
        assert mirror.seen[0].query == f"ns={origin.address}"
        client.close()
    with Script(serve_image(source, image)) as mirror:
        dead = f"127.0.0.1:{free_port()}"
        client = Client(hosts=HostsConfig({dead: RegistrySettings(mirrors=(mirror.address,))}), limits=FAST)
        assert client.resolve(parse_normalized(f"{dead}/app")).digest == image.root.digest
        client.close()


def test_what_mirrors_said_is_told_where_the_registry_says_nothing() -> None:
    def failure(origin: str, mirror: str) -> RegistryError:
        client = Client(hosts=HostsConfig({origin: RegistrySettings(mirrors=(mirror,))}), limits=FAST)
        try:
            with pytest.raises(RegistryError) as caught:
                client.manifest(parse_normalized(f"{origin}/app"))
            return caught.value
        finally:
            client.close()

    dead, gone = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with Script(lambda _: Answer(404)) as empty:
        silent = failure(dead, empty.address)
        assert isinstance(silent, Unreachable)
        assert silent.message.startswith(
            f"{dead}/app:latest: not found (mirror {empty.address}); cannot reach the regist"
        )
        # The registry's own answer says more than that a mirror has no copy, and no more than that it is broken.
        assert failure(empty.address, empty.address).message == f"{empty.address}/app:latest: not found"
        answered = failure(empty.address, dead)
        assert isinstance(answered, NotFound)
        assert answered.message.startswith(f"{empty.address}/app:latest: cannot reach the mirror: http")
        assert answered.message.endswith(f"(mirror {dead}); not found")
    both = failure(dead, gone)
    assert isinstance(both, Unreachable) and both.message.count(f"{dead}/app:latest:") == 1
    assert f"(mirror {gone}); cannot reach the registry: " in both.message


_FIRST_ASKED_FOR = """
import builtins
from dockc.errors import RegistryError
from dockc.runtime.registry.transport import Transport

asked, load = [], builtins.__import__

def told(name, globals=None, *more, **named):
    if name.partition(".")[0] == "urllib3" and (globals or {}).get("__name__", "").startswith("dockc."):
        asked.append(name)
    return load(name, globals, *more, **named)

builtins.__import__ = told
try:
    Transport().request("GET", "http://127.0.0.1:1/")
except RegistryError:
    print(asked[0])
"""


def test_threads_ask_for_a_package_before_its_parts() -> None:
    """Two that do not may wait for each other, and Python lets one of them fail."""
    command = [sys.executable, "-c", _FIRST_ASKED_FOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert (done.stdout, done.stderr) == ("urllib3\n", "")


def test_error_body_is_read_only_so_far(client: Client) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "y" * (1 << 20)}]}).encode()
    with Script(lambda _: Answer(404, body)) as server, pytest.raises(NotFound):
        client.manifest(at(server))


def test_redirect_cannot_steer_the_terminal(client: Client) -> None:
    headers = {"Location": "ftp://x/\x1b[31m\x07"}
    with Script(lambda _: Answer(302, headers=headers)) as server, pytest.raises(RegistryError) as caught:
        client.manifest(at(server))
    assert caught.value.message.isprintable()


def test_upload_session_elsewhere_gets_no_credentials(source: ContentStore, image: Image) -> None:
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.session.auth import Credentials

    with Script(lambda _: Answer(201)) as storage:

        def answer(seen: Seen) -> Answer:
            if "authorization" not in seen.headers:
                return Answer(401, headers={"WWW-Authenticate": "Basic realm=x"})
            if seen.method == "HEAD":
                return Answer(404)
            if seen.method == "POST":
                return Answer(202, headers={"Location": f"{storage.url}/session?a=1"})
            return Answer(201)

        with Script(answer) as server:
            client = Client(config=DockerConfig({server.address: Credentials("u", "p")}), limits=FAST)
            Push(client, source).run(at(server), image.root)
            client.close()
        assert len(storage.seen) == 2 and not any("authorization" in seen.headers for seen in storage.seen)
        assert all(seen.query.startswith("a=1&digest=sha256%3A") for seen in storage.seen)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_refused_push(client: Client, source: ContentStore, image: Image, status: int) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.method == "HEAD":
            return Answer(404)
        return Answer(status, error_body("NO", "not today"))

    with Script(answer) as server, pytest.raises(RegistryError, match="not today"):
        Push(client, source).run(at(server), image.root)


def test_upload_that_breaks_is_started_again(client: Client, source: ContentStore, image: Image) -> None:
    sessions = 0

    def answer(seen: Seen) -> Answer:
        nonlocal sessions
        if seen.method == "HEAD":
            return Answer(404)
        if seen.method == "POST":
            sessions += 1
            return Answer(202, headers={"Location": f"/up/{sessions}"})
        if seen.method == "PUT" and seen.path == "/up/1":
            return Answer(401)
        return Answer(201)

    with Script(answer) as server:
        Push(client, source).run(at(server), image.root)
    assert sessions == 3


class _Drops(socketserver.BaseRequestHandler):
    """Answers every request with a head and then a byte now and then, for as long as somebody listens."""

    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n"

    def handle(self) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += self.request.recv(4096)
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        head = self.head if b"/endless-head" not in asked else b"HTTP/1.1 200 OK\r\nX: "
        try:
            self.request.sendall(head)
            while not self.server.done.wait(0.02):  # type: ignore[attr-defined]
                self.request.sendall(b"x")
        except OSError:
            return


@pytest.fixture
def dropping() -> Iterator[tuple[str, list[bytes]]]:
    """Address of a server whose answers never end, and the requests that it has got."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Drops)
    server.daemon_threads = True
    done = threading.Event()
    asked: list[bytes] = []
    server.done, server.asked = done, asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", asked
    done.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_blob_that_trickles_for_ever_is_given_up_and_not_asked_for_again(
    client: Client, source: ContentStore, dropping: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    address, asked = dropping
    ref = parse_normalized(f"{address}/app:latest")
    descriptor = Descriptor(mt.OCI_LAYER, "sha256:" + "0" * 64, 1_000_000)
    with pytest.raises(TooSlow, match=r"too slow: \d+ bytes in \d+ seconds"):
        RegistryProvider(client, ref).fetch(descriptor, ContentStore(tmp_path / "new"))
    assert len([one for one in asked if b"/blobs/" in one]) == 1


def test_a_document_that_trickles_for_ever_is_given_up(client: Client, dropping: tuple[str, list[bytes]]) -> None:
    address, _ = dropping
    with pytest.raises(RegistryError, match="too slow"):
        client.manifest(parse_normalized(f"{address}/app:latest"))


def test_a_head_that_trickles_for_ever_is_given_up(dropping: tuple[str, list[bytes]]) -> None:
    address, _ = dropping
    transport = Transport(replace(FAST, connect=0.2, read=0.3, attempts=1))
    with pytest.raises(Unreachable, match="timed out"):
        transport.request("GET", f"http://{address}/endless-head")
    transport.close()


def test_a_body_that_comes_in_time_may_come_in_any_pieces(client: Client) -> None:
    """What is there is taken at once; nobody waits for a whole piece."""
    import os

    data = os.urandom(3_000_000)
    with Script(lambda _: Answer(200, data)) as server:
        answer = client.transport.request("GET", f"http://{server.address}/x")
        with answer:
            assert answer.read_all(4_000_000) == data


def test_connections_that_bring_a_byte_each_are_not_worth_it(
    client: Client, source: ContentStore, image: Image, tmp_path: Path
) -> None:
    """A server that closes after each byte would keep us busy for as many connections as a blob has bytes."""
    honest = serve_image(source, image)
    tries: list[str] = []

    def answer(seen: Seen) -> Answer:
        reply = honest(seen)
        if image.layers[0].digest not in seen.path:
            return reply
        tries.append(seen.path)
        return Answer(reply.status, reply.body, reply.headers, cut=1)

    with Script(answer) as server, pytest.raises(RegistryError, match=r"got \d of \d+ bytes"):
        RegistryProvider(client, at(server)).fetch(image.layers[0], ContentStore(tmp_path / "new"))
    assert len(tries) < 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (error_body("DENIED", "denied by policy X"), "denied: denied by policy X"),
        (b'{"errors":[{"code":"DENIED","message":"no","detail":{"quota":3}}]}', 'denied: no: {"quota": 3}'),
        (b'{"errors":[{"code":"DENIED","message":"no","detail":"over quota"}]}', "denied: no: over quota"),
        (b"<html>blocked\nby the proxy</html>", "<html>blocked by the proxy</html>"),
        (b"x" * 1000, "x" * 256),
    ],
    ids=["message", "detail", "text", "page", "long"],
)
def test_a_refusal_comes_with_the_registry_s_words(
    client: Client, source: ContentStore, image: Image, body: bytes, words: str
) -> None:
    """The answer to HEAD has no body, so the words of a refusal are asked for."""

    def pull(seen: Seen) -> Answer:
        return Answer(403, b"" if seen.method == "HEAD" else body)

    with Script(pull) as server:
        with pytest.raises(AccessDenied) as caught:
            client.resolve(at(server))
        assert caught.value.message.endswith(f"may require authorization: server message: {words}")
        with pytest.raises(RegistryError) as caught_too:
            Push(client, source).run(at(server), image.root)
        assert caught_too.value.message.endswith(f"server message: {words}")


def test_a_token_server_s_refusal_comes_with_its_words(client: Client) -> None:
    with Script(lambda _: Answer(403, b'{"details":"account suspended"}')) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.url}/token",service="s"'}
        with (
            Script(lambda _: Answer(401, headers=challenge)) as server,
            pytest.raises(RegistryError, match="account suspended"),
        ):
            client.resolve(at(server))


@pytest.mark.parametrize("start", [0, 5])
def test_blobs_sent_in_a_content_encoding(client: Client, store: ContentStore, start: int) -> None:
    """Ranges and lengths of such answers are those of other bytes: a download that goes on begins again."""
    data = b"the blob's own bytes " * 20
    packed = gzip.compress(data, mtime=0)
    descriptor = Descriptor(mt.OCI_LAYER, digests.from_bytes(data), len(data))

    def answer(seen: Seen) -> Answer:
        if "range" in seen.headers:
            return Answer(
                206,
                packed[start:],
                {"Content-Encoding": "gzip", "Content-Range": f"bytes {start}-{len(packed) - 1}/{len(packed)}"},
            )
        return Answer(200, packed, {"Content-Encoding": "gzip"})

    if start:
        with store.writer(descriptor.digest, descriptor.size) as writer:
            writer.write(data[:start])
    with Script(answer) as server:
        RegistryProvider(client, at(server)).fetch(descriptor, store)
    assert store.read(descriptor.digest) == data
