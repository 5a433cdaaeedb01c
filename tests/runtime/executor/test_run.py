"""What a step sees and does: alike with every executor, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockc.runtime.executor import cgroup
from dockc.runtime.executor.cgroup import hierarchies

if TYPE_CHECKING:
    from tests.runtime.executor.conftest import Builder, Builders


def test_output_streams_and_status(builder: Builder) -> None:
    done = builder.run("echo out; echo err >&2; exit 7")
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")


def test_binary_output_arrives_as_it_is(builder: Builder) -> None:
    done = builder.run(r"printf '\000\377\n\200'")
    assert done.out.encode(errors="surrogateescape") == b"\x00\xff\n\x80"


def test_much_output_is_neither_lost_nor_blocking(builder: Builder) -> None:
    done = builder.run("seq 1 200000; seq 1 200000 >&2")
    assert done.status == 0
    assert done.out.splitlines()[-1] == "200000"
    assert len(done.err) == len(done.out)


def test_process_is_pid_one_of_its_own_namespace(builder: Builder) -> None:
    done = builder.run("echo $$; readlink /proc/self/ns/pid")
    pid, namespace = done.out.split()
    assert pid == "1"
    assert namespace != str(Path("/proc/self/ns/pid").readlink())


def test_death_by_signal_is_128_and_its_number(builder: Builder) -> None:
    # The kernel spares pid 1 from its own signals, so a child dies and the shell passes the status on.
    assert builder.run("sh -c 'kill -KILL $$'").status == 128 + signal.SIGKILL
    assert builder.run("sh -c 'kill -TERM $$'").status == 128 + signal.SIGTERM


def test_environment_is_what_was_asked_for(builder: Builder) -> None:
    done = builder.run(args=["env"], env=["PATH=/usr/bin", "A=1", "B=x=y", "A=2", "EMPTY="])
    assert sorted(done.out.splitlines()) == ["A=2", "B=x=y", "EMPTY=", "HOME=/root", "PATH=/usr/bin"]


def test_words_that_are_not_ascii(builder: Builder) -> None:
    done = builder.run(args=["env", "echo", "grüße", "\U0001f433"], env=["PATH=/usr/bin", "NAME=wörter"])
    assert done.out == "grüße \U0001f433\n"
    assert "NAME=wörter" in builder.run(args=["env"], env=["PATH=/usr/bin", "NAME=wörter"]).out


def test_home_is_kept_if_given(builder: Builder) -> None:
    assert builder.run("echo $HOME", env=["PATH=/usr/bin:/bin", "HOME=/elsewhere"]).out == "/elsewhere\n"


def test_working_directory_is_made_for_the_user(builder: Builder) -> None:
    builder.fresh()
    done = builder.run(
        "cat /proc/self/cwd/../../etc/hostname 2>/dev/null; readlink /proc/self/cwd", cwd="/srv/app/data"
    )
    assert done.out == "/srv/app/data\n"
    assert {"srv", "srv/app", "srv/app/data"} <= {*builder.tree("srv"), "srv"}


def test_working_directory_that_is_a_file(builder: Builder) -> None:
    done = builder.run("true", cwd="/etc/passwd")
    assert done.status not in (0, None)
    assert done.error


def test_default_user_is_root(builder: Builder) -> None:
    done = builder.run("id -u; id -g; id -G")
    assert done.out == "0\n0\n0\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("nobody", "65534 65534 65534"),
        ("65534", "65534 65534 65534"),
        ("1000:1001", "1000 1001 1001"),
        ("nobody:root", "65534 0 0"),
        ("alice", "1000 1000 1000 27 44"),
        ("alice:video", "1000 44 44"),
    ],
)
def test_users_come_from_the_image(mapped: Builder, user: str, expected: str) -> None:
    mapped.fresh()
    mapped.sh("echo 'alice:x:1000:1000::/home/alice:/bin/sh' >> rootfs/etc/passwd")
    mapped.sh("printf 'alice:x:1000:\\nsudo:x:27:alice\\nvideo:x:44:bob,alice\\n' >> rootfs/etc/group")
    done = mapped.run("echo $(id -u) $(id -g) $(id -G)", user=user)
    assert done.out.strip() == expected


@pytest.mark.parametrize("name", ["embedded", "crun", "runc"])
def test_unmapped_user_is_refused_with_the_reason(builders: Builders, name: str) -> None:
    builder = builders.get(name, "single")
    done = builder.run("id", user="1000:1000")
    assert "1000 does not exist in this user namespace" in done.error
    assert "/etc/subuid" in done.error


def test_home_of_the_user(mapped: Builder) -> None:
    assert mapped.run("echo $HOME", user="nobody").out == "/nonexistent\n"
    assert mapped.run("echo $HOME", user="4242:4242").out == "/\n"


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("bob", "unable to find user bob: no matching entries in passwd file"),
        ("root:nogrp", "unable to find group nogrp: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown_users(builder: Builder, user: str, message: str) -> None:
    assert builder.run("true", user=user).error == message


def test_other_users_may_write_to_dev_stdout(mapped: Builder) -> None:
    done = mapped.run("echo out > /dev/stdout; echo err > /dev/stderr", user="nobody")
    assert (done.status, done.out, done.err) == (0, "out\n", "err\n")


def test_hostname_and_hosts(builder: Builder) -> None:
    done = builder.run("uname -n; cat /etc/hosts", extra_hosts=[["db", "10.1.2.3"], ["v6", "fd00::1"]])
    assert done.out.splitlines() == [
        "buildkitsandbox",
        "127.0.0.1\tlocalhost buildkitsandbox",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "10.1.2.3\tdb",
        "fd00::1\tv6",
    ]
    named = builder.run("uname -n; head -n 1 /etc/hosts", hostname="builder.example")
    assert named.out == "builder.example\n127.0.0.1\tlocalhost builder.example\n"


def test_resolver_configuration_is_the_host_s(builder: Builder) -> None:
    host = Path("/etc/resolv.conf")
    assert builder.run("cat /etc/resolv.conf").out == (host.read_text() if host.exists() else "")


def test_network_none_has_loopback_alone(builder: Builder) -> None:
    own = builder.run("cat /proc/net/dev", network=2)
    names = [line.split(":")[0].strip() for line in own.out.splitlines() if ":" in line]
    assert names == ["lo"]
    assert builder.run("ls /sys/class/net", network=2).out == "lo\n"
    up = builder.run("cat /proc/net/fib_trie | grep -c 127.0.0.1", network=2)
    assert int(up.out) > 0


def test_network_host_is_the_builder_s(builder: Builder) -> None:
    done = builder.run("readlink /proc/self/ns/net")
    assert done.out.strip() == str(Path("/proc/self/ns/net").readlink())


def test_limits(builder: Builder) -> None:
    done = builder.run("ulimit -Sn; ulimit -Hn; ulimit -Su", rlimits=[["nofile", 123, 456], ["NPROC", 99, 99]])
    # Shells differ in which limits they know; those of open files all do.
    assert done.out.split()[:2] == ["123", "456"]


def test_unknown_limit(builder: Builder) -> None:
    assert builder.run("true", rlimits=[["threads", 1, 1]]).error == "invalid ulimit type: threads"


def test_cgroup_parent(builder: Builder) -> None:
    name = f"dockc-test-{os.getpid()}"
    done = builder.run("cat /proc/self/cgroup", cgroup_parent=f"/{name}/inner")
    if builder.identity != "root" and "no control group can be made, so there can be no cgroup parent" in done.error:
        return  # what cannot be had is said
    if not hierarchies():
        assert "no control groups are mounted at /sys/fs/cgroup, so there can be no cgroup parent" in done.error
        return
    assert done.status == 0, done
    if builder.identity == "root":
        # The runtimes show the path from their own namespace's root where they make one (version 2).
        assert f"/{name}/inner/dockc/run-" in done.out or done.out.strip() == "0::/"
        tops = [p for pattern in (name, f"*/{name}") for p in Path("/sys/fs/cgroup").glob(pattern)]
        assert [p for top in tops for p in top.glob("inner/dockc/*") if p.is_dir()] == []
        for top in tops:
            for directory in (top / "inner/dockc", top / "inner", top):
                if directory.exists():
                    directory.rmdir()


def test_cgroup_parent_cannot_lead_upwards(builders: Builders) -> None:
    for executor in ("embedded", "crun", "runc"):
        done = builders.get(executor, "root").run("true", cgroup_parent="../../x")
        assert done.error == "invalid cgroup parent '../../x'"


def test_command_not_found(builder: Builder) -> None:
    done = builder.run(args=["nosuchprogram"])
    assert done.status == 127
    assert "nosuchprogram" in done.error
    assert "not found" in done.error


def test_command_not_executable(builder: Builder) -> None:
    done = builder.run(args=["/etc/passwd"])
    assert done.status == 126
    assert "ermission denied" in done.error


def test_bad_environment(builder: Builder) -> None:
    assert builder.run("true", env=["PATH"]).error == "invalid environment variable: 'PATH'"


def test_no_command(builder: Builder) -> None:
    assert builder.run(args=[]).error == "no command to run"


# Mounts


def test_bind_mount_writes_through(builder: Builder) -> None:
    builder.sh("rm -rf src; mkdir src; echo hello > src/file")
    mounts = [{"dest": "/mnt/deep/src", "source": str(builder.top / "src")}]
    done = builder.run("cat /mnt/deep/src/file; echo new > /mnt/deep/src/made", mounts=mounts)
    assert (done.status, done.out) == (0, "hello\n")
    builder.sh("test $(cat src/made) = new")


def test_readonly_bind_mount(builder: Builder) -> None:
    builder.sh("rm -rf src; mkdir src; echo hello > src/file")
    mounts = [{"dest": "/mnt", "source": str(builder.top / "src"), "readonly": True}]
    done = builder.run("cat /mnt/file; echo x > /mnt/file", mounts=mounts)
    assert done.out == "hello\n"
    assert done.status != 0
    assert "Read-only file system" in done.err


def test_bind_mount_of_a_selected_part(builder: Builder) -> None:
    builder.sh("rm -rf src; mkdir -p src/a/b; echo dir > src/a/b/file; echo one > src/single")
    builder.sh("ln -s /a src/link; ln -s ../../../../etc src/out")
    top = str(builder.top / "src")
    mounts = [
        {"dest": "/m1", "source": top, "selector": "a/b"},
        {"dest": "/m2", "source": top, "selector": "single"},
        {"dest": "/m3", "source": top, "selector": "/link/b/file"},
    ]
    assert builder.run("cat /m1/file /m2 /m3", mounts=mounts).out == "dir\none\ndir\n"


def test_selector_cannot_leave_its_source(builder: Builder) -> None:
    builder.sh("rm -rf src; mkdir src; ln -s ../../../../etc src/out")
    for selector in ("out/passwd", "../../../etc/passwd"):
        mounts = [{"dest": "/m", "source": str(builder.top / "src"), "selector": selector}]
        done = builder.run("cat /m", mounts=mounts)
        assert done.error == f"open {selector}: no such file or directory"


def test_missing_selector(builder: Builder) -> None:
    builder.sh("rm -rf src; mkdir src")
    mounts = [{"dest": "/m", "source": str(builder.top / "src"), "selector": "sub/dir"}]
    assert builder.run("true", mounts=mounts).error == "open sub/dir: no such file or directory"


def test_mount_in_a_mount(builder: Builder) -> None:
    builder.sh("rm -rf outer inner; mkdir -p outer/in inner; echo i > inner/f; echo o > outer/f")
    mounts = [
        {"dest": "/m/in", "source": str(builder.top / "inner")},
        {"dest": "/m", "source": str(builder.top / "outer")},
    ]
    assert builder.run("cat /m/f /m/in/f", mounts=mounts).out == "o\ni\n"


def test_tmpfs_with_size(builder: Builder) -> None:
    mounts = [{"dest": "/scratch", "kind": "tmpfs", "size": 1 << 20, "nosuid": True}]
    done = builder.run("grep ' /scratch ' /proc/self/mounts; head -c 2000000 /dev/zero > /scratch/f", mounts=mounts)
    assert "tmpfs" in done.out
    assert "size=1024k" in done.out
    assert "No space left" in done.err


def test_dev_shm_can_be_replaced(builder: Builder) -> None:
    mounts = [{"dest": "/dev/shm", "kind": "tmpfs", "size": 2 << 20}]
    done = builder.run("grep ' /dev/shm ' /proc/self/mounts", mounts=mounts)
    assert len(done.out.splitlines()) == 1
    assert "size=2048k" in done.out


def test_mount_points_leave_no_trace(builder: Builder) -> None:
    builder.fresh()
    before = builder.tree()
    builder.sh("rm -rf src; mkdir src; echo s > file")
    mounts = [
        {"dest": "/usr/made/here", "source": str(builder.top / "src")},
        {"dest": "/etc/secret", "source": str(builder.top / "file"), "readonly": True},
    ]
    assert builder.run("cat /etc/secret", mounts=mounts, remove_mount_stubs_recursive=True).out == "s\n"
    assert builder.tree() == before


def test_without_recursion_parents_of_mount_points_stay(builder: Builder) -> None:
    builder.fresh()
    builder.sh("rm -rf src; mkdir src")
    builder.run("true", mounts=[{"dest": "/new/point", "source": str(builder.top / "src")}])
    assert "new" in builder.tree()
    assert "new/point" not in builder.tree()


def test_stub_that_was_filled_stays(builder: Builder) -> None:
    builder.fresh()
    builder.sh("echo nameserver > rootfs/etc/resolv.conf")
    builder.run("true")
    builder.sh("test $(cat rootfs/etc/resolv.conf) = nameserver")


def test_missing_source(builder: Builder) -> None:
    done = builder.run("true", mounts=[{"dest": "/m", "source": "/no/such/source"}])
    assert done.error == "mount /m: /no/such/source: No such file or directory"


# Walls


def test_readonly_root(builder: Builder) -> None:
    done = builder.run("touch /made; echo $?; touch /dev/shm/fine", readonly_rootfs=True)
    assert done.out.strip() != "0"
    assert "Read-only file system" in done.err
    assert done.status == 0


def test_host_files_are_out_of_sight(builder: Builder) -> None:
    done = builder.run(f"ls {builder.top}; ls /proc/1/root/{str(builder.top)[1:]}")
    assert done.out == ""
    assert done.status != 0


def test_capabilities_are_the_default_few(builder: Builder) -> None:
    done = builder.run("grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status")
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in done.out.splitlines()}
    assert masks["CapEff"] == masks["CapPrm"] == masks["CapBnd"] == 0xA80425FB
    assert masks["CapInh"] == masks["CapAmb"] == 0


def test_capabilities_of_other_users_are_none(mapped: Builder) -> None:
    done = mapped.run("grep CapEff /proc/self/status", user="nobody")
    assert int(done.out.split()[1], 16) == 0


def test_no_new_privileges_is_off_as_in_buildkit_and_can_be_on(builder: Builder) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert builder.run(script).out.split() == ["NoNewPrivs:", "0"]
    assert builder.run(script, no_new_privileges=True).out.split() == ["NoNewPrivs:", "1"]


@pytest.mark.parametrize(
    ("call", "number", "arguments"),
    [
        ("keyctl", 250, "0, -4, 0"),
        ("bpf", 321, "0, 0, 0"),
        ("mount", 165, "0, 0, 0, 0, 0"),
        ("unshare", 272, "0x10000000"),
        ("clone with a new user namespace", 56, "0x10000000 | 17, 0, 0, 0, 0"),
        ("open_by_handle_at", 304, "0, 0, 0"),
        ("socket of AF_VSOCK", 41, "40, 1, 0"),
        ("personality", 135, "0x40000"),
    ],
)
def test_seccomp_refuses(builder: Builder, call: str, number: int, arguments: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    # Insecure steps may do it (or fail otherwise); so EPERM comes from the filter.
    done = builder.run(args=["perl", "-e", f"$r = syscall({number}, {arguments}); print $r, ' ', $!+0"])
    assert done.out == "-1 1", call


def test_seccomp_lets_programs_fall_back_from_clone3(builder: Builder) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    done = builder.run(args=["perl", "-e", "$r = syscall(435, 0, 0); print $!+0"])
    assert done.out == "38"


def test_filter_is_installed(builder: Builder) -> None:
    assert builder.run("grep ^Seccomp: /proc/self/status").out.split() == ["Seccomp:", "2"]


def test_masked_and_readonly_paths(builder: Builder) -> None:
    done = builder.run("cat /proc/keys /proc/timer_list; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v ':$'; true")
    assert done.out.strip() == ""
    for path in ("/proc/sys/kernel/domainname", "/proc/sysrq-trigger"):
        assert builder.run(f"echo x > {path}").status != 0
    assert "ro" in builder.run("grep ' /sys ' /proc/self/mounts").out.split()[3].split(",")


def test_devices_are_the_usual_few(builder: Builder) -> None:
    done = builder.run("ls /dev; echo x > /dev/null; head -c 3 /dev/zero; head -c 1 /dev/urandom > /dev/full")
    names = set(done.out.split("\0")[0].split())
    assert names - {"core", "console"} == {
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    }  # fmt: skip
    assert done.out.endswith("\0\0\0")
    assert done.status != 0


def test_devices_of_the_host_stay_as_they_are(builder: Builder) -> None:
    before = {name: Path("/dev", name).stat().st_mode for name in ("null", "zero", "tty")}
    builder.run("chmod 0 /dev/null /dev/zero /dev/tty; rm -f /dev/null /dev/zero; true")
    assert {name: Path("/dev", name).stat().st_mode for name in before} == before


def test_process_leads_its_own_session(builder: Builder) -> None:
    done = builder.run(args=["perl", "-e", "print getpgrp(0)"])
    assert done.out == "1"


def test_block_devices_cannot_be_opened(builder: Builder) -> None:
    done = builder.run(
        "mknod /tmp/disk b 7 0; head -c 1 /tmp/disk; mknod /dev/disk b 7 0; head -c 1 /dev/disk; "
        "mknod /dev/shm/disk b 7 0; head -c 1 /dev/shm/disk"
    )
    assert done.status != 0
    assert done.out == ""
    assert "Permission denied" in done.err or "not permitted" in done.err


def test_insecure_may_mount(builder: Builder) -> None:
    done = builder.run(
        "mount -t tmpfs none /tmp && echo mounted; grep Seccomp: /proc/self/status; grep CapEff /proc/self/status",
        security=1,
    )
    words = done.out.split()
    assert words[0] == "mounted"
    assert words[2] == "0"
    assert int(words[4], 16) & (1 << 21)


def test_standard_input_is_empty(builder: Builder) -> None:
    done = builder.run("cat; readlink /proc/self/fd/0; ls /proc/self/fd | grep -c .")
    first = done.out.splitlines()[0]
    assert first.startswith("pipe:[")  # as in BuildKit: a pipe that nobody writes to; cat has ended and said nothing
    if builder.executor == "embedded":
        # 0, 1, 2 and the directory itself: nothing of the builder's is open.
        assert int(done.out.splitlines()[1]) == 4


def test_umask_and_signals_are_the_usual(builder: Builder) -> None:
    assert builder.run("umask").out.strip() == "0022"
    done = builder.run("grep -E 'Sig(Blk|Ign)' /proc/self/status")
    assert {int(line.split()[1], 16) for line in done.out.splitlines()} == {0}


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_signals_of_the_threads_are_the_usual_too(builders: Builders, executor: str) -> None:
    """libc lets nobody change signals 32 and 33, but whoever started the builder may have them ignored."""
    if os.uname().machine != "x86_64":
        pytest.skip("the number of the system call is x86_64's")
    ignore = "import ctypes, os, sys; c = ctypes.CDLL(None); old = (ctypes.c_uint64 * 4)(1);"
    ignore += "[c.syscall(13, n, old, None, 8) for n in (32, 33)]; os.execvp(sys.argv[1], sys.argv[1:])"
    builder = builders.start(executor, "root", prefix=[sys.executable, "-c", ignore])
    try:
        ignored = builder.run("grep SigIgn /proc/self/status").out
        assert int(ignored.split()[1], 16) == 0
    finally:
        builder.close()


# Builders that may do less


@pytest.mark.parametrize("identity", ["user", "single"])
def test_where_no_new_proc_can_be_mounted(builders: Builders, hidden_proc: list[str], identity: str) -> None:
    builder = builders.start("embedded", identity, prefix=hidden_proc)
    try:
        done = builder.run(
            "echo $$; readlink /proc/self/exe; cat /proc/keys; ls /proc/fs; echo x > /proc/sysrq-trigger"
        )
        assert done.out.split() == ["1", "/usr/bin/readlink"]
        assert done.status != 0
        assert builder.run("sleep 60 & exit 4").status == 4
    finally:
        builder.close()


@pytest.mark.parametrize("executor", ["crun", "runc"])
def test_runtimes_say_that_they_need_a_new_proc(builders: Builders, hidden_proc: list[str], executor: str) -> None:
    builder = builders.start(executor, "user", prefix=hidden_proc)
    try:
        assert builder.run("true").error == (
            "an OCI runtime needs a /proc of its own, which the kernel refuses here (Operation not permitted): "
            "use --executor=embedded"
        )
    finally:
        builder.close()


# Hostile images


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_symlinked_proc_and_sys_are_refused(builder: Builder, name: str) -> None:
    builder.fresh()
    builder.sh(f"rm -rf rootfs/{name}; ln -s /tmp rootfs/{name}")
    done = builder.run("echo ran")
    assert done.error == f"/{name} in the image is not a directory"
    assert done.out == ""
    builder.fresh()


def test_links_to_the_host_are_resolved_inside(builder: Builder) -> None:
    builder.fresh()
    target = builder.top / "outside"
    builder.sh("rm -rf outside; mkdir -p outside/dir; echo untouched > outside/hosts")
    builder.sh(f"ln -sf ../../../../../../../..{target}/hosts rootfs/etc/hosts; ln -sf {target}/dir rootfs/mnt")
    builder.sh("rm -rf src; mkdir src; echo inside > src/f")
    done = builder.run("cat /etc/hosts; cat /mnt/f", mounts=[{"dest": "/mnt", "source": str(builder.top / "src")}])
    assert "localhost" in done.out
    assert done.out.endswith("inside\n")
    builder.sh('test $(cat outside/hosts) = untouched; test -z "$(ls outside/dir)"')
    builder.fresh()


def test_link_loop_in_a_mount_point(embedded: Builder) -> None:
    embedded.fresh()
    embedded.sh("ln -s loop2 rootfs/loop1; ln -s loop1 rootfs/loop2; rm -rf src; mkdir src")
    done = embedded.run("echo ran", mounts=[{"dest": "/loop1/x", "source": str(embedded.top / "src")}])
    assert done.out == ""
    assert "symbolic links" in done.error
    embedded.fresh()


def test_user_file_that_is_a_device_or_link_outside(builder: Builder) -> None:
    builder.fresh()
    builder.sh("rm rootfs/etc/passwd; ln -s /dev/zero rootfs/etc/passwd")
    assert builder.run("true", user="bob").error == "unable to find user bob: no matching entries in passwd file"
    builder.sh("rm rootfs/etc/passwd; mkfifo rootfs/etc/passwd")
    assert builder.run("true", user="bob").error == "unable to find user bob: no matching entries in passwd file"
    builder.fresh()


# Ends


def _left(marker: str) -> list[str]:
    """Command lines of processes that carry the marker."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                line = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(line.decode(errors="replace"))
    return found


