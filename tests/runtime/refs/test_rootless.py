"""The store of an ordinary user, in a user namespace with one id: nothing that a layer says gets lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.store_helpers import Row, folder, make_tar, symlink

REPO = Path(__file__).parent.parent.parent.parent

# Everything is imported before root is given up: the interpreter may lie where only root can read.
SCRIPT = """
import concurrent.futures.thread, gzip, io, json, os, sys, tarfile
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from dockc.errors import DockcError
from dockc.runtime.archive import compress
from dockc.runtime.executor import rootless
from dockc.runtime.kernel import syscalls
from dockc.runtime.refs import difference
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.types import RemoteOptions
from dockc.runtime.archive.compress import Compression
from tests.runtime.store_helpers import layer, tree
compress._isal(), compress._zstd()
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(4321, 4321, 4321); os.setresuid(4321, 4321, 4321)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
try:
    space = rootless.enter_build_namespace()
except DockcError as error:
    print(json.dumps({"skip": error.message})); raise SystemExit
out = {"single": space.single_id}
with RefManager(Path(sys.argv[2]) / "store", snapshotter_name=sys.argv[3]) as refs:
    base = refs.from_layers([layer(refs, (Path(sys.argv[2]) / "a.tar").read_bytes()),
                             layer(refs, (Path(sys.argv[2]) / "b.tar").read_bytes())])
    with base.mount() as root:
        out["base"] = sorted(tree(root)); out["owner"] = tree(root)["d/f"].owner
    made = refs.new_mutable(base)
    with made.mount() as root:
        (root / "d/f").open("a").write("more"); (root / "d/null").chmod(0o600)
        (root / "d").chmod(0o1777); (root / "gone2").unlink(); (root / "new").write_text("n")
        os.rename(root / "again", root / "moved") if sys.argv[3] == "native" else None
    done = made.commit()
    with done.mount() as root: out["top"] = sorted(tree(root))
    blob = done.remote(RemoteOptions(Compression("uncompressed"))).descriptors[2]
    archive = tarfile.open(fileobj=io.BytesIO(refs.content.read(blob.digest)))
    out["tar"] = {m.name: [m.uid, m.gid, m.type.decode(), m.devmajor, m.devminor] for m in archive}
    with refs.cache_dir("k", base=base) as place: out["cache"] = tree(place)["d/f"].owner
    done.release(); base.release(); refs.prune()
    out["left"] = os.listdir(refs.root / "snapshots"), list(refs.content.digests())
print(json.dumps(out))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for another user. Each session of pytest closes the directory that all of their `tmp_path` lie in."""
    with tempfile.TemporaryDirectory(prefix="dockc-rootless-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.parametrize("kind", ["overlay", "native"])
def test_ownership_and_devices_survive_a_single_id(place: Path, kind: str) -> None:
    rows = [
        folder("d", 0o2755, uid=42, gid=43),
        Row("d/f", b"x", mode=0o4755, uid=42, gid=43),
        Row("d/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        symlink("d/s", "f"),
        Row("gone1"),
        Row("gone2"),
        folder("again"),
        Row("again/old"),
    ]
    (place / "a.tar").write_bytes(make_tar(rows))
    (place / "b.tar").write_bytes(
        make_tar([Row(".wh.gone1"), folder("again"), Row("again/.wh..wh..opq"), Row("again/new")])
    )
    if os.geteuid() == 0:
        os.chown(place, 4321, 4321)
    command = [sys.executable, "-c", SCRIPT, str(REPO), str(place), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    if "skip" in out:
        pytest.skip(f"no user namespace: {out['skip']}")
    if not out["single"]:
        pytest.skip("this user has subordinate ids")
    assert out["owner"] == [42, 43]
    assert out["base"] == [".", "again", "again/new", "d", "d/f", "d/null", "d/s", "gone2"]
    moved = ["moved", "moved/new"] if kind == "native" else ["again", "again/new"]
    assert out["top"] == sorted([".", "d", "d/f", "d/null", "d/s", "new", *moved])
    tar = out["tar"]
    assert tar["d"][:3] == [42, 43, "5"]
    assert tar["d/f"][:3] == [42, 43, "0"]
    assert tar["d/null"] == [0, 0, "3", 1, 3]
    assert tar[".wh.gone2"][2] == "0"
    assert tar["new"][:2] == [0, 0]
    assert out["cache"] == [42, 43]
    assert out["left"] == [[], []]
