"""`dockc lock` and `--locked`: with a registry, a web server and a git repository on loopback."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.runtime.registry_servers import need, real_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback."""
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def push(registry: str, name: str, folder: Path, **env: str) -> str:
    """Push a small image; its manifest's digest."""
    skopeo = need("skopeo")
    layout = folder / f"layout-{name.replace(':', '-')}-{len(list(folder.iterdir()))}"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"x\n"))
    diff_id = "sha256:" + hashlib.sha256(raw.getvalue()).hexdigest()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Env": [f"{k}={v}" for k, v in env.items()]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }  # fmt: skip
    manifest = put(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": put(json.dumps(config).encode(), "config.v1+json"),
                "layers": [put(gzip.compress(raw.getvalue(), mtime=0), "layer.v1.tar+gzip")],
            }
        ).encode(),
        "manifest.v1+json",
    )
    (layout / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [manifest | {"annotations": {"org.opencontainers.image.ref.name": "x"}}]})
    )
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    command = [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}:x", f"docker://{registry}/{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return str(manifest["digest"])


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server and its directory; a git repository may be put there too."""
    root = tmp_path / "web"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", root
    server.shutdown()
    thread.join()
    server.server_close()


def commit(repository: Path, work: Path, text: str) -> str:
    """Commit a file to a bare repository that a plain web server can serve."""
    git = need("git")
    environ = os.environ | dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a")

    def call(*args: object) -> str:
        return subprocess.run([git, *map(str, args)], check=True, capture_output=True, text=True, env=environ).stdout.strip()

    if not work.exists():
        call("init", "-q", "-b", "main", work)
        call("init", "-q", "--bare", "-b", "main", repository)
    (work / "file").write_text(text)
    call("-C", work, "add", "file")
    call("-C", work, "commit", "-q", "-m", text)
    call("-C", work, "push", "-q", repository, "main")
    call("-C", repository, "update-server-info")
    return call("-C", work, "rev-parse", "HEAD")


@pytest.fixture
def everything(folder: Path, registry: str, web: tuple[str, Path], tmp_path: Path) -> dict[str, str]:
    """A Dockerfile with an image, a URL and a repository; what they are now."""
    url, root = web
    (root / "file.txt").write_text("one\n")
    name = f"{registry}/app{tmp_path.name[-2:]}"
    digest = push(registry, name.partition("/")[2] + ":1", tmp_path, A="1")
    sha = commit(root / "repo.git", tmp_path / "work-tree", "one")
    (folder / "Dockerfile").write_text(f"FROM {name}:1\nADD {url}/file.txt /f\nADD {url}/repo.git#main /repo\n")
    return {"image": f"{name}:1", "digest": digest, "url": f"{url}/file.txt", "repo": f"{url}/repo.git", "commit": sha}


def test_a_lock_holds_every_source(cli: Cli, folder: Path, everything: dict[str, str], tmp_path: Path) -> None:
    ended = cli("lock", "--platform=linux/amd64", "--policy=policy.json")
    assert ended.stderr == "Dockerfile.lock: 1 image, 1 git commit, 1 download\n"
    text = (folder / "Dockerfile.lock").read_text()
    known = json.loads(text)
    assert known["images"][0]["ref"] == everything["image"]
    assert known["images"][0]["digest"] == everything["digest"]
    assert known["http"][everything["url"]]["digest"] == "sha256:" + hashlib.sha256(b"one\n").hexdigest()
    assert [one["commit"] for one in known["git"].values()] == [everything["commit"]]
    assert cli("lock", "--platform=linux/amd64", "--check").stderr == ""
    cli("lock", "--platform=linux/amd64")
    assert (folder / "Dockerfile.lock").read_text() == text, "locking twice writes the same"

    locked = cli("compile", "--platform=linux/amd64", "--locked=Dockerfile.lock", "--emit=ir").text
    assert f"docker-image://{everything['image']}@{everything['digest']}" in locked
    assert 'attr "http.checksum" "sha256:' + hashlib.sha256(b"one\n").hexdigest() in locked
    assert f'attr "git.checksum" "{everything["commit"]}"' in locked
    policy = json.loads((folder / "policy.json").read_text())
    assert {rule["selector"]["identifier"].partition("://")[0] for rule in policy["rules"]} == {"docker-image", "http", "git"}


def test_drift_is_named(cli: Cli, folder: Path, everything: dict[str, str], registry: str, web: tuple[str, Path], tmp_path: Path) -> None:
    platform = "--platform=linux/amd64"
    cli("lock", platform)
    new = push(registry, everything["image"].partition("/")[2], tmp_path, A="2")
    (web[1] / "file.txt").write_text("two\n")
    moved = commit(web[1] / "repo.git", tmp_path / "work-tree", "two")
    ended = cli("lock", platform, "--check", status=1)
    first, *changes = ended.stderr.splitlines()
    assert first == "Dockerfile.lock is out of date"
    assert f"  image {everything['image']} for linux/amd64: {everything['digest']} in the lock file, {new} now" in changes
    assert any(line.startswith(f"  {everything['url']}: sha256:") for line in changes)
    assert any(line.endswith(f": {everything['commit']} in the lock file, {moved} now") for line in changes)
    locked = cli("compile", platform, "--locked=Dockerfile.lock", "--emit=ir").text
    assert everything["digest"] in locked
    assert new not in locked


def test_what_the_lock_lacks_is_named(cli: Cli, folder: Path, everything: dict[str, str]) -> None:
    cli("lock", "--platform=linux/amd64")
    dockerfile = folder / "Dockerfile"
    text = dockerfile.read_text()
    hint = "  help: Bring the lock file up to date with `dockc lock`.\n"

    dockerfile.write_text(text + "FROM localhost:1/other:3\n")
    ended = cli("compile", "--platform=linux/amd64", "--locked=Dockerfile.lock", status=1)
    assert ended.stderr == f"error: Dockerfile.lock has no entry for image localhost:1/other:3 for linux/amd64, which Dockerfile asks for\n{hint}"
    dockerfile.write_text(text + "ADD http://localhost:1/x /x\n")
    ended = cli("compile", "--platform=linux/amd64", "--locked=Dockerfile.lock", status=1)
    assert ended.stderr == f"error: Dockerfile.lock has no entry for http://localhost:1/x, which Dockerfile asks for\n{hint}"
    dockerfile.write_text(text)
    ended = cli("compile", "--platform=linux/arm64", "--locked=Dockerfile.lock", status=1)
    assert "has no entry for image" in ended.stderr
    assert "linux/arm64" in ended.stderr
    other = f"{everything['image']}@sha256:{'1' * 64}"
    dockerfile.write_text(text.replace(everything["image"], other))
    ended = cli("compile", "--platform=linux/amd64", "--locked=Dockerfile.lock", status=1)
    assert f"has no entry for image {other}" in ended.stderr
    ended = cli("compile", "--locked=none.lock", status=2)
    assert ended.stderr == "error: cannot read none.lock: No such file or directory\n"


def test_check_without_a_lock_file_and_files_that_cannot_be_written(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    ended = cli("lock", "--check", status=2)
    assert ended.stderr == "error: cannot read Dockerfile.lock: No such file or directory\n  help: Make it with `dockc lock`.\n"
    assert "cannot write no/where" in cli("lock", "-o", "no/where", status=2).stderr
    assert "needs --output" in cli("lock", "-f", "-", stdin=b"FROM scratch\n", status=2).stderr
    cli("lock")
    assert json.loads((folder / "Dockerfile.lock").read_text()) == {"version": 1}
    (folder / "Dockerfile").rename(folder / "dockerfile")
    cli("lock")
    assert (folder / "dockerfile.lock").exists()
    (folder / "Dockerfile.lock").write_bytes(b"\xff")
    assert "not UTF-8" in cli("lock", "--check", "-o", "Dockerfile.lock", status=2).stderr


def test_an_image_that_cannot_be_had_is_no_lock(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM localhost:1/none\n")
    ended = cli("lock", status=1)
    assert "connection refused" in ended.stderr
    assert not (folder / "Dockerfile.lock").exists()
