"""Limits under version 2 of control groups, in a kernel of our own: User Mode Linux with this machine's files, read only.

Most machines have one version or the other. This kernel has version 2 with memory, processors, I/O and processes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import PYTHON_PATH

DOCKERFILE = "FROM base\nRUN cat /proc/self/cgroup; touch /began; sleep 2\n"
GREEDY = "FROM base\nRUN head -c 100000000 /dev/zero | sort > /dev/null\n"
OWN = "FROM base\nRUN --security=insecure cd /sys/fs/cgroup && mkdir inner && echo 0 > inner/cgroup.procs && echo m''ade\n"
ENDLESS = "FROM base\nRUN cat /proc/self/cgroup; sleep 1000\n"
#: The first process: no more than what a build needs. /mnt is the only place to write to.
INIT = """\
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /mnt; mount -t tmpfs run /run
mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 none /sys/fs/cgroup
export HOME=/mnt TMPDIR=/mnt DOCKC_STORE=/mnt/store PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={path}
cd /mnt
build() {{ {python} -m dockc build --progress=plain --build-context base=oci-layout://{base} -f {context}/"$@" {context} 2>&1; }}
build Dockerfile --memory 64m --memory-swap 96m --cpu-quota 50000 --cpu-shares 512 --cgroup-parent mine > one &
for i in $(seq 300); do
  [ -n "$(cat /sys/fs/cgroup/mine/dockc/run-*/cgroup.procs 2>/dev/null)" ] && break
  sleep 0.1
done
for file in memory.max memory.swap.max cpu.max cpu.weight; do echo "$file=$(cat /sys/fs/cgroup/mine/dockc/run-*/$file)"; done
wait; echo "one=$?"; cat one
build Greedy --memory 24000000; echo "greedy done"
build Own --allow security.insecure; build Own --allow security.insecure --no-cache
echo "inner=$(find /sys/fs/cgroup -name inner)"
build Dockerfile --cpuset-cpus 0
build Endless --memory 64m > three &
for i in $(seq 300); do grep -q "0::" three && break; sleep 0.1; done
kill -9 $(pgrep -f Endless); sleep 1
{python} -m dockc doctor
echo "left=$(ls -d /sys/fs/cgroup/dockc 2>/dev/null)"
echo o > /proc/sysrq-trigger; sleep 5
"""


def test_limits_under_version_2(base: Path, tmp_path: Path) -> None:
    kernel = shutil.which("linux.uml")
    if kernel is None:
        pytest.skip("linux.uml (user-mode-linux) is not installed")
    if os.geteuid() != 0:
        pytest.skip("needs root, whose files the guest's root reads")
    context = tmp_path / "context"
    context.mkdir()
    for name, text in (("Dockerfile", DOCKERFILE), ("Greedy", GREEDY), ("Endless", ENDLESS), ("Own", OWN)):
        (context / name).write_text(text)
    init = tmp_path / "init"
    words = {"path": PYTHON_PATH, "python": sys.executable, "base": str(base), "context": str(context)}
    init.write_text(INIT.format(**{key: shlex.quote(value) for key, value in words.items()}))
    init.chmod(0o755)
    options = ["mem=1G", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet", f"uml_dir={tmp_path}"]
    process = subprocess.Popen(
        [kernel, *options, "con=null", "con0=null,fd:2", "con1=fd:0,fd:1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "TMPDIR": "/dev/shm"},
    )  # fmt: skip
    try:
        said = process.communicate(timeout=240)[0].decode(errors="replace").replace("\r", "")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if "ptrace set fp regs failed" in said:  # it knows no registers as wide as those of newer processors (AMX)
        pytest.skip("linux.uml starts no process on this processor")
    assert "memory.max=67108864\n" in said, said
    assert "memory.swap.max=33554432\n" in said
    assert "cpu.max=50000 100000\n" in said
    assert "cpu.weight=20\n" in said
    assert "one=0\n" in said
    assert " 0::/\n" in said, "a step sees its own group as the top"
    assert "exit code: 137: a process was killed for memory, of which the step may have 24000000 bytes\n" in said
    assert "so the limits of the step (cpuset_cpus=0) cannot be kept: cpuset.cpus: No such file or directory\n" in said
    assert said.count(" made\n") == 2, said
    assert "inner=\n" in said, "groups that a step makes go with it"
    assert "healthy" in said
    assert "left=\n" in said, "what a killed build left is swept"
