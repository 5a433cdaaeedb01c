"""What a step may do and may not, in each mode, kept as tables: docs/explanation/security.md shows them side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.golden.collect import Case, Golden

if TYPE_CHECKING:
    from tests.runtime.executor.conftest import Builder, Builders

HERE = Path(__file__).resolve().parent
MODES = [f"{executor}-{identity}" for identity in ("root", "user", "single") for executor in ("embedded", "crun", "runc")]
_NAMESPACES = ("user", "mnt", "pid", "ipc", "uts", "net")


def _rows(builder: Builder) -> list[tuple[str, str]]:
    builder.fresh()
    builder.sh("rm -rf cache bound; mkdir -m 777 cache bound")
    mounts = [
        {"dest": "/t", "kind": "tmpfs"},
        {"dest": "/cache", "source": str(builder.top / "cache")},
        {"dest": "/bound", "source": str(builder.top / "bound")},
    ]
    done = builder.run(args=["perl", "-e", (HERE / "probe.pl").read_text()], mounts=mounts)
    assert done.status == 0, done
    rows = [(row, value) for row, _, value in (line.partition("\t") for line in done.out.splitlines())]
    found = {row: value for row, value in rows if row.startswith("ns:")}
    # A builder that is no root has a user namespace of its own, which the step is in too.
    outside = {kind: str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in _NAMESPACES}
    named = [(f"namespace: {kind}", "the host's" if found[f"ns:{kind}"] == outside[kind] else "its own") for kind in _NAMESPACES]
    return [*((row, value) for row, value in rows if not row.startswith("ns:")), *named]


@pytest.mark.parametrize("mode", MODES)
def test_what_a_step_may_do(mode: str, builders: Builders, golden: Golden) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls are those of x86_64")
    executor, _, identity = mode.partition("-")
    if not [line for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith("/sys/")]:
        pytest.skip("nothing is mounted below this machine's /sys, of which the tables tell what a step is shown")
    rows = _rows(builders.get(executor, identity))
    assert "".join(f"{row}\t{value}\n" for row, value in rows) == golden(Case("runtime/steps", mode), "table.tsv")
