"""The resident builder: a build is the same with it as without, whoever calls, and whatever becomes of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dockc.base.resident import Request
from dockc.daemon import groups, start
from dockc.daemon.lock import take
from dockc.engine import settings
from dockc.errors import UsageError
from dockc.line import resident as way
from dockc.runtime.executor.cgroup import hierarchies
from tests.daemon.test_daemon import Daemon, answers, until
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
SAYS = "built by the daemon of this store"
#: Runs the command line and tells what was loaded.
SHOW = "import os, sys\nend = os._exit\ndef show(status):\n    sys.stderr.write('LOADED ' + ' '.join(sys.modules) + '\\n')\n    sys.stderr.flush()\n    end(status)\nos._exit = show\nfrom dockc.__main__ import main\nmain()"

_LONG = str(30_000_000 + os.getpid())
"""Seconds that a step sleeps, told from those of others who run these tests on the same machine."""


class Store:
    """A store, its resident if there is one, and builds in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "DOCKC_STORE": str(folder / "store"), "XDG_CONFIG_HOME": str(folder / "config")}
        self.environment.pop("DOCKC_RESIDENT", None)
        self.process: subprocess.Popen[bytes] | None = None
        self.context = shell_context(folder / "context")
        (self.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nARG WORD=none\nRUN echo $WORD > /made\n")

    @property
    def socket(self) -> Path:
        return self.folder / "store" / "daemon.sock"

    def begin(self, *options: str, code: str = "from dockc.__main__ import main; main()") -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "daemon", "--resident", *options], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: answers(self.socket) or self.process is None or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self.said()
            assert not self.socket.exists()
        if self.process is not None:
            assert "Traceback" not in self.said(), self.said()

    def start(self, *arguments: str, by: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[bytes]:
        options: dict[str, Any] = {"env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.context} | more
        return subprocess.Popen([*by, sys.executable, "-m", "dockc", "build", ".", "--progress=plain", *arguments], **options)

    def build(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, (out or b"").decode("latin-1"), (err or b"").decode())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_a_build_is_the_same(store: Store, tmp_path: Path) -> None:
    alone = store.build("--iidfile", str(tmp_path / "id"))
    assert alone.returncode == 0, alone.stderr
    assert SAYS not in alone.stderr
    expected = (tmp_path / "id").read_text()
    store.begin()
    by = store.build("--iidfile", str(tmp_path / "id"))
    assert by.returncode == 0, by.stderr
    assert SAYS in by.stderr
    assert "0 steps run, 2 cached" in by.stderr
    assert (tmp_path / "id").read_text() == expected

    # Directory, umask, environment and streams are the caller's.
    def narrow() -> None:
        os.umask(0o027)

    done = store.build("--build-arg=WORD", "-o../out", "--metadata-file=../meta", preexec_fn=narrow, env={**store.environment, "WORD": "told"})
    assert done.returncode == 0, done.stderr
    assert SAYS in done.stderr
    assert (tmp_path / "out" / "made").read_text() == "told\n"
    assert (tmp_path / "meta").stat().st_mode & 0o777 == 0o640
    done = store.build("-otype=tar,dest=-")
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(done.stdout.encode("latin-1"))
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert "made" in archive.getnames()
    text = b"FROM scratch\nCOPY busybox /b\n"
    process = store.start("-f-", stdin=subprocess.PIPE)
    _, err = process.communicate(text, timeout=120)
    assert process.returncode == 0, err
    assert SAYS.encode() in err
    quiet = store.build("--quiet")
    assert (quiet.stdout.startswith("sha256:"), quiet.stderr) == (True, "")

    # So are errors and their statuses.
    for options in (("--target=none",), ("--nonsense",), ("-f", "missing"), ("--build-context", "x")):
        mine = store.build(*options)
        other = store.build(*options, env={**store.environment, "DOCKC_RESIDENT": "off"})
        said = "".join(line for line in mine.stderr.splitlines(keepends=True) if SAYS not in line)
        assert (mine.returncode, said) == (other.returncode, other.stderr)

    # Two at once, and a closed stream.
    both = [store.start(f"--build-arg=WORD={number}") for number in range(2)]
    for one in both:
        one.communicate(timeout=120)
        assert one.returncode == 0
    closed = store.start(preexec_fn=lambda: os.close(1), stdout=None)
    assert (closed.communicate(timeout=120), closed.returncode)[1] == 0


def test_the_way_is_short(store: Store) -> None:
    """What the client loads is counted; what a build loads is there for the next one."""
    code = (
        "from dockc.daemon.resident import Resident\nstudy = Resident._study\n"
        "def told(self, names):\n    print('NEW', len([n for n in names.split() if n.startswith(b'dockc.')]), flush=True)\n    study(self, names)\n"
        "Resident._study = told\nfrom dockc.__main__ import main\nmain()"
    )
    store.begin(code=code)
    counts = []
    for _ in range(4):
        before = len(store.said().splitlines())
        done = store.build()
        assert done.returncode == 0, done.stderr
        counts.append(sum(int(line.split()[1]) for line in store.said().splitlines()[before:] if line.startswith("NEW")))
    assert counts[0] > 50  # they are told before the client is
    assert counts[2:] == [0, 0], counts
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, "build", ".", "--progress=none"], env=store.environment, cwd=store.context, capture_output=True, text=True, check=True
    )
    loaded = set(shown.stderr.rpartition("LOADED ")[2].split())
    bare = set(subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True).stdout.split())
    assert not {"asyncio", "google", "google.protobuf", "h2", "socket", "json", "typing", "re", "pathlib", "dockc.commands.build"} & (loaded - bare)
    assert len(loaded - bare) < 25, sorted(loaded - bare)