def _gone(marker: str, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not _left(marker):
            return True
        time.sleep(0.02)
    return False


def test_background_processes_end_with_the_step(builder: Builder) -> None:
    marker = f"7777.{os.getpid()}"
    done = builder.run(f"sleep {marker} & echo started")
    assert done.out == "started\n"
    assert not _left(marker)


def test_cancel_leaves_no_process(builder: Builder) -> None:
    marker = f"8888.{os.getpid()}"
    done = builder.run(f"trap '' TERM; sleep {marker} & sleep {marker}; sleep {marker}", cancel_after=0.4)
    assert done.cancelled
    assert not _left(marker)


def test_cancel_lets_a_step_end_itself(builder: Builder) -> None:
    builder.fresh()
    script = "trap 'echo bye > /ended; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    assert builder.run(script, cancel_at="ready").cancelled
    if builder.executor == "embedded":
        builder.sh("test $(cat rootfs/ended) = bye")
    builder.fresh()


def test_cancelled_before_it_starts(builder: Builder) -> None:
    assert builder.run("sleep 30", cancel_after=0).cancelled


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
@pytest.mark.parametrize("identity", ["root", "user", "single"])
def test_killed_builder_leaves_no_process(builders: Builders, executor: str, identity: str) -> None:
    builder = builders.start(executor, identity)
    marker = f"9999.{os.getpid()}"
    builder.send(
        "run", script=f"sleep {marker} & setsid sleep {marker} & trap '' TERM; while :; do sleep {marker}; done"
    )
    end = time.monotonic() + 60
    while len([line for line in _left(marker) if line.startswith("sleep")]) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert _left(marker)
    os.kill(builder.hello["pid"], signal.SIGKILL)
    builder.process.wait()
    assert builder.process.stdout is not None
    assert builder.process.stdin is not None
    builder.process.stdout.close()
    builder.process.stdin.close()
    assert _gone(marker)
    runs = [path.name for path in (builder.top / "state").iterdir()]
    assert cgroup.sweep(builder.top / "state"), "the groups of a runtime that was killed with its builder"
    assert [path for name in runs for top in hierarchies() for path in top.glob(f"dockc/{name}")] == []
    shutil.rmtree(builder.top, ignore_errors=True)


def test_state_of_a_killed_run_is_swept(embedded: Builder) -> None:
    embedded.sh("mkdir -p state/run-stale; echo x > state/run-stale/lock; echo x > state/run-stale/hosts")
    parent = f"dockc-test-stale-{os.getpid()}"
    groups = [top / parent for top in hierarchies()] if embedded.identity == "root" else []
    for group in groups:
        (group / "dockc/run-stale/inner").mkdir(parents=True)
    embedded.sh(f"printf /{parent}/dockc/run-stale > state/run-stale/cgroup")
    embedded.run("true")
    embedded.sh('test ! -e state/run-stale; test -z "$(ls state)"')
    for group in groups:
        group.rmdir()  # and nothing is in it
