"""A disk without a byte or a file left: what frees space works there, needs nothing, and survives being killed."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockc.commands import store as commands
from dockc.errors import DiskFull, StoreError
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Manifest
from dockc.oci.mediatypes import OCI_CONFIG, OCI_MANIFEST
from dockc.oci.reference import parse_normalized
from dockc.runtime.content.errors import Free
from dockc.runtime.kernel import syscalls
from dockc.runtime.refs.policy import Rule
from dockc.runtime.source.registry import LocalNames
from dockc.runtime.store.worker import Worker, WorkerOptions
from dockc.solver.cache.storage.base import CacheResult
from tests.runtime.refs.test_refs import step
from tests.runtime.store_helpers import need_mounts

ALL = (Rule(all=True),)
PRUNABLE = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    need_mounts()
    place = tmp_path / "disk"
    place.mkdir()
    syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=24m,nr_inodes=1500")
    try:
        yield place
    finally:
        syscalls.umount(str(place), syscalls.MNT_DETACH)


@pytest.fixture
def root(disk: Path) -> Path:
    """A store with an image that has a name, a chain of records that nobody needs, and cache keys for all."""
    root = disk / "store"
    with Worker(WorkerOptions(root=root, snapshotter="native")) as worker:
        refs = worker.refs

        def big(place: Path) -> None:
            (place / "f").write_bytes(os.urandom(300_000))
            for number in range(20):
                (place / f"d{number}").mkdir(exist_ok=True)

        named = step(refs, None, big, name="named")
        (part,) = named.remote().layers
        config = refs.content.put(b"{}")
        manifest = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, config, 2), (part.descriptor,)).marshal()
        target = Descriptor(OCI_MANIFEST, refs.content.put(manifest), len(manifest))
        LocalNames(refs.content).put(parse_normalized("kept:1"), target, built=True)
        above = named
        for number in range(PRUNABLE - 1):
            made = step(refs, above, big, name=f"loose{number}")
            made.remote()
            worker.keys.add_result(f"key{number}", CacheResult(made.id, 1))
            above = made
        worker.refs.merge([above, step(refs, None, big, name="other")]).release()
    return root


def fill(root: Path, *, size: bool, files: bool) -> None:
    """Use up the disk beside the store."""
    disk = root.parent
    (disk / "files").mkdir()
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    if files:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (disk / "files" / str(number)).touch()
    if size:
        for piece in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while os.write(filler, bytes(piece)) == piece:
                    pass
    os.close(filler)
    left = Free.at(disk)
    assert (not size or left.size == 0) and (not files or left.files == 0)


def without_reserve(root: Path) -> None:
    for path in (root / "ballast", *(root / "spare").iterdir()):
        path.unlink()


def described(root: Path) -> list[str]:
    with Worker(WorkerOptions(root=root, snapshotter="native", borrow=True)) as worker:
        return sorted(record.description for record in worker.refs.usage())


def assert_sound(root: Path) -> None:
    report = commands.examine(root, fix=False, full=True)
    assert report.findings == ()
    assert [image.name for image in commands.images(root)] == ["kept:1"]
    assert not list((root / "snapshots").glob("~*"))


@pytest.mark.parametrize("reserve", [True, False], ids=["reserve", "no reserve"])
@pytest.mark.parametrize(("size", "files"), [(True, False), (False, True), (True, True)], ids=["bytes", "files", "both"])
def test_prune_frees_what_can_go(root: Path, *, size: bool, files: bool, reserve: bool) -> None:
    if not reserve:
        without_reserve(root)
    fill(root, size=size, files=files)
    pruned = commands.prune(root, ALL)
    assert {one.description for one in pruned.records} >= {"loose0", "loose1", "loose2", "loose3", "other"}
    assert pruned.size > PRUNABLE * 300_000
    assert Free.at(root).has(1 << 20, 30)
    assert described(root) == ["named"]
    assert_sound(root)
    with Worker(WorkerOptions(root=root, snapshotter="native")) as worker:
        assert worker.keys.result_ids() == ()


def test_where_nothing_can_go_prune_says_so(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    commands.prune(root, ALL)
    without_reserve(root)
    fill(root, size=True, files=True)
    pruned = commands.prune(root, ALL)
    assert (pruned.records, pruned.size) == ((), 0)
    assert "the disk is still full" in capfd.readouterr().err
    commands.forget_images(root, ["kept:1"])
    assert [one.description for one in commands.prune(root, ALL).records] == ["named"]


def test_only_what_frees_space_takes_the_reserve(root: Path) -> None:
    held = (root / "ballast").stat().st_blocks
    fill(root, size=True, files=False)
    with pytest.raises(DiskFull, match="is full"):
        Worker(WorkerOptions(root=root))
    assert (root / "ballast").stat().st_blocks == held
    with commands.opened(root) as worker:
        assert worker.refs.usage()
    assert (root / "ballast").stat().st_blocks == held
    assert Free.at(root).size == 0


def test_prune_while_others_take_all_that_comes_free(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that something was removed, another program fills the disk again."""
    without_reserve(root)
    fill(root, size=True, files=False)
    remove: Any = os.unlink

    def greedy(*args: object, **options: object) -> None:
        remove(*args, **options)
        with contextlib.suppress(OSError), (root.parent / "filler").open("ab", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    monkeypatch.setattr(os, "unlink", greedy)
    pruned = commands.prune(root, ALL)
    monkeypatch.undo()
    assert {one.description for one in pruned.records} >= {"loose0", "loose1", "loose2", "loose3", "other"}
    (root.parent / "filler").unlink()
    assert described(root) == ["named"]
    assert_sound(root)


def test_a_store_that_cannot_be_written(root: Path) -> None:
    """Names are looked at; taking one away is one sentence of error."""
    syscalls.mount(str(root), str(root), "", syscalls.MS_BIND)
    try:
        syscalls.mount("", str(root), "", syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY)
        assert [image.name for image in commands.images(root)] == ["kept:1"]
        with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
            commands.forget_images(root, ["kept:1"])
    finally:
        syscalls.umount(str(root), syscalls.MNT_DETACH)


def test_a_store_that_is_made_by_looking_at_it_is_private(tmp_path: Path) -> None:
    assert commands.images(tmp_path / "new" / "store") == []
    assert (tmp_path / "new" / "store").stat().st_mode & 0o777 == 0o700


_KILLED = """
import os, sys
count, at = 0, int(sys.argv[2])
def hook(event, args):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "sqlite3.connect"):
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
sys.addaudithook(hook)
from pathlib import Path
from dockc.commands.store import prune
from dockc.runtime.refs.policy import Rule
prune(Path(sys.argv[1]), (Rule(all=True),))
print(count)
"""


def test_killed_anywhere_prune_leaves_a_sound_store(root: Path) -> None:
    """Of a record that was going nothing is left to be found wrong."""
    without_reserve(root)
    fill(root, size=True, files=True)
    at = 3
    while True:
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(root), str(at)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        report = commands.examine(root, fix=False, full=True) if Free.at(root).has(1 << 20, 40) else None
        assert report is None or report.findings == ()
        at = at * 2 if report is None else at + 17
    assert described(root) == ["named"]
    assert_sound(root)