def _made_groups(name: str) -> list[Path]:
    """A group in each hierarchy in which one can be made."""
    made = []
    for top in hierarchies():
        group = top / name
        try:
            group.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (group / "cgroup.clone_children").exists() and (group / file).exists():
                    (group / file).write_text((top / file).read_text())
        except OSError:
            continue
        made.append(group)
    return made


def test_a_build_is_in_the_control_groups_of_its_command(store: Store) -> None:
    """Its steps too, that of a process which has rested, and nothing of it stays there."""
    mine = _made_groups(f"dockc-test-{os.getpid()}")
    if not mine:
        pytest.skip("no control group can be made here")
    join = "".join(f"echo $$ > {group}/cgroup.procs && " for group in mine)
    try:
        store.begin()
        assert store.build().returncode == 0
        before = store.build()
        within = store.build(by=("sh", "-c", f'{join} exec "$@"', "sh"))  # that process goes on as this one
        assert [_who(before), before.stderr.count("CACHED")] == [_who(within), within.stderr.count("CACHED")]
        assert _who(store.build()) == _who(within)  # and once more from outside
        until(lambda: not any((group / "cgroup.procs").read_text() for group in mine))
        (store.context / "Dockerfile").write_text(f"FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep {_LONG} || true\n")
        running = store.start(by=("sh", "-c", f'{join} exec "$@"', "sh"))
        steps: list[int] = []

        def runs() -> bool:
            steps[:] = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _words(path) == ["sleep", _LONG]]
            return bool(steps)

        until(runs)
        members = [set((group / "cgroup.procs").read_text().split()) for group in mine]
        assert all({str(running.pid), str(steps[0])} <= one for one in members)
        os.kill(steps[0], signal.SIGTERM)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 0
        assert SAYS in err.decode()
        until(lambda: not any((group / "cgroup.procs").read_text() for group in mine))
    finally:
        until(lambda: not any((group / "cgroup.procs").read_text() for group in mine))
        for group in mine:
            group.rmdir()


