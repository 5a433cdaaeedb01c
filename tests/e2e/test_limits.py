"""Limits of memory and processors: kept for each step with every executor, or an error that says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.tools import need

MEMORY = 24_000_000


def _can_make_groups() -> bool:
    tops = [Path("/sys/fs/cgroup")] if Path("/sys/fs/cgroup/cgroup.controllers").exists() else list(Path("/sys/fs/cgroup").glob("memory"))
    return bool(tops) and all(os.access(top, os.W_OK) for top in tops)


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_a_step_that_wants_too_much(root: Dockc, context: MakeContext, with_base: tuple[str, str], executor: str) -> None:
    if not _can_make_groups():
        pytest.skip("needs control groups that can be written")
    if executor != "embedded":
        need(executor)
    folder = context("FROM base\nRUN cat /proc/self/status; head -c 100000000 /dev/zero | sort > /dev/null\n")
    shown = root.build(folder, "--executor", executor, "-m", str(MEMORY), "--cpuset-cpus", "0", "--cpu-quota=90000", *with_base, status=1)
    assert "Cpus_allowed_list:\t0\n" in shown
    assert f"exit code: 137: a process was killed for memory, of which the step may have {MEMORY} bytes\n" in shown


def test_a_step_that_does_not(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    if not _can_make_groups():
        pytest.skip("needs control groups that can be written")
    folder = context("FROM base\nRUN cat /proc/self/cgroup\n")
    shown = root.build(folder, "--resource", "memory=200m,cpu-shares=512", "--no-cache", *with_base)
    assert "/dockc/run-" in shown
    assert "/dockc/run-" not in root.build(folder, "--no-cache", *with_base)


@pytest.mark.parametrize("options", [("--memory=64m",), ("--cgroup-parent", "x")])
def test_what_cannot_be_kept_is_said(user: Dockc, context: MakeContext, with_base: tuple[str, str], options: tuple[str, ...]) -> None:
    folder = context("FROM base\nRUN true\n")
    shown = user.build(folder, *options, *with_base, status=None)
    if "no control group can be made" not in shown and "no control groups are mounted" not in shown:
        pytest.skip("this user may make control groups")
    assert "the limits of the step (memory=67108864) cannot be kept" in shown or "there can be no cgroup parent x" in shown


@pytest.mark.parametrize(("options", "message"), [(("--resource", "disk=1"), "invalid resource 'disk=1'"), (("-m", "much"), "much"), (("--cpuset-cpus=a",), "invalid cpusetcpus value")])
def test_senseless_limits(user: Dockc, context: MakeContext, options: tuple[str, ...], message: str) -> None:
    done = user.run("build", context("FROM scratch\nCOPY Dockerfile /\n"), *options, status=None)
    assert done.returncode != 0 and message in done.stderr
