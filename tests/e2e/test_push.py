"""What pushing asks of a registry: counted in the access log of a real one."""

from __future__ import annotations

import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import Answer, Script, Seen, real_registry


@dataclass
class Registry:
    """A registry and the requests it has had: (method, path, status)."""

    address: str
    log: Path
    _seen: int = 0

    def requests(self) -> list[tuple[str, str, int]]:
        """Those since the last call."""
        found = re.findall(r'"(GET|HEAD|POST|PUT|PATCH) (/v2/\S*) HTTP/1\.1" (\d+)', self.log.read_text(errors="replace"))
        new, self._seen = found[self._seen :], len(found)
        return [(method, path, int(status)) for method, path, status in new]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with tempfile.TemporaryDirectory(prefix="dockc-registry-") as folder, real_registry(Path(folder)) as address:
        yield Registry(address, Path(folder) / "registry.log")


def fresh(dockc: Dockc, name: str) -> Dockc:
    return Dockc(dockc.home / name, dockc.home, dockc.prefix, dockc.python_path)


def methods(requests: list[tuple[str, str, int]], part: str) -> list[str]:
    return sorted(method for method, path, _ in requests if part in path)


def test_base_layers_stay_where_they_are(root: Dockc, context: MakeContext, with_base: tuple[str, str], registry: Registry) -> None:
    name = f"{registry.address}/lib/base:1"
    root.build(context("FROM base\nCOPY x /x\n", x="1"), *with_base, "-t", name, "--push")
    here = fresh(root, "second")
    folder = context(f"FROM {name}\nCOPY --link y /y\nLABEL a=b\n", y="2")
    registry.requests()
    here.build(folder, "-t", f"{registry.address}/app/one:1", "-t", f"{registry.address}/app/two:1", "--push")
    seen = registry.requests()
    assert not [path for method, path, _ in seen if method == "GET" and "/lib/base/blobs/" in path][1:], "the config, and no layer"
    mounted = [path for method, path, status in seen if method == "POST" and status == 201]
    to_one = [path for path in mounted if "/app/one/" in path and "from=lib" in path.replace("%2F", "/")]
    to_two = [path for path in mounted if "/app/two/" in path]
    assert len(to_one) == 2 and len(to_two) == 4, "the base's two layers; then all that the first name has, config and all"
    assert [path for method, path, _ in seen if method == "PUT" and "/app/two/blobs" in path] == []
    for blob in ("/app/one/blobs/sha256", "/app/two/blobs/sha256"):
        assert methods(seen, blob) == ["HEAD"] * 4, "each is asked for once, and before anything is sent"

    here.build(folder, "-t", f"{registry.address}/app/one:2", "--push")
    again = registry.requests()
    assert methods(again, "/blobs/") == ["HEAD"] * 4, "what is there is not sent"

    assert here.run("run", f"{registry.address}/app/one:1", "cat", "/x", "/y").stdout == "12", "what is missing is fetched when it is needed"
    here.run("save", f"{registry.address}/app/two:1", "-o", here.home / "saved.tar")
    last = fresh(root, "third")
    last.run("load", here.home / "saved.tar")
    assert last.run("run", f"{registry.address}/app/two:1", "cat", "/x", "/y").stdout == "12"
    assert "healthy" in here.run("doctor").stdout


def test_an_image_that_was_pushed_unfetched_is_whole_for_who_asks(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], registry: Registry
) -> None:
    name, app = f"{registry.address}/lib/base:1", f"{registry.address}/app:1"
    root.build(context("FROM base\n"), *with_base, "-t", name, "--push")
    folder = context(f"FROM {name}\nCOPY --link y /y\n", y="2")
    for what in (("image", "layers", app), ("image", "files", app), ("image", "push", app)):
        here = fresh(root, what[1])
        here.build(folder, "-t", app, "--push")
        registry.requests()
        here.run(*what)
        assert [status for method, path, status in registry.requests() if method == "GET" and "/blobs/" in path] == [200]
    everything = fresh(root, "everything")
    registry.requests()
    everything.build(folder, "-t", app, "-o", "type=image,push=true,store=true")
    assert len([path for method, path, _ in registry.requests() if method == "GET" and "/lib/base/blobs/" in path]) == 2


def test_another_registry_is_sent_what_it_lacks(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/lib/base:1"
    root.build(context("FROM base\n"), *with_base, "-t", name, "--push")
    with real_registry(tmp_path) as other:
        here = fresh(root, "second")
        here.build(context(f"FROM {name}\nCOPY --link y /y\n", y="2"), "-t", f"{other}/app:1", "--push")
        last = fresh(root, "third")
        last.run("pull", f"{other}/app:1")
        assert last.run("run", f"{other}/app:1", "cat", "/y").stdout == "2"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_push_that_is_ended(root: Dockc, context: MakeContext, number: int, status: int) -> None:
    asked = threading.Event()

    def answer(seen: Seen) -> Answer:
        if seen.method == "POST":
            asked.set()
            return Answer(202, delay=3600)
        return Answer(404 if seen.method == "HEAD" else 200)

    with Script(answer) as silent:
        name = f"{silent.address}/app:1"
        root.build(context("FROM scratch\nCOPY x y /\n", x="1", y="2"), "-t", name, "-o", "type=image,store=true")
        with root.start("image", "push", name, "--progress=plain") as pushing:
            try:
                assert asked.wait(60)
                pushing.send_signal(number)
                _, said = pushing.communicate(timeout=60)
            finally:
                pushing.kill()
    assert pushing.returncode == status, said
    assert ("terminated" if number == signal.SIGTERM else "interrupted") in said
    assert "Traceback" not in said
    assert not [path for path in root.store.rglob("*") if path.suffix == ".new"]
    assert "healthy" in root.run("doctor").stdout
