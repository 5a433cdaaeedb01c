"""The small parts: subordinate ids, policy, OCI configuration, choice of executor."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dockc.errors import DockcError, UsageError
from dockc.runtime.executor import limits, netfiles, policy, rootless
from dockc.runtime.executor.base import (
    ExecSpec,
    HostEntry,
    NetworkMode,
    ResolvedMount,
    Rlimit,
    SecurityMode,
)
from dockc.runtime.executor.choose import choose
from dockc.runtime.executor.prepare import Prepared
from dockc.runtime.executor.runc import read_trouble
from dockc.runtime.executor.spec import make_spec
from dockc.runtime.executor.users import ExecUser


def test_subordinate_ids(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text(
        "# comment\nroot:100000:65536\n0:200000:10\nroot:100000:65536\nother:1:1\nroot:x:1\nroot:1\nroot:5:0\n"
    )
    assert rootless.subordinate_ids(str(file), 0) == ((100000, 65536), (200000, 10))
    assert rootless.subordinate_ids(str(tmp_path / "none"), 0) == ()
    assert rootless.subordinate_ids(str(file), 987654) == ()


def test_namespace_knows_its_ids() -> None:
    both = (rootless.IdRange(0, 1000, 1), rootless.IdRange(1, 100000, 65536))
    wide = rootless.BuildNamespace(rootless=True, uids=both, gids=both)
    assert (wide.single_id, wide.has_uid(65536), wide.has_uid(65537), wide.has_gid(5)) == (False, True, False, True)
    one = (rootless.IdRange(0, 1000, 1),)
    assert rootless.BuildNamespace(rootless=True, uids=one, gids=one).single_id


def test_environment() -> None:
    spec = ExecSpec(args=("x",), env=("A=1", "B=2", "A=3"))
    assert policy.environment(spec, "/home/a") == ["A=3", "B=2", "HOME=/home/a"]
    assert policy.environment(spec, "")[-1] == "HOME=/"
    for bad in ("A", "=x", "A=\0"):
        with pytest.raises(DockcError, match="invalid environment variable"):
            policy.environment(ExecSpec(args=("x",), env=(bad,)), "/")


def test_limits() -> None:
    asked = (Rlimit("nofile", 1, 2), Rlimit("CORE", -1, -1), Rlimit("NoFile", 3, 4))
    found = {number: (soft, hard) for number, soft, hard in limits.rows(asked)}
    assert (found[7], found[4]) == ((3, 4), (-1, -1))
    assert sorted(found) == sorted(limits.NUMBERS.values())
    with pytest.raises(DockcError, match="invalid ulimit type: nonsense"):
        limits.rows([Rlimit("nonsense", 1, 1)])


def test_default_limits_are_bounded_by_the_process_s_own() -> None:
    code = (
        "import resource; resource.setrlimit(7, (50, 60)); resource.setrlimit(4, (-1, resource.getrlimit(4)[1]))\n"
        "from dockc.runtime.executor import limits; print(dict((n, (s, h)) for n, s, h in limits.rows(())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    assert found[7] in ((60, 60), (1024, 1 << 20))  # the latter where this process may raise it again
    assert found[4] == (0, 0)


def test_mounts_of_a_step_replace_those_of_every_step() -> None:
    spec = ExecSpec(args=("x",))
    base = policy.base_mounts(spec, "/r", "/h")
    step = policy.step_mount(ResolvedMount(dest="/dev//shm/", kind="tmpfs", size=5))
    rows = policy.all_mounts(spec, base, [step])
    assert [row["destination"] for row in rows] == [row["destination"] for row in base]
    assert rows[3]["options"] == ["size=5", "nodev"]
    with pytest.raises(DockcError, match="mount /m has no source"):
        policy.step_mount(ResolvedMount(dest="/m"))


def test_every_mount_of_a_sandboxed_step_is_nodev() -> None:
    asked = ResolvedMount(dest="/m", kind="tmpfs")
    for security in SecurityMode:
        spec = ExecSpec(args=("x",), security=security)
        rows = policy.all_mounts(spec, policy.base_mounts(spec, "/r", "/h"), [policy.step_mount(asked)])
        open_to_devices = {row["destination"] for row in rows if "nodev" not in row["options"]}
        assert open_to_devices == {SecurityMode.SANDBOX: {"/dev/pts"}, SecurityMode.INSECURE: {"/dev", "/dev/pts", "/m"}}[security]


def test_hosts() -> None:
    assert netfiles.hosts("", ()) == "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    assert netfiles.hosts("h", (HostEntry("a", "1.2.3.4"),)).endswith("1.2.3.4\ta\n")


def test_no_resolver_configuration(tmp_path: Path) -> None:
    assert netfiles.resolv_conf(tmp_path / "none") == b""


def _spec(**fields: Any) -> dict[str, Any]:
    spec = ExecSpec(args=("a", "b"), **fields)
    prepared = Prepared(
        Path("/run"), ExecUser(1, 2, (2, 3), "/"), ["A=b"], policy.base_mounts(spec, "/etc/hosts", "/etc/hosts"), {}
    )
    return make_spec(spec, Path("/rootfs"), prepared, rootless=False, available=2**41 - 1, cgroups_path="/g/x")


def test_oci_configuration() -> None:
    made = _spec(cwd="/w", readonly_rootfs=True, rlimits=(Rlimit("core", -1, 5),), network=NetworkMode.NONE)
    assert made["process"]["user"] == {"uid": 1, "gid": 2, "additionalGids": [2, 3], "umask": 0o022}
    assert {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 5} in made["process"]["rlimits"]
    assert len(made["process"]["rlimits"]) == len(limits.NUMBERS)
    assert len(made["process"]["capabilities"]["bounding"]) == 14
    assert made["process"]["noNewPrivileges"] is False
    assert made["root"] == {"path": "/rootfs", "readonly": True}
    assert {"type": "network"} in made["linux"]["namespaces"]
    assert made["linux"]["cgroupsPath"] == "/g/x"
    assert made["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    json.dumps(made)


def test_oci_configuration_of_an_insecure_step() -> None:
    made = _spec(security=SecurityMode.INSECURE)
    assert len(made["process"]["capabilities"]["ambient"]) == 41
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & set(made["linux"])
    sys = next(m for m in made["mounts"] if m["destination"] == "/sys")
    assert "ro" not in sys["options"]


def test_trouble_is_the_last_error_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_trouble(log) == ""
    log.write_text('{"level":"warning","msg":"w"}\nnonsense\n{"level":"error","msg":"e"}\n{"level":"info","msg":"i"}\n')
    assert read_trouble(log) == "e"


def test_choice(tmp_path: Path) -> None:
    assert choose("auto", tmp_path).name == "embedded"
    with pytest.raises(UsageError, match="unknown executor 'lxc': one of auto, embedded, crun, runc"):
        choose("lxc", tmp_path)


def test_choice_on_a_machine_without_a_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockc.runtime.executor.seccomp.program", lambda _: None)
    monkeypatch.setattr("dockc.runtime.executor.runc.find_runtime", lambda name: f"/bin/{name}")
    assert choose("auto", tmp_path).name == "crun"
    monkeypatch.setattr("dockc.runtime.executor.runc.find_runtime", lambda _: "")
    assert choose("auto", tmp_path).name == "embedded"


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(DockcError, match="crun is not installed"):
        choose("crun", tmp_path)


_IN_A_CHROOT = """
import os, sys
from dockc.errors import DockcError
from dockc.runtime.kernel import syscalls
from dockc.runtime.executor.rootless import enter_build_namespace
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
os.mkdir(sys.argv[1] + "/proc")
syscalls.mount("proc", sys.argv[1] + "/proc", "proc")
os.chroot(sys.argv[1])
try:
    enter_build_namespace()
except DockcError as error:
    print(error.message)
"""


@pytest.mark.root
def test_a_root_that_is_no_mount_point(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    done = subprocess.run([sys.executable, "-c", _IN_A_CHROOT, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == (
        "cannot make a mount namespace: the root directory of this process is not a mount point, as in a plain chroot\n"
    ), done.stderr
