"""Many builds on one engine: `python bench/engine.py [--builds N] [--base LAYOUT]`.

Prints CPU time per build and how late the loop is, the measure of how fast a daemon answers while it builds. A callback that wants to run every five
milliseconds notes by how much it was late. Three rounds: builds of ten steps that run, the same when all is cached, and equal ones.
Needs a base image in an OCI layout: `dockc base sh cat --output LAYOUT`.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.request import BuildRequest
from dockc.runtime.executor.rootless import enter_build_namespace
from dockc.runtime.exporter.options import Output
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import Directory, HeldFiles, HostDirectory
from dockc.runtime.source.ocilayout import resolve_context
from dockc.solver.progress import SolveStatus

_EVERY = 0.005


def _cpu() -> tuple[float, float]:
    """Seconds of this process and of its children so far."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def _silent(status: SolveStatus) -> None:
    pass


async def _late(late: list[float]) -> None:
    while True:
        due = time.monotonic() + _EVERY
        await asyncio.sleep(_EVERY)
        late.append(max(0.0, time.monotonic() - due))


async def _round(engine: Engine, name: str, asked: list[tuple[BuildRequest, Session]]) -> None:
    late: list[float] = []
    watch = asyncio.ensure_future(_late(late))
    before, began = _cpu(), time.monotonic()
    await asyncio.gather(*(engine.build(request, session, _silent) for request, session in asked))
    wall, after = time.monotonic() - began, _cpu()
    watch.cancel()
    late.sort()
    at = [1000 * late[min(len(late) - 1, int(len(late) * share))] for share in (0.5, 0.95, 0.99, 1)]
    own, children = (1000 * (a - b) / len(asked) for a, b in zip(after, before, strict=True))
    print(
        f"{name:24} {len(asked)} builds {wall:6.2f} s; per build {own:5.0f} ms here, {children:5.0f} ms in steps; "
        f"loop late by ms: p50 {at[0]:.1f} p95 {at[1]:.1f} p99 {at[2]:.1f} max {at[3]:.0f}"
    )


async def _main(builds: int, base: str) -> None:
    path, digest = resolve_context(base)
    with tempfile.TemporaryDirectory(prefix="dockc-bench-") as folder:
        (Path(folder) / "context").mkdir()

        def asked(n: int, text: str) -> tuple[BuildRequest, Session]:
            files: dict[str, Directory] = {"context": HostDirectory(Path(folder) / "context"), "dockerfile": HeldFiles({"Dockerfile": text.encode()})}
            request = BuildRequest(attrs={"context:base": f"oci-layout://base@{digest}", "label:n": str(n)}, outputs=(Output("cacheonly"),))
            return request, Session(directories=files, stores={"base": path})

        steps = "".join(f"RUN echo {n}\n" for n in range(9))
        async with Engine(EngineOptions(root=Path(folder) / "store")) as engine:
            await engine.build(*asked(0, "FROM base\nRUN true\n"), _silent)  # modules are loaded
            await _round(engine, "steps run", [asked(n, f"FROM base\nRUN echo first {n}\n{steps}") for n in range(builds)])
            await _round(engine, "all cached", [asked(n, f"FROM base\nRUN echo first {n}\n{steps}") for n in range(builds)])
            await _round(engine, "equal builds, all cached", [asked(0, f"FROM base\nRUN echo first 0\n{steps}") for n in range(builds)])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--builds", type=int, default=20)
    parser.add_argument("--base", required=True, help="an OCI layout with sh")
    given = parser.parse_args()
    enter_build_namespace()
    asyncio.run(_main(given.builds, given.base))


if __name__ == "__main__":
    main()
