"""Forms of docker's and buildx's command lines: where files are, what contexts are called, what comes out where."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dockc.runtime.archive.compress import Compression, compress_bytes
from tests.conftest import member
from tests.e2e.conftest import Dockc


@pytest.fixture
def plain(user: Dockc, tmp_path: Path) -> Dockc:
    """dockc in a folder with a context `c` of one file."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x").write_text("x")
    return user


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _manifest(archive: Path) -> Any:
    with tarfile.open(archive) as tar:
        return json.loads(member(tar, "manifest.json"))


@contextmanager
def _serving(text: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/Dockerfile" else 404)
            self.end_headers()
            if self.path == "/Dockerfile":
                self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_dockerfile_from_the_web(plain: Dockc, tmp_path: Path) -> None:
    with _serving(b"FROM scratch\nCOPY x /y\n") as url:
        plain.run("build", "c", "-q", "-f", f"{url}/Dockerfile", "-o", "out")
        assert _names(tmp_path / "out") == ["y"]
        assert "failed to read dockerfile" in plain.run("build", "c", "-f", f"{url}/other", status=1).stderr
        assert b"y" in plain.run("compile", "c", "-f", f"{url}/Dockerfile", "--emit=llb").stdout.encode()
        plain.run("build", "c", "--offline", "-f", f"{url}/Dockerfile")  # what was met stays what it was
        assert "--offline" in plain.run("build", "c", "--offline", "-f", f"{url}/never", status=1).stderr


def test_a_containerfile_where_there_is_no_dockerfile(plain: Dockc, tmp_path: Path) -> None:
    context = tmp_path / "c"
    (context / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / ".containerignore").write_text("x\n.*\n")
    plain.run("build", "c", "-q", "-o", "out")
    assert _names(tmp_path / "out") == ["Containerfile"]
    (context / "Dockerfile").write_text("FROM scratch\nCOPY x /from-dockerfile\n")
    plain.run("build", "c", "-q", "-o", "second")
    assert _names(tmp_path / "second") == ["from-dockerfile"]


def test_a_dockerignore_counts_for_a_containerfile_too(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "c" / ".dockerignore").write_text("x\n.*\n")
    (tmp_path / "c" / ".containerignore").write_text("Containerfile\n")
    plain.run("build", "c", "-q", "-o", "out")
    assert _names(tmp_path / "out") == ["Containerfile"]


@pytest.mark.parametrize("name", ["x.git", "a:b", "proj#1"])
def test_a_folder_wins_over_an_address(plain: Dockc, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY --from=n x /y\nCOPY Dockerfile /\n")
    (folder / "x").write_text("x")
    for number, context in enumerate((name, f"./{name}", str(folder))):
        plain.run("build", context, "-q", "--build-context", f"n={context}", "-o", f"out{number}")
        assert _names(tmp_path / f"out{number}") == ["Dockerfile", "y"]


@pytest.mark.parametrize("name", ["base", "docker.io/library/base", "base:latest", "index.docker.io/base:latest"])
def test_names_of_contexts_are_normalised(plain: Dockc, tmp_path: Path, name: str) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM base\n")
    plain.run("build", "c", "-q", "--build-context", f"{name}=c", "-o", "out")
    assert _names(tmp_path / "out") == ["Dockerfile", "x"]


def test_a_context_cannot_have_any_name(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /\n")
    assert "invalid context name Base" in plain.run("build", "c", "--build-context", "Base=c", status=2).stderr


def test_ids(plain: Dockc, tmp_path: Path) -> None:
    """The id is the digest of the config, which is what docker calls an image by."""
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /\n")
    quiet = plain.run("build", "c", "-q", "--iidfile", "id", "-o", "type=docker,dest=image.tar").stdout.strip()
    manifest = _manifest(tmp_path / "image.tar")
    assert quiet == (tmp_path / "id").read_text() == "sha256:" + manifest[0]["Config"].rpartition("/")[2]
    for output in ("type=local,dest=out", "type=tar,dest=out.tar"):
        assert "incompatible with image ID file" in plain.run("build", "c", "--iidfile", "id", "-o", output, status=2).stderr


def test_a_default_platform(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\nCOPY x /\n")
    default = plain.environ() | {"DOCKER_DEFAULT_PLATFORM": "linux/arm64"}
    for options, platform in (((), "linux/arm64"), (("--platform=linux/amd64",), "linux/amd64"), (("--opt=platform=linux/s390x",), "linux/s390x")):
        done = subprocess.run(plain.argv("compile", "c", "--emit=image", *options), env=default, cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(done.stdout)["config"]["Labels"]["p"] == platform


def test_a_tag_cannot_name_a_digest(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /\n")
    name = "a@sha256:" + "0" * 64
    for options in (("-t", name), ("-o", f"type=image,name={name}")):
        assert "a digest cannot be chosen" in plain.run("build", "c", *options, status=2).stderr
    assert "No" not in plain.run("images").stdout


@pytest.mark.parametrize(("words", "layers"), [(("--squash",), 1), (("--squash=true",), 1), (("--squash=false",), 2), (("--squash", "0"), 2), ((), 2)])
def test_squash_as_docker_has_it(plain: Dockc, tmp_path: Path, words: tuple[str, ...], layers: int) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /a\nCOPY x /b\n")
    plain.run("build", *words, "c", "-q", "-o", "type=docker,dest=image.tar")
    assert len(_manifest(tmp_path / "image.tar")[0]["Layers"]) == layers


def test_frontend_options_that_name_the_dockerfile(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "sub").mkdir()
    (tmp_path / "c" / "sub" / "Other").write_text("FROM scratch\nCOPY x /other\n")
    plain.run("build", "c", "-q", "--opt", "filename=sub/Other", "-o", "out")
    assert _names(tmp_path / "out") == ["other"]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "Dockerfile").write_text("FROM scratch\nCOPY x /from-d\n")
    plain.run("build", "c", "-q", "--opt", "dockerfilekey=d", "--build-context", "d=d", "-o", "out2")
    assert _names(tmp_path / "out2") == ["from-d"]
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /from-c\n")
    plain.run("build", "c", "-q", "--opt", "dockerfilekey=context", "--build-arg", "BUILDKIT_SYNTAX=dockerfile.v0", "-o", "out3")
    assert _names(tmp_path / "out3") == ["from-c"]


def test_an_output_is_written_through_a_link(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /\n")
    (tmp_path / "disk").mkdir()
    real, link, second = tmp_path / "disk" / "real", tmp_path / "out.tar", tmp_path / "second"
    real.write_text("old")
    real.chmod(0o666)
    (tmp_path / "disk").chmod(0o777)
    link.symlink_to("disk/real")
    plain.run("build", "c", "-q", "-o", "type=oci,dest=out.tar")
    assert link.readlink() == Path("disk/real")
    assert real.stat().st_size > 1000
    second.symlink_to("disk/new")
    plain.run("build", "c", "-q", "-o", "type=tar,dest=second")
    assert second.is_symlink() and (tmp_path / "disk" / "new").stat().st_size > 1000
    into = plain.run("build", "c", "-q", "-o", "type=tar,dest=/proc/self/fd/1").stdout
    assert into.startswith("x\0")


def test_an_output_whose_reader_goes(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /\n")
    (tmp_path / "c" / "x").write_bytes(os.urandom(1 << 20))
    process = plain.start("build", "c", "-o", "-")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) in (1, 141)
    process.stderr.close()
    assert "cannot archive" not in said and "Traceback" not in said


def test_a_context_compressed_by_zstd(plain: Dockc, tmp_path: Path) -> None:
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nCOPY x /y\n")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(tmp_path / "c", arcname=".")
    packed = compress_bytes(archive.getvalue(), Compression("zstd"))
    done = subprocess.run(plain.argv("build", "-q", "-o", "out", "-"), env=plain.environ(), cwd=tmp_path, input=packed, capture_output=True, check=False)
    assert (done.returncode, _names(tmp_path / "out")) == (0, ["y"]), done.stderr
