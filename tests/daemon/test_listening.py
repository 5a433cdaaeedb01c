"""Where a daemon listens, and the places that it is given to work in: what cannot be is said in one line, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import Daemon, answers, dockc
from tests.tools import need_root

#: Hands descriptors over as systemd does, and becomes the daemon.
_ACTIVATE = """
import os, socket, sys
kind, names, *command = sys.argv[1:]
kinds = {"unix": socket.AF_UNIX, "tcp": socket.AF_INET, "tcp6": socket.AF_INET6}
for number, name in enumerate(kind.split(","), 3):
    if name == "file":
        os.dup2(os.open(os.devnull, os.O_RDONLY), number)
    elif name == "datagram":
        os.dup2(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(), number)
    elif name == "pair":
        os.dup2(socket.socketpair()[0].detach(), number)
    else:
        made = socket.socket(kinds[name])
        made.bind(f"s{number}" if name == "unix" else ("", 0))
        made.listen()
        if name != "unix":
            open(f"port{number}", "w").write(str(made.getsockname()[1]))
        os.dup2(made.detach(), number)
    os.set_inheritable(number, True)
count = os.environ.get("COUNT", str(kind.count(",") + 1))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count, LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "dockc", *command])
"""


def activated(folder: Path, kind: str, names: str, *words: str, count: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _ACTIVATE, kind, names, "daemon", "--root", str(folder / "root"), *words]
    env = {**os.environ, "PYTHONPATH": os.getcwd()} | ({"COUNT": count} if count else {})  # noqa: PTH109
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    return said


@pytest.fixture(autouse=True)
def _root() -> None:
    need_root()


@pytest.mark.parametrize(
    ("kind", "address", "count", "words"),
    [
        ("file", "fd://", "", "descriptor 3: Socket operation on non-socket"),
        ("datagram", "fd://", "", "descriptor 3 is no socket that listens"),
        ("pair", "fd://", "", "descriptor 3 is no socket that listens"),
        ("unix", "fd://", "-5", "no number of sockets: '-5'"),
        ("unix", "fd://", "x", "no number of sockets: 'x'"),
        ("unix", "fd://", "99999999999", "no number of sockets"),
        ("unix", "fd://", "0", "systemd gave no sockets"),
        ("unix", "fd://other", "", "systemd gave no sockets of the name other"),
    ],
)
def test_descriptors_that_are_no_sockets(tmp_path: Path, kind: str, address: str, count: str, words: str) -> None:
    process = activated(tmp_path, kind, "a", "--addr", address, count=count)
    said = ended(process)
    assert process.returncode == 2
    assert words in said


def test_sockets_of_systemd_by_name_and_of_all_families(tmp_path: Path) -> None:
    process = activated(tmp_path, "unix,unix,tcp,tcp6", "a:b:c:c", "--addr", "fd://b", "--addr", "fd://c", "--addr", "fd://b")
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if line.count("running server") and "fd://c" in line:
            break
    assert sum("has no TLS" in line for line in said) == 2
    for address in (f"unix://{tmp_path}/s4", *(f"tcp://{host}:{(tmp_path / f'port{n}').read_text()}" for n, host in ((5, "127.0.0.1"), (6, "[::1]")))):
        assert dockc("buildctl", "--addr", address, "debug", "info").returncode == 0
    process.terminate()
    ended(process)
    assert process.returncode == 0


def refusing(folder: Path, *words: str, root: str = "root") -> str:
    done = dockc("daemon", f"--root={folder / root}", *words)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    return done.stderr


@pytest.mark.parametrize("group", ["99999999999999", "nosuchgroup", "4294967295"])
def test_a_group_that_there_is_not(tmp_path: Path, group: str) -> None:
    assert "group" in refusing(tmp_path, f"--addr=unix://{tmp_path}/s", f"--group={group}")
    assert not (tmp_path / "s").exists()


def test_what_stands_in_the_place_of_a_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link", "file/s"):
        assert f"cannot listen on unix://{tmp_path}/{name}: " in refusing(tmp_path, f"--addr=unix://{tmp_path}/{name}")
    assert (tmp_path / "file").read_text() == "x"
    assert not (tmp_path / "nowhere").exists()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    daemon = Daemon(tmp_path, f"--addr=unix://{tmp_path}/s")  # the same one twice
    assert answers(tmp_path / "s")
    assert daemon.stop() == 0
    assert daemon.said().count("running server") == 1


def spoil_id_by_a_folder(root: Path) -> None:
    (root / "workerid").mkdir(parents=True)


def spoil_scratch_by_a_link(root: Path) -> None:
    root.mkdir()
    (root.parent / "victim").mkdir()
    (root.parent / "victim" / "kept").touch()
    (root / "running").symlink_to(root.parent / "victim")


def spoil_root_by_a_file(root: Path) -> None:
    root.touch()


def spoil_lock_by_a_link(root: Path) -> None:
    root.mkdir()
    (root / "dockcd.lock").symlink_to("/dev/null")


@pytest.mark.parametrize("spoil", [spoil_id_by_a_folder, spoil_scratch_by_a_link, spoil_root_by_a_file, spoil_lock_by_a_link])
def test_a_root_that_cannot_be_worked_in(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "root")
    assert str(tmp_path / "root") in refusing(tmp_path, f"--addr=unix://{tmp_path}/s")
    if (tmp_path / "victim").exists():
        assert (tmp_path / "victim" / "kept").exists()


@pytest.mark.parametrize("found", [b"", b"\xff" * 3000, b"../x\n", b" \n"])
def test_an_id_that_is_none_is_made_anew(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "workerid").write_bytes(found)
    daemon = Daemon(tmp_path)
    done = dockc("buildctl", "--addr", daemon.address, "debug", "workers")
    assert (tmp_path / "root" / "workerid").read_text() in done.stdout
    assert daemon.stop() == 0


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_nothing_of_a_daemon_can_be_written_by_others(tmp_path: Path, umask: None) -> None:
    daemon = Daemon(tmp_path)
    assert daemon.stop() == 0
    root = tmp_path / "root"
    assert [path for path in (root, *root.iterdir()) if path.stat().st_mode & 0o022] == []


def test_its_terminal_ends(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    assert daemon.stop(signal.SIGHUP) == 0
    assert not (tmp_path / "s").exists()
    ignoring = Daemon(tmp_path, before=("nohup",))
    ignoring.process.send_signal(signal.SIGHUP)
    assert dockc("buildctl", "--addr", ignoring.address, "debug", "info").returncode == 0
    assert ignoring.stop() == 0


def test_its_root_is_removed_while_it_runs(tmp_path: Path) -> None:
    import shutil

    daemon = Daemon(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    shutil.rmtree(tmp_path / "root")
    for words in (("build", str(tmp_path), "--progress=none", "-otype=cacheonly"), ("buildctl", "du")):
        done = dockc(words[0], "--addr", daemon.address, *words[1:])
        assert done.returncode == 1
        assert "internal error" not in done.stderr
        assert "no such file" in done.stderr.lower()
    assert daemon.stop() in {0, 1}
    assert not (tmp_path / "s").exists()
    assert "Traceback" not in daemon.said()
