"""The same build by dockc and by BuildKit: with times clamped and nothing compressed, equal archives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.registry_servers import need, real_registry

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.slow]

EPOCH = "1700000000"
PLAIN = "rewrite-timestamp=true,compression=uncompressed,name=me/x:1"
ANNOTATIONS = (
    "annotation.a=b,annotation-index.i=j,annotation-index-descriptor.k=l,"
    "annotation-manifest[linux/arm64].z=1,annotation-manifest-descriptor.q=2"
)
DOCKERFILE = """\
FROM scratch AS a
COPY --chmod=640 hello.txt /x/hello.txt
WORKDIR /w/d
COPY hello.txt sub ./
FROM a
ENV A=b
COPY --from=a --chown=3:4 /x /y
ADD t.tar /u/
LABEL l="<&>"
CMD ["/x"]
HEALTHCHECK CMD true
EXPOSE 80
VOLUME /v
"""


@pytest.fixture(scope="module")
def buildctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A BuildKit daemon of our own; yields the start of a `buildctl` command line that speaks to it."""
    daemon, client = need("buildkitd"), need("buildctl")
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root")
    folder = tmp_path_factory.mktemp("buildkitd")
    address = f"unix://{folder}/s"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [daemon, "--root", folder / "root", "--addr", address, "--oci-worker-snapshotter=native"],
            stdout=log,
            stderr=log,
        )
        try:
            command = [client, "--addr", address]
            deadline = time.monotonic() + 40
            while subprocess.run([*command, "debug", "workers"], capture_output=True, check=False).returncode != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("buildkitd does not run here")
                time.sleep(0.3)
            yield command
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "hello.txt").write_text("hi\n")
    (folder / "sub/f").write_text("f")
    (folder / "sub/link").symlink_to("../x")
    with tarfile.open(folder / "t.tar", "w") as archive:
        archive.add(folder / "sub", "in")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def both(buildctl: list[str], context: Path, output: str, *options: str) -> tuple[Path, Path]:
    """Where the outputs of dockc and of BuildKit are."""
    folder = context.parent
    given = [f"build-arg:SOURCE_DATE_EPOCH={EPOCH}", *options]
    opts = [part for option in given for part in ("--opt", option)]
    run(
        *(*buildctl, "build", "--frontend", "dockerfile.v0", "--local", f"context={context}"),
        *("--local", f"dockerfile={context}", *opts, "-o", f"{output},dest={folder}/theirs"),
    )
    os.environ["DOCKC_STORE"] = str(folder / "store")
    try:
        run(sys.executable, "-m", "dockc", "build", context, *opts, "-o", f"{output},dest={folder}/ours")
    finally:
        del os.environ["DOCKC_STORE"]
    return folder / "ours", folder / "theirs"


def listing(root: Path) -> list[tuple[object, ...]]:
    """All that one can see of a tree, but for the times of directories made now."""
    found: list[tuple[object, ...]] = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path.relative_to(root)), status.st_mode, status.st_uid, status.st_gid, data))
    return found


@pytest.mark.parametrize(
    ("output", "options"),
    [
        (f"type=oci,{PLAIN}", ()),
        (f"type=docker,{PLAIN}", ()),
        (f"type=docker,{PLAIN},oci-mediatypes=false", ()),
        ("type=tar", ()),
        ("type=tar", ("platform=linux/amd64,linux/arm64",)),
        (f"type=oci,{PLAIN},{ANNOTATIONS}", ("platform=linux/amd64,linux/arm64",)),
    ],
)
def test_equal_archives(buildctl: list[str], context: Path, output: str, options: tuple[str, ...]) -> None:
    ours, theirs = both(buildctl, context, output, *options)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("type=local", ()),
        ("type=local", ("platform=linux/amd64,linux/arm64",)),
        (f"type=oci,tar=false,{PLAIN}", ()),
        ("type=oci,tar=false,rewrite-timestamp=true,compression=uncompressed", ()),
    ],
)
def test_equal_directories(buildctl: list[str], context: Path, output: str, options: tuple[str, ...]) -> None:
    ours, theirs = both(buildctl, context, output, *options)
    shutil.rmtree(theirs / "ingest", ignore_errors=True)  # what its content store works in
    assert listing(ours) == listing(theirs)
    assert ours.stat().st_mode == theirs.stat().st_mode or "oci" in output
    if "local" in output:
        times = [{str(p.relative_to(top)): p.lstat().st_mtime for p in top.rglob("*")} for top in (ours, theirs)]
        assert times[0] == times[1]


def test_equal_images_on_a_base_that_keeps_its_times(buildctl: list[str], context: Path, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as registry:
        run(
            *(*buildctl, "build", "--frontend", "dockerfile.v0", "--local", f"context={context}"),
            *("--local", f"dockerfile={context}", "-o", f"type=image,name={registry}/base:1,push=true"),
        )
        (context / "Dockerfile").write_text(
            f"FROM {registry}/base:1\nENV Z=1\nCOPY hello.txt /new\nONBUILD RUN x\nLABEL q=1\n"
        )
        for output in (f"type=oci,{PLAIN}", f"type=docker,{PLAIN},oci-mediatypes=false,force-compression=true"):
            ours, theirs = both(buildctl, context, output)
            assert ours.read_bytes() == theirs.read_bytes()
