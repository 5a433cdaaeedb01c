"""A process of the resident builder that has been one command becomes another: nothing of the first is left in it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dockc.daemon.limits import limits_of, rise
from dockc.daemon.resident import _may_raise_limits
from dockc.runtime.kernel import syscalls
from tests.daemon.test_daemon import until
from tests.daemon.test_resident import SAYS, Store

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
#: Counts, in a process that was forked, what each command calls.
COUNTS = """
import os, sys, threading
from dockc.daemon.forked import Forked
whole = Forked._whole
def counted(self, arguments):
    count = 0
    def seen(frame, event, arg):
        nonlocal count
        count += event == "call"
    threading.setprofile(seen)
    sys.setprofile(seen)
    status = whole(self, arguments)
    sys.setprofile(None)
    threading.setprofile(None)
    log.write(f"CALLS {os.getpid()} {count}\\n")
    log.flush()
    return status
log = os.fdopen(os.dup(2), "w")
Forked._whole = counted
from dockc.__main__ import main
main()
"""


class Resting(Store):
    """A store with a resident, one of whose processes rests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN echo 1 > /made\n")
        self.begin()
        self.nothing()

    def children(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def nothing(self, *options: str, **more: Any) -> int:
        """A build that finds everything done; the process that was it and rests. None does while somebody mounts."""
        said = [self.build(*options, **more) for _ in range(2 if not self.children() else 1)]
        for done in said:
            assert done.returncode == 0, done.stderr
            assert SAYS in done.stderr
        assert "0 steps run" in said[-1].stderr
        return next(iter(self.children()), 0)

    def again(self, *options: str, **more: Any) -> int:
        """The same by a process that was another command before."""
        for _ in range(8):
            before = self.nothing()
            if self.nothing(*options, **more) == before != 0:
                return before
        raise AssertionError("no process is used again")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Resting]:
    made = Resting(tmp_path)
    try:
        yield made
    finally:
        made.end()


def state(pid: int, key: str) -> str:
    return next(
        line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(key + ":")
    )


def test_limits_are_those_of_the_command(store: Resting) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((300, 400), (256, 512), usual):
        pid = store.again(preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, wanted))
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == wanted
    # Time that another command has used is not this one's.
    resting = store.again()
    store.nothing(preexec_fn=partial(resource.setrlimit, resource.RLIMIT_CPU, (600, 600)))
    assert [pid for pid in store.children() if resource.prlimit(pid, resource.RLIMIT_CPU) == (600, 600)] != [resting]
    # A file larger than one may be is not written.
    too_large = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    done = store.build("-o", "type=oci,dest=../i.tar", preexec_fn=too_large)
    assert done.returncode == 1
    assert "File too large" in done.stderr


def test_who_may_not_raise_limits_leaves_the_command_alone() -> None:
    here = limits_of(0)
    lower = {**here, resource.RLIMIT_NOFILE: (16, 32)}
    assert rise(here, lower)
    assert not rise(lower, here)
    assert not rise(here, here)
    assert rise({**here, resource.RLIMIT_CORE: (0, resource.RLIM_INFINITY)}, {**here, resource.RLIMIT_CORE: (0, 0)})
    assert _may_raise_limits((("Uid:\t0", "CapEff:\t0000000001000000"), ()))
    assert not _may_raise_limits((("CapEff:\t0000000000ffffff",), ()))


