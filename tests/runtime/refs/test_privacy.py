"""Nobody but the store's owner gets at what lies in it, however the store's directory was made."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.privacy import FOLDERS
from dockc.runtime.store.worker import Worker, WorkerOptions


def modes(root: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.lstat().st_mode) for entry in root.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_in_a_store_is_its_owners(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "s"
    root.mkdir(0o755)
    before = os.umask(umask)
    try:
        with Worker(WorkerOptions(root=root, snapshotter="native")) as worker:
            worker.keys.flush()
            list(worker.keys.keys())
            assert worker.refs.opened_to_others == ()
            found = modes(root)
    finally:
        os.umask(before)
    assert {"store.db", "store.db-wal", "cache.db", "cache.db-wal", *FOLDERS} - {"squashed"} <= set(found)
    assert not {name: oct(mode) for name, mode in found.items() if mode & 0o077}


def test_an_open_store_is_closed_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "s"
    with RefManager(root, snapshotter_name="native"):
        pass
    root.chmod(0o777)
    (root / "snapshots").chmod(0o755)
    (root / "store.db").chmod(0o644)
    with RefManager(root, snapshotter_name="native") as refs:
        said = " ".join(refs.opened_to_others)
    assert "other users could write to the store" in said
    assert "other users could enter the store" in said and "(snapshots, store.db)" in said
    assert said.split() == " ".join(record.getMessage() for record in caplog.records).split()
    assert stat.S_IMODE(root.stat().st_mode) == 0o755, (
        "whether others may look at the outer directory is not our matter"
    )
    assert modes(root)["snapshots"] == 0o700
    with RefManager(root, snapshotter_name="native") as refs:
        assert refs.opened_to_others == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs uid 0")
def test_another_user_cannot_run_what_lies_in_a_layer() -> None:
    # Not in `tmp_path`: each session of pytest closes the directory above those of all others.
    with tempfile.TemporaryDirectory(prefix="dockc-privacy-") as folder:
        _refused(Path(folder))


def _refused(top: Path) -> None:
    top.chmod(0o711)
    root = top / "s"
    root.mkdir(0o755)
    with RefManager(root, snapshotter_name="native") as refs, refs.new_mutable() as made, made.mount() as place:
        program = root / "snapshots" / made.id / "fs" / "program"
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o4755)
        assert place.is_dir()
        script = (
            "import os, sys\nos.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
            f"os.chdir({str(root)!r})\n"
            "try: os.execv(sys.argv[1], sys.argv[1:])\nexcept PermissionError: sys.exit(77)"
        )
        done = subprocess.run([sys.executable, "-I", "-S", "-c", script, str(program)], check=False)
    assert done.returncode == 77
