"""In a user namespace with one id only, owners and devices are remembered instead of made."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.runtime.fsutil import marks, meta
from dockc.runtime.fsutil.copy import copy
from dockc.runtime.fsutil.copyentry import CopyOptions
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.users import Owner
from dockc.runtime.kernel import syscalls
from dockc.runtime.refs.contenthash import Selector, checksum_directory

NEWUSER = 0x10000000


def facts(root: Path, name: str) -> list[int]:
    fd = os.open(root, os.O_RDONLY)
    try:
        found = meta.read_facts(fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
    finally:
        os.close(fd)
    return [found.owner.uid, found.owner.gid]


def work(base: Path) -> dict[str, object]:
    """What the child does inside the namespace."""
    with Root(base / "source") as source, Root(base / "target") as target:
        copy(source, "/", target, "/", CopyOptions(owner=Owner(1000, 1001), dir_contents=True))
        copy(target, "/dir", target, "/again", CopyOptions())
        copy(target, "/dir", target, "/mine", CopyOptions(owner=Owner(0, 0)))
        (base / "target/over/dir").mkdir(parents=True)
        copy(source, "/", target, "/over", CopyOptions(owner=Owner(5, 5), dir_contents=True))
        copy(source, "/", target, "/over", CopyOptions(owner=Owner(0, 0), dir_contents=True))
        fd = target.open_dir("/")
        try:
            meta.make_node(fd, "null", stat.S_IFCHR, os.makedev(1, 3), 0o644, "/null")
        finally:
            os.close(fd)
        copy(target, "/null", target, "/null2", CopyOptions())
        fd = target.open_dir("/")
        try:
            node = meta.node_of(fd, "null2", os.stat("null2", dir_fd=fd))
        finally:
            os.close(fd)
    return {
        "dir": facts(base / "target", "dir"),
        "file": facts(base / "target/dir", "file"),
        "again": facts(base / "target/again", "file"),
        "mine": facts(base / "target/mine", "file"),
        "over": facts(base / "target/over", "dir"),
        "node": node,
        "digest": checksum_directory(base / "target", Selector("/dir")),
    }


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of its own: pytest's are closed to other users, and closed again by the next session."""
    folder = Path(tempfile.mkdtemp(prefix="dockc-single-id-")).resolve()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stores_of_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process has a store open that the ordinary user cannot enter, and one that is gone."""
    closed, gone = tmp_path_factory.mktemp("closed"), tmp_path_factory.mktemp("gone")
    closed.chmod(0o700)
    for store in (closed, gone):
        marks.opened(store, store)
    gone.rmdir()
    yield
    for store in (closed, gone):
        marks.closed(store)


@pytest.mark.root
@pytest.mark.usefixtures("stores_of_others")
def test_owners_and_devices(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming an ordinary user needs root")
    (tmp_path / "source/dir").mkdir(parents=True)
    (tmp_path / "source/dir/file").write_text("text")
    (tmp_path / "source/dir/file").chmod(0o4755)
    (tmp_path / "target").mkdir()
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 65534, 65534)
    (tmp_path / "source/dir/file").chmod(0o4755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer: object = "nothing"
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                syscalls.prctl(4, 1)  # PR_SET_DUMPABLE, which setuid took away
                syscalls.unshare(NEWUSER)
                Path("/proc/self/setgroups").write_text("deny")
                Path("/proc/self/uid_map").write_text("0 65534 1")
                Path("/proc/self/gid_map").write_text("0 65534 1")
            except OSError as error:
                answer = f"skip: no user namespaces here: {error}"
            else:
                answer = work(tmp_path)
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = json.load(stream)
    os.waitpid(child, 0)
    if isinstance(said, str) and said.startswith("skip: "):
        pytest.skip(said)
    assert isinstance(said, dict), said
    digest = said.pop("digest")
    assert said == {
        "dir": [1000, 1001],
        "file": [1000, 1001],
        "again": [1000, 1001],
        "mine": [0, 0],
        "over": [0, 0],
        "node": [stat.S_IFCHR, os.makedev(1, 3)],
    }
    # The same tree with real owners has the same digest.
    (tmp_path / "real/dir").mkdir(parents=True)
    (tmp_path / "real/dir/file").write_text("text")
    (tmp_path / "real/dir").chmod((tmp_path / "target/dir").stat().st_mode & 0o7777)
    for path in (tmp_path / "real/dir", tmp_path / "real/dir/file"):
        os.chown(path, 1000, 1001)
    (tmp_path / "real/dir/file").chmod(0o4755)
    assert checksum_directory(tmp_path / "real", Selector("/dir")) == digest
