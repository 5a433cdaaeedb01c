"""Whole builds on base images from registries that are gone, empty, or lie: the exact message, and nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.runtime.content.store import ContentStore
from tests.runtime.registry_servers import Answer, Script, Seen, free_port, make_image, serve_image

pytestmark = pytest.mark.slow


def build(tmp_path: Path, base: str) -> subprocess.CompletedProcess[str]:
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /d\n")
    command = [sys.executable, "-m", "dockc", "build", str(context), "--progress=plain"]
    return subprocess.run(
        [*command, "-o", f"type=oci,dest={tmp_path}/o.tar"],
        env={**os.environ, "DOCKC_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_unreachable(tmp_path: Path) -> None:
    base = f"127.0.0.1:{free_port()}/x:1"
    done = build(tmp_path, base)
    assert done.returncode == 1
    url = f"http://{base.partition('/')[0]}/v2/x/manifests/1"
    assert last_line(done) == (
        f"error: failed to solve: {base}: failed to resolve source metadata for {base}: {base}: cannot reach the registry: {url}: "
        "connection refused"
    )
    assert f"  = help: An archive of the image will do: `dockc load FILE`, or `--build-context {base}=FILE`.\n" in done.stderr


def test_missing(tmp_path: Path) -> None:
    with Script(lambda _: Answer(404)) as server:
        base = f"{server.address}/x:1"
        done = build(tmp_path, base)
    assert done.returncode == 1
    assert last_line(done) == f"error: failed to solve: {base}: failed to resolve source metadata for {base}: {base}: not found"


def test_layer_with_a_wrong_digest(tmp_path: Path) -> None:
    source = ContentStore(tmp_path / "source")
    image = make_image(source, [{"a": b"1" * 5000}])
    layer = image.layers[0].digest
    honest = serve_image(source, image)
    lying = True

    def answer(seen: Seen) -> Answer:
        reply = honest(seen)
        if lying and seen.path.endswith(layer):
            reply.body = bytes(len(reply.body))
        return reply

    with Script(answer) as server:
        base = f"{server.address}/x:latest"
        done = build(tmp_path, base)
        assert done.returncode == 1
        assert f"blob {layer}: unexpected digest: expected {layer}, got sha256:" in last_line(done)
        assert not ContentStore(tmp_path / "store" / "content").has(layer)
        assert not (tmp_path / "o.tar").exists()
        # The registry mends its ways: the next build works, on the same store.
        lying = False
        assert build(tmp_path, base).returncode == 0
        assert (tmp_path / "o.tar").exists()


def test_layers_are_fetched_from_the_registry_that_is_asked_now(tmp_path: Path) -> None:
    """An earlier build knew them from one that went away before they were fetched."""
    source = ContentStore(tmp_path / "source")
    image = make_image(source, [{"a": b"1" * 5000}])
    honest = serve_image(source, image)

    def broken(seen: Seen) -> Answer:
        return Answer(404) if seen.path.endswith(image.layers[0].digest) else honest(seen)

    with Script(broken) as server:
        assert build(tmp_path, f"{server.address}/x:latest").returncode == 1
    with Script(honest) as server:
        done = build(tmp_path, f"{server.address}/x:latest")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.tar").exists()
