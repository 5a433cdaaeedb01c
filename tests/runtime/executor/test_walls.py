"""What a step cannot reach although it is root inside: devices, the host's nodes, old gates of the kernel."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockc.runtime.executor.cgroup import hierarchies
from tests.tiny_programs import i386_call

if TYPE_CHECKING:
    from tests.runtime.executor.conftest import Builder, Builders

# /dev/zero under another name stands for any device of the host.
TRY_NODES = """
for d in / /tmp /dev /dev/shm /dev/mqueue /run /t /cache /bound /etc /sys/fs/cgroup /dev/pts; do
  mknod $d/made c 1 5 2>/dev/null || continue
  head -c 4 $d/made > /dev/null 2>&1 && echo opened || echo made
done
true
"""
# Anything that shows on a node from outside: mode, owner, times. To touch one, writing to it is enough.
CHANGE_NODES = """
for f in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /proc/keys /proc/timer_list; do
  [ -e $f ] || continue
  chmod 0640 $f; chown 1 $f; touch $f && echo touched $f
done
true
"""
NODES = ("null", "zero", "full", "random", "urandom", "tty")


def _mounts(builder: Builder) -> list[dict[str, str]]:
    builder.sh("rm -rf cache bound; mkdir -m 777 cache bound")
    return [
        {"dest": "/t", "kind": "tmpfs"},
        {"dest": "/cache", "source": str(builder.top / "cache")},
        {"dest": "/bound", "source": str(builder.top / "bound")},
    ]


def test_no_device_opens_that_a_step_made(builder: Builder) -> None:
    builder.fresh()
    done = builder.run(TRY_NODES, mounts=_mounts(builder))
    if builder.identity == "root":
        assert done.out.splitlines().count("made") >= 7, done
    assert set(done.out.splitlines()) <= {"made"}, done
    builder.fresh()


def test_mounts_that_devices_open_on_are_single_nodes_and_terminals(builder: Builder) -> None:
    done = builder.run("cat /proc/self/mountinfo", mounts=_mounts(builder))
    rows = [line.split(" ") for line in done.out.splitlines()]
    tops = {row[4]: row[5].split(",") for row in rows}  # of mounts on one place the last is seen
    allowed = {"/dev/pts", *(f"/dev/{name}" for name in NODES)}
    # What an OCI runtime masks with is its own; it is read-only, or a node of this container.
    masks = {"/proc/acpi", "/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/latency_stats", "/sys/firmware", "/proc/scsi",
             "/proc/asound", "/proc/timer_stats", "/proc/sched_debug", "/sys/devices/virtual/powercap"}  # fmt: skip
    readonly = {name for name, options in tops.items() if "ro" in options}
    open_to_devices = {name for name, options in tops.items() if "nodev" not in options}
    assert open_to_devices - allowed - masks - readonly == set(), done.out
    if builder.executor == "embedded":
        assert masks & set(tops) <= readonly


def test_insecure_steps_open_devices(builders: Builders) -> None:
    for executor in ("embedded", "crun", "runc"):
        builder = builders.get(executor, "root")
        builder.fresh()
        script = "mknod /t/made c 1 5 && head -c 4 /t/made > /dev/null && echo opened"
        done = builder.run(script, mounts=_mounts(builder), security=1)
        assert done.out.strip() == "opened", done


def _modes() -> list[tuple[int, int, int]]:
    found = [Path("/dev", name).stat() for name in NODES]
    return [(status.st_mode, status.st_uid, status.st_gid) for status in found]


def test_nodes_of_the_host_stay_as_they_are(builder: Builder) -> None:
    before = _modes()
    try:
        done = builder.run(CHANGE_NODES)
        assert _modes() == before
    finally:
        _restore(before)
    if builder.identity != "root":  # no nodes of its own: those of the host, read-only
        assert "touched" not in done.out, done


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_nodes_of_the_host_stay_as_they_are_where_its_root_is_the_step_s(builders: Builders, executor: str) -> None:
    """A user namespace that maps 0 to 0 makes no nodes: it shows the host's, which belong to its root."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    builder = builders.start(executor, "root", prefix=["unshare", "--user", "--map-root-user", "--mount"])
    before = _modes()
    try:
        done = builder.run(CHANGE_NODES)
        assert _modes() == before
        assert "touched" not in done.out, done
        done = builder.run("echo x > /dev/null && head -c 3 /dev/zero && cat /proc/keys")
        assert (done.status, done.out) == (0, "\0\0\0"), done
    finally:
        _restore(before)
        builder.close()