def test_the_next_command_finds_it_as_new(store: Resting, tmp_path: Path) -> None:
    first = store.again()
    assert str(Path(f"/proc/{first}/cwd").readlink()) == "/"
    assert {str(Path(f"/proc/{first}/fd/{number}").readlink()) for number in range(3)} == {"/dev/null"}
    # Mode of what it writes, niceness, ignored signals.
    for number, (umask, nice) in enumerate(((0o077, 5), (0o002, 0))):

        def odd(umask: int = umask, nice: int = nice) -> None:
            os.umask(umask)
            os.nice(nice)
            if nice:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        first = store.again(f"--metadata-file=../meta{number}", preexec_fn=odd)
        assert (tmp_path / f"meta{number}").stat().st_mode & 0o777 == 0o666 & ~umask
        assert os.getpriority(os.PRIO_PROCESS, first) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
        assert bool(int(state(first, "SigIgn"), 16) & 1 << signal.SIGHUP - 1) is bool(nice)
    # Another directory, and one of the same name.
    other = tmp_path / "other"
    for text in ("one", "two"):
        other.mkdir()
        (other / "Dockerfile").write_text(f"FROM scratch\nLABEL x={text}\n")
        store.again("--iidfile=../id", cwd=other)
        told = (tmp_path / "id").read_text()
        store.build("--iidfile=../id", cwd=other, env={**store.environment, "DOCKC_RESIDENT": "off"})
        assert (tmp_path / "id").read_text() == told
        other.rename(tmp_path / text)
    # Settings and environment.
    config = tmp_path / "config" / "dockc" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[history]\nmaxEntries = 1\n")
    store.again()
    assert len(list((tmp_path / "store" / "history").glob("*.jsonl"))) == 1
    config.write_text("[nonsense]\n")
    done = store.build()
    assert (done.returncode, "unknown table" in done.stderr) == (2, True)
    config.unlink()
    assert store.nothing("--label=a=b", env={**store.environment, "HTTP_PROXY": "http://nobody:1"}) != first, (
        "one that failed has ended"
    )
    # What another process has pruned is made again; who runs a step ends.
    subprocess.run(
        [sys.executable, "-m", "dockc", "prune", "--all"], env=store.environment, check=True, capture_output=True
    )
    done = store.build()
    assert "steps run" in done.stderr
    assert "0 steps run" not in done.stderr
    until(lambda: not store.children())


def test_secrets_end_with_their_command(store: Resting, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    done = store.build("--secret=id=x,src=../secret")
    assert "0 steps run" in done.stderr
    until(lambda: not store.children())


def test_mounts_are_those_of_now(store: Resting, tmp_path: Path) -> None:
    """Also where what is mounted does not come by itself into the namespaces of others, as in most containers."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\nLABEL x=below\n")
    store.again("--iidfile=../id", cwd=place)
    below = (tmp_path / "id").read_text()
    syscalls.mount("none", str(place), "tmpfs", 0)
    try:
        until(lambda: not store.children())
        (place / "Dockerfile").write_text("FROM scratch\nLABEL x=above\n")
        store.nothing("--iidfile=../id", cwd=place)
        assert (tmp_path / "id").read_text() != below
    finally:
        syscalls.umount(str(place))
    until(lambda: not store.children())


def test_one_that_does_not_begin_is_not_waited_for(store: Resting) -> None:
    first = store.again()
    os.kill(first, signal.SIGSTOP)
    assert store.nothing() != first
    os.kill(store.again(), signal.SIGKILL)
    until(lambda: not store.children())
    store.nothing()
    # Several at once: no two get the same process, and few rest.
    building = [store.start() for _ in range(6)]
    for one in building:
        _, err = one.communicate(timeout=120)
        assert (one.returncode, SAYS.encode() in err) == (0, True)
    until(lambda: len(store.children()) <= 2)


def test_a_process_is_so_many_commands_at_most(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(code="import dockc.daemon.forked as forked\nforked._MOST = 2\n" + COUNTS)
    try:
        for number in range(7):
            done = store.build("--iidfile", str(tmp_path / f"id{number}"))
            assert done.returncode == 0, done.stderr
        assert len({(tmp_path / f"id{number}").read_text() for number in range(7)}) == 1
        told = [line.split()[1] for line in store.said().splitlines() if line.startswith("CALLS")]
        assert len(told) == 7
        assert max(map(told.count, set(told))) == 2
    finally:
        store.end()


def test_a_build_that_finds_everything_done_calls_little(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(code=COUNTS)
    try:
        for _ in range(6):
            assert store.build().returncode == 0
        told = [line.split()[1:] for line in store.said().splitlines() if line.startswith("CALLS")]
        assert len({pid for pid, _ in told}) < len(told), "a process is used again"
        assert int(told[-1][1]) < 15_000, told
    finally:
        store.end()
