"""kill -9 anywhere: the next process opens the store, finds what was finished, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dockc.errors import StoreError
from dockc.oci import digest as digests
from dockc.runtime.content.store import ContentStore
from dockc.runtime.kernel import syscalls
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.store.doctor import examine
from tests.runtime.refs.test_refs import names, step
from tests.runtime.store_helpers import Row, folder, layer, make_tar, names_in, need_mounts, write

PRELUDE = """
import os, sys, threading, time
from pathlib import Path
from dockc.runtime.executor import rootless
rootless.enter_build_namespace()
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.types import LayerDescriptor, Sharing
from dockc.oci.descriptor import Descriptor
refs = RefManager(Path(sys.argv[1]), snapshotter_name=sys.argv[2])
def ready(*words):
    print(*words, flush=True)
    time.sleep(60)
"""


def run_and_kill(root: Path, code: str, *more: str, kind: str = "overlay") -> list[str]:
    """Run code on the store until it says it is ready, then kill it; returns its words."""
    command = [sys.executable, "-c", PRELUDE + code, str(root), kind, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    assert words, "the process ended early"
    return words


def is_clean(refs: RefManager) -> bool:
    """Nothing of other processes is left."""
    own = refs.staging.name
    return (
        [path.name for path in (refs.root / "staging").iterdir()] == [own]
        and [path.name for path in (refs.root / "leases").iterdir()] == [own]
        and {path.name for path in (refs.root / "snapshots").iterdir()}
        <= {record.id for record in refs.core.db.records()}
        and not [path for path in (refs.root / "content/ingest").iterdir() if path.name.startswith("new-")]
    )


@pytest.fixture(autouse=True)
def mounts() -> None:
    need_mounts()


@pytest.mark.parametrize("kind", ["overlay", "native"])
def test_killed_inside_a_step(tmp_path: Path, kind: str) -> None:
    with RefManager(tmp_path, snapshotter_name=kind) as refs:
        base = step(refs, None, write(a="1"))
        words = run_and_kill(
            tmp_path,
            "base = refs.get(sys.argv[3]); m = refs.new_mutable(base); c = m.mount(); r = c.__enter__()\n"
            "(r / 'b').write_text('half'); (r / 'a').unlink(); w = refs.content.writer(); w.write(b'x'); ready(m.id)",
            base.id,
            kind=kind,
        )
        assert refs.core.db.is_held(words[0])
    with RefManager(tmp_path, snapshotter_name=kind) as refs:
        assert is_clean(refs)
        assert [record.id for record in refs.usage()] == [base.id]
        assert not any(record.in_use for record in refs.usage())
        with refs.get(base.id) as again:
            assert names(again) == ["a"]
        assert examine(refs).healthy
        assert len(refs.prune().records) == 1


def test_a_living_process_is_not_cleaned_away(tmp_path: Path) -> None:
    code = "m = refs.new_mutable(); c = m.mount(); r = c.__enter__(); (r / 'b').write_text('half'); print(m.id, flush=True)\n"
    code += "sys.stdin.readline(); (r / 'c').touch(); c.__exit__(None, None, None); print(m.commit().id, flush=True)"
    command = [sys.executable, "-c", PRELUDE + code, str(tmp_path), "overlay"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        made = process.stdout.readline().strip()
        with RefManager(tmp_path) as refs:
            assert [record.in_use for record in refs.usage()] == [True]
            assert refs.prune().records == ()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == made
    with RefManager(tmp_path) as refs, refs.get(made) as ref:
        assert names(ref) == ["b", "c"]


def test_killed_while_unpacking(tmp_path: Path) -> None:
    with RefManager(tmp_path) as refs:
        rows = [folder("d"), *(Row(f"d/{n}", b"x" * 2000) for n in range(6000))]
        image = layer(refs, make_tar(rows))
        code = (
            "l = LayerDescriptor(sys.argv[3], Descriptor('', sys.argv[4], int(sys.argv[5])))\n"
            "r = refs.from_layers([l]); threading.Thread(target=r.prefetch, daemon=True).start()\n"
            "while not any(p.name.startswith('unpack') for p in refs.staging.iterdir()): pass\n"
            "ready(r.id)"
        )
        found = image.descriptor
        words = run_and_kill(tmp_path, code, image.diff_id, found.digest, str(found.size))
    with RefManager(tmp_path) as refs:
        assert is_clean(refs)
        assert list((refs.root / "snapshots").iterdir()) == []
        assert refs.exists(words[0])
        with refs.get(words[0]) as ref:
            assert len(names(ref)) == 6001


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """A process that makes, commits, exports and removes as fast as it can, killed twelve times."""
    code = (
        "print('ready', flush=True)\nparent = None\n"
        "for n in range(100000):\n"
        "    m = refs.new_mutable(parent)\n"
        "    with m.mount() as r: (r / f'f{n % 7}').write_text(str(n) * 100)\n"
        "    made = m.commit(); made.set_meta('n', str(n).encode())\n"
        "    if n % 3 == 0: made.remote()\n"
        "    with refs.cache_dir('k', Sharing.LOCKED) as c: (c / 'x').write_text(str(n))\n"
        "    if parent: parent.release()\n"
        "    parent = made if n % 5 else (made.release() or refs.prune() and None)\n"
    )
    for delay in range(12):
        command = [sys.executable, "-c", PRELUDE + code, str(tmp_path), "overlay"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.02 + delay * 0.031)
            process.kill()
        with RefManager(tmp_path) as refs:
            assert is_clean(refs)
            report = examine(refs)
            assert report.healthy, report
            for record in refs.usage():
                assert not record.in_use
                if not record.mutable:
                    with refs.get(record.id) as ref, ref.mount() as root:
                        assert all((root / name).read_text() for name in names_in(root))
    with RefManager(tmp_path) as refs:
        refs.prune()
        assert list((refs.root / "snapshots").iterdir()) == []
        assert list(refs.content.digests()) == []


def test_many_processes_at_once(tmp_path: Path) -> None:
    with RefManager(tmp_path) as refs:
        chain = [
            layer(refs, make_tar([folder(f"d{n}"), *(Row(f"d{n}/{i}", b"y" * 500) for i in range(300))]))
            for n in range(3)
        ]
        arguments = [f"{item.diff_id},{item.descriptor.digest},{item.descriptor.size}" for item in chain]
        code = (
            "ls = [LayerDescriptor(a, Descriptor('', b, int(c))) for a, b, c in (x.split(',') for x in sys.argv[3:])]\n"
            "r = refs.from_layers(ls); m = refs.new_mutable(r)\n"
            "with m.mount() as p: assert len(os.listdir(p)) == 3; (p / 'mine').write_text('1')\n"
            "t = m.commit(); print(r.id, t.remote().descriptors[3].digest, flush=True); refs.close()"
        )
        command = [sys.executable, "-c", PRELUDE + code, str(tmp_path), "overlay", *arguments]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        said = [process.communicate()[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0] * 6
        assert len({words[0] for words in said}) == 1, "one image, unpacked once"
        assert is_clean(refs)
        assert examine(refs).healthy


def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=3m")
    try:
        with RefManager(place / "store") as refs:
            big = make_tar([Row(f"f{n}", os.urandom(400_000)) for n in range(4)])
            image = refs.from_layers([layer(refs, big)])
            with pytest.raises(StoreError) as caught, image.mount():
                pass
            assert caught.value.message.startswith(
                f"the disk of the store {refs.root} is full (unpacking layer sha256:"
            )
            assert list((refs.root / "snapshots").iterdir()) == []
            assert all(path.name.startswith("empty") for path in refs.staging.iterdir())
            made = refs.new_mutable()
            with made.mount() as root:
                (root / "f").write_bytes(os.urandom(700_000))
            done = made.commit()
            with pytest.raises(StoreError, match="is full"):
                for _ in range(4):
                    step(refs, done, lambda root: (root / "g").write_bytes(os.urandom(250_000))).remote()
                    _fill(refs.content)
            image.release()
            done.release()
            assert refs.prune().size > 1_500_000
            assert names(step(refs, None, write(a="1"))) == ["a"]
            assert examine(refs).healthy
    finally:
        syscalls.umount(str(place), syscalls.MNT_DETACH)


def _fill(content: ContentStore) -> None:
    content.put(os.urandom(300_000))


def test_a_store_of_the_future_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with RefManager(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreError, match="has format 99; this program knows up to 2"):
        RefManager(tmp_path)


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    with RefManager(tmp_path):
        pass
    (tmp_path / "store.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"the database of the store .* failed: file is not a database"):
        RefManager(tmp_path)


def test_mounts_left_in_a_shared_namespace_are_not_reached_into(tmp_path: Path) -> None:
    with RefManager(tmp_path) as refs:
        pass
    dead = tmp_path / "staging" / "1-dead" / "mnt"
    dead.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    syscalls.mount(str(victim), str(dead), None, syscalls.MS_BIND)
    with RefManager(tmp_path) as refs:
        assert is_clean(refs)
    assert (victim / "kept").exists()
    assert digests.is_valid(digests.from_bytes(b""))