def _restore(modes: list[tuple[int, int, int]]) -> None:
    if os.geteuid() == 0:
        for name, (mode, uid, gid) in zip(NODES, modes, strict=True):
            Path("/dev", name).chmod(mode & 0o7777)
            os.chown(Path("/dev", name), uid, gid)


def test_nothing_below_sys_is_writable(builder: Builder) -> None:
    done = builder.run("cat /proc/self/mountinfo")
    rows = [line.split(" ") for line in done.out.splitlines()]
    tops = {row[4]: row for row in rows}  # of mounts on one place the last is seen
    writable = {name for name, row in tops.items() if name.startswith("/sys") and "ro" not in row[5].split(",")}
    # The directory that the groups are shown in may be a file system of the container's own.
    assert writable <= {"/sys/fs/cgroup"}, done.out
    assert all("tmpfs" in tops[name] for name in writable), done.out


def test_the_old_gate_to_sockets_is_closed(builder: Builder) -> None:
    """`socketcall` of i386 hands the address family over in memory, where a filter cannot see it."""
    if os.uname().machine != "x86_64":
        pytest.skip("int 0x80 is of x86")
    builder.fresh()
    vsock, inet = (40, 1, 0), (2, 1, 0)
    calls = {"vsock": (102, 1, vsock), "inet": (102, 1, inet), "direct-vsock": (359, 40, ()), "direct-inet": (359, 2, ())}
    for name, call in calls.items():
        program = base64.b64encode(i386_call(*call)).decode()
        builder.sh(f"echo {program} | base64 -d > rootfs/bin/{name}; chmod 755 rootfs/bin/{name}")
    if (outside := builder.run("inet", security=1).status) in (38, 139):
        pytest.skip(f"no system calls of i386 in this kernel ({outside})")
    assert builder.run("vsock").status == builder.run("inet").status == 38  # ENOSYS
    # The door for newer programs: refused (EPERM) by the family, and else the kernel's own matter, who finds no such type.
    assert (builder.run("direct-vsock").status, builder.run("direct-inet").status) == (1, 22)
    builder.fresh()


@pytest.fixture
def small_group() -> Iterator[str]:
    """A control group, by its name, in which there is room for a few processes only."""
    top = next((path for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if (path / "cgroup.procs").exists()), None)
    name = f"dockc-test-bomb-{os.getpid()}"
    if top is None:
        pytest.skip("no control groups are mounted")
    try:
        (top / name).mkdir()
        (top / name / "pids.max").write_text("40")
    except OSError as error:
        pytest.skip(f"no control group for processes: {error}")
    yield name
    for place in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for directory in (place / name / "dockc", place / name):
            if directory.is_dir():
                directory.rmdir()


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_groups_that_an_insecure_step_makes_go_with_it(builders: Builders, executor: str) -> None:
    """It may write to the groups that it sees; they are its own, below those of its builder."""
    if not hierarchies():
        pytest.skip("no control groups are mounted")
    builder = builders.get(executor, "root")
    name = f"dockc-test-inner-{os.getpid()}"
    script = f"cd /sys/fs/cgroup; for top in $([ -e cgroup.procs ] && echo . || echo *); do mkdir $top/{name} && echo $top; done"
    first = builder.run(script, security=1)
    if "Read-only file system" in first.err:
        pytest.skip("the control groups of this machine cannot be written")
    assert first.out, first
    assert builder.run(script, security=1) == first, "nothing is there already"
    left = [str(path) for top in hierarchies() for path in top.rglob(name)]
    for path in left:
        Path(path).rmdir()
    assert left == []


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_a_fork_bomb_stays_in_its_group_and_ends_when_told(builders: Builders, executor: str, small_group: str) -> None:
    """It may fill its group; the builder is not in it, and ends all of it."""
    builder = builders.get(executor, "root")
    code = f"while (1) {{ fork; select undef, undef, undef, 0.05 }} # {small_group}"
    done = builder.run(args=["perl", "-e", code], cgroup_parent=f"/{small_group}", cancel_after=1.5)
    assert done.cancelled, done
    assert _processes_of(small_group) == []
    assert builder.run("echo fine").out == "fine\n"


def _processes_of(word: str) -> list[str]:
    """Processes of this machine with a word in their command line."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and path.name != str(os.getpid()) and word.encode() in (path / "cmdline").read_bytes():
                found.append(path.name)
        except OSError:
            continue  # it has just ended
    return found