def _who(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr.partition(f"{SAYS} (process ")[2].partition(")")[0]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("latin-1").split("\0")[:-1]
    except OSError:
        return []


def test_limits_of_groups_that_a_build_cannot_be_moved_to(tmp_path: Path) -> None:
    """What differs is what not both are in: of the two branches of the tree, each group counts."""
    top = tmp_path / "top"
    for name in ("user/a", "user/b/deep", "system"):
        (top / name).mkdir(parents=True)

    def differ(one: str, other: str) -> bool:
        return groups.differ_in_limits({str(top): str(top / one)}, {str(top): str(top / other)})

    files = {"memory.max": "max", "pids.max": "max", "cpu.max": "max 100000", "cpu.weight": "100", "cpuset.cpus": "", "io.max": ""}
    for place in (top, *(path for path in top.rglob("*") if path.is_dir())):
        for name, text in files.items():
            (place / name).write_text(f"{text}\n")
    assert not differ("user/a", "user/b/deep")
    for name, text in {"memory.max": "1000000", "pids.max": "7", "cpu.max": "50000 100000", "cpu.weight": "7", "cpuset.cpus": "0", "io.max": "8:0 rbps=1"}.items():
        (top / "user" / "b" / name).write_text(text)
        assert differ("user/a", "user/b/deep")
        assert differ("user/b/deep", "system")
        assert not differ("user/b", "user/b/deep")
        assert not differ("user/a", "system")
        (top / "user" / "b" / name).write_text(files[name])
    (top / "memory.max").write_text("1")  # it holds for both
    assert not differ("user/a", "system")
    assert differ("user/gone", "user/a")


def test_who_is_not_served(store: Store) -> None:
    """Another version and other rights: the build is done as ever, and it is said why."""
    code = "import dockc.base.resident as r\nr.VERSION = '9.9'\nfrom dockc.__main__ import main\nmain()"
    store.begin(code=code)
    done = store.build()
    assert done.returncode == 0, done.stderr
    assert "another dockc" in done.stderr
    assert SAYS not in done.stderr
    store.end()
    store.begin()
    assert SAYS in store.build().stderr
    for by in (("unshare", "--net"), ("setpriv", "--bounding-set=-net_raw", "--"), ("setpriv", "--groups=12345", "--")):
        done = store.build(by=by)
        assert done.returncode == 0, done.stderr
        assert "other rights" in done.stderr
        assert SAYS not in done.stderr
    assert store.socket.stat().st_mode & 0o777 == 0o600


def test_what_a_shell_hands_over_stays_here(store: Store) -> None:
    """`--secret src=<(command)` names a descriptor of the command, which does not go along; standard input does."""
    (store.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nARG N\nRUN --mount=type=secret,id=x echo $N-$(cat /run/secrets/x)\n")
    store.begin()
    for number, (place, served) in enumerate((("/dev/fd/{}", False), ("/proc/self/fd/{}", False), ("/dev/stdin", True))):
        reading, writing = os.pipe()
        os.write(writing, b"handed")
        os.close(writing)
        done = store.build("--secret", f"id=x,src={place.format(reading)}", "--build-arg", f"N={number}", pass_fds=(reading,), stdin=reading)
        os.close(reading)
        assert done.returncode == 0, done.stderr
        assert f"{number}-handed" in done.stderr
        assert (SAYS in done.stderr) is served


def sleeping(store: Store, *options: str) -> subprocess.Popen[bytes]:
    (store.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep " + _LONG + "\n")
    building = store.start(*options)
    assert building.stderr is not None
    for line in building.stderr:
        if b"RUN sleep" in line:
            return building
    raise AssertionError("the step did not start")


def sleepers() -> int:
    count = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            count += _LONG.encode() in place.read_bytes()
    return count


@pytest.mark.parametrize(("number", "status", "word"), [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"terminated"), (signal.SIGKILL, -9, b"")])
def test_a_client_that_ends_ends_its_build(store: Store, number: int, status: int, word: bytes) -> None:
    store.begin()
    building = sleeping(store)
    until(lambda: sleepers() > 0)
    building.send_signal(number)
    _, err = building.communicate(timeout=60)
    assert building.returncode == status
    assert word in err
    until(lambda: sleepers() == 0)
    (store.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\n")
    assert SAYS in store.build().stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_that_somebody_has_stopped_ends_when_its_client_is_told_to(store: Store, number: int, status: int) -> None:
    """At the first signal, by itself: it is neither killed nor waited for."""
    store.begin()
    building = sleeping(store)
    until(lambda: sleepers() > 0)
    assert store.process is not None
    (build,) = Path(f"/proc/{store.process.pid}/task/{store.process.pid}/children").read_text().split()
    os.kill(int(build), signal.SIGSTOP)
    building.send_signal(number)
    _, err = building.communicate(timeout=60)
    assert building.returncode == status
    assert (b"interrupted" if number == signal.SIGINT else b"terminated") in err
    until(lambda: sleepers() == 0)


def test_an_interrupt_right_after_the_fork_is_not_lost(store: Store) -> None:
    """Before the process has handlers of its own, it is held back."""
    store.begin(
        code="import time\nfrom dockc.daemon.resident import Resident\nbuild = Resident._build\n"
        "def late(self, *more):\n    time.sleep(2)\n    build(self, *more)\nResident._build = late\nfrom dockc.__main__ import main\nmain()"
    )
    assert store.process is not None
    children = Path(f"/proc/{store.process.pid}/task/{store.process.pid}/children")
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        building = store.start()
        until(lambda: children.read_text() != "")
        time.sleep(0.3)  # the client hears that it is begun
        building.send_signal(number)
        _, err = building.communicate(timeout=60)
        assert (building.returncode, b"steps run" in err) == (status, False)
        until(lambda: children.read_text() == "")


def test_when_a_resident_dies_its_builds_are_begun_again(store: Store) -> None:
    store.begin()
    building = sleeping(store)
    assert store.process is not None
    store.process.kill()
    store.process.wait()
    assert building.stderr is not None
    for line in building.stderr:
        if b"begun again without it" in line:
            break
    assert sleepers() == 0
    assert any(b"RUN sleep" in line for line in building.stderr)
    until(lambda: sleepers() > 0)
    building.send_signal(signal.SIGINT)
    _, err = building.communicate(timeout=60)
    assert (building.returncode, b"interrupted" in err) == (130, True)
    until(lambda: sleepers() == 0)
    # Not one that may have written something.
    store.begin()
    building = sleeping(store, "-o-")
    store.process.kill()
    store.process.wait()
    _, err = building.communicate(timeout=60)
    assert building.returncode == 1
    assert b"has ended in the middle of the build\n" in err
    until(lambda: sleepers() == 0)
    (store.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\n")
    done = store.build()  # its socket is still there
    assert done.returncode == 0
    assert SAYS not in done.stderr
    store.begin()
    assert SAYS in store.build().stderr
    # Told to end, it takes its builds along.
    building = sleeping(store)
    store.process.terminate()
    _, err = building.communicate(timeout=60)
    assert (building.returncode, b"terminated" in err) == (143, True)
    assert store.process.wait(30) == 0
    until(lambda: sleepers() == 0)


def test_a_resident_that_does_not_answer_is_not_waited_for(store: Store) -> None:
    """It is stopped, or its machine cannot run it: commands build by themselves, and it builds for none that has gone."""
    store.begin()
    assert store.process is not None
    hasty = "import dockc.line.resident as way\nway._PATIENCE = 1.0\nfrom dockc.__main__ import main\nmain()"
    command = [sys.executable, "-c", hasty, "build", ".", "--progress=plain"]
    store.process.send_signal(signal.SIGSTOP)
    try:
        for large in ("x", "x" * 100_000):  # the second is more than a socket holds
            told = {f"LARGE{number}": large for number in range(5)}
            done = subprocess.run(command, cwd=store.context, env=store.environment | told, capture_output=True, text=True, check=False, timeout=100)
            assert (done.returncode, "is not used: it does not answer" in done.stderr) == (0, True), done.stderr
        waiting = store.start()  # an interrupt ends it at once
        until(lambda: any(str(one.readlink()).startswith("socket:") for one in Path(f"/proc/{waiting.pid}/fd").iterdir()))
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
        assert (waiting.returncode, err) == (130, b"dockc: interrupted\n")
    finally:
        store.process.send_signal(signal.SIGCONT)
    assert SAYS in store.build().stderr
    builds = len(list((store.folder / "store" / "history").glob("*.jsonl")))
    assert builds == 3  # of five that asked


def handles(store: Store) -> int:
    assert store.process is not None
    return len(list(Path(f"/proc/{store.process.pid}/fd").iterdir()))


def test_bad_requests_harm_nobody(store: Store) -> None:
    store.begin()
    assert SAYS in store.build("--build-arg=WORD=first").stderr  # it has all open that it opens
    before = handles(store)
    good = Request("x", ("a", "b"), ("c",), (b"d=e", b"f="))
    again = Request.decode(good.encode()[8:])
    assert (again.code, [*again.state], [*again.arguments], [*again.environment]) == ("x", ["a", "b"], ["c"], [b"d=e", b"f="])
    for data in (b"", b"x", b"\xff" * 9, (1 << 40).to_bytes(8, "big") + b"x", (5).to_bytes(8, "big") + b"a\0b\0c", good.encode()):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(store.socket))
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(30)
            assert sock.recv(100) in {b"", b"Rit is another dockc than this one, or this one has been replaced\n"}
    with socket.socket(socket.AF_UNIX) as sock, (store.context / "busybox").open("rb") as file:
        sock.connect(str(store.socket))
        socket.send_fds(sock, [b"12345678"], [file.fileno()] * 9)
        sock.settimeout(30)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(100) == b""
    with pytest.raises((ValueError, IndexError)):
        Request.decode(b"a\x000\x003\0b")
    assert SAYS in store.build().stderr
    until(lambda: handles(store) <= before)


def test_it_ends_when_nobody_comes_and_starts_by_itself(store: Store) -> None:
    (store.folder / "config" / "dockc").mkdir(parents=True)
    config = store.folder / "config" / "dockc" / "config.toml"
    config.write_text("[daemon]\nautostart = true\nidle = 600\n")
    assert SAYS not in store.build().stderr
    until(lambda: answers(store.socket))
    said = store.build().stderr
    number = int(said.partition(f"{SAYS} (process ")[2].partition(")")[0])
    os.kill(number, signal.SIGTERM)
    until(lambda: not store.socket.exists())
    config.write_text("[daemon]\nidle = 600\n")
    store.build()
    assert not store.socket.exists()
    command = [sys.executable, "-m", "dockc", "daemon", "--resident", "--idle", "0.5"]
    assert subprocess.run(command, env=store.environment, stdin=subprocess.DEVNULL, check=False, timeout=60).returncode == 0
    assert not store.socket.exists()
    store.begin()
    for _ in range(2):
        second = subprocess.run([sys.executable, "-m", "dockc", "daemon", "--resident"], env=store.environment, capture_output=True, text=True, check=False)
        assert (second.returncode, "has a resident builder already" in second.stderr) == (1, True)
        (store.folder / "store" / "daemon.lock").unlink()  # somebody tidies up
    doctor = subprocess.run([sys.executable, "-m", "dockc", "doctor", "--fix"], env=store.environment, capture_output=True, text=True, check=False, timeout=60)
    assert doctor.returncode == 0, doctor.stderr  # it waits for nobody
    shutil.rmtree(store.folder / "store")  # somebody removes the store: there is nothing to wait for
    assert store.process is not None
    store.process.send_signal(signal.SIGCHLD)
    assert store.process.wait(90) == 0


def test_of_many_that_build_at_once_one_starts_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And when that one has ended, another one can be started."""
    came = store.folder / "came"
    real = start.command

    def counted(place: str, *options: str) -> list[str]:
        with came.open("a") as file:
            file.write("x")
        return real(place, *options)

    monkeypatch.setattr(start, "command", counted)
    for count in (1, 2):
        for _ in range(20):
            start.start(str(store.folder / "store"), 600, store.environment)
        until(lambda: answers(store.socket))
        assert came.read_text() == "x" * count
        said = store.build().stderr
        assert SAYS in said
        os.kill(int(said.partition(f"{SAYS} (process ")[2].partition(")")[0]), signal.SIGTERM)
        until(lambda: not store.socket.exists())
        until(lambda: is_free(store.folder / "store" / "daemon.lock"))


def is_free(file: Path) -> bool:
    lock = take(file)
    if lock is None:
        return False
    os.close(lock)
    return True


@pytest.mark.parametrize(
    ("words", "can"),
    [(". -t x --push", True), ("-", False), ("-f- .", False), ("-f - .", False), ("--file=- .", False), (". -o-", False), (". --output=type=tar", False),
     (". --output type=oci", False), (". -otype=local,dest=out", True), (". -otype=tar,dest=-", False), (". --secret id=x,src=/dev/stdin", False), (". -q", False)],
)  # fmt: skip
def test_what_has_read_or_written_a_stream_is_not_begun_again(words: str, can: bool) -> None:
    assert way._can_be_repeated(words.split()) is can


@pytest.mark.parametrize("text", ["autostart = 1", "idle = true", "idle = -1", "unknown = 1"])
def test_settings_are_checked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[daemon]\n{text}\n")
    environment: Mapping[str, str] = {"DOCKC_CONFIG": str(path)}
    with pytest.raises(UsageError):
        settings.autostart(environment)
    path.write_text("[daemon]\nautostart = true\n")
    assert settings.autostart(environment) == settings.IDLE
    path.write_text("")
    assert settings.autostart(environment) == 0


def test_a_daemon_is_resident_in_its_store(tmp_path: Path) -> None:
    """Of a store so deep that its socket's name is too long for one."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (tmp_path / "x").mkdir()
    store = Store(tmp_path / "x")
    daemon = Daemon(tmp_path, "--store", str(deep / "store"))
    try:
        until((deep / "store" / "daemon.sock").exists)
        for options in ((f"--store={deep / 'store'}",), ("--store", str(deep / "store"))):
            done = store.build(*options)
            assert done.returncode == 0, done.stderr
            assert SAYS in done.stderr
        done = store.build(f"--addr={daemon.address}", "-otype=oci,dest=../o.tar")
        assert done.returncode == 0, done.stderr
        assert "0 steps run, 2 cached" in done.stderr  # one store
    finally:
        assert daemon.stop() == 0
    assert not (deep / "store" / "daemon.sock").exists()
