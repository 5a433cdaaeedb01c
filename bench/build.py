"""`dockc build` against a real BuildKit: `python bench/build.py [--only NAME] [--runs N] [--scale F] [--pull REF] [--daemon] [--work DIR]`.

Each scenario is built by dockc in a store of its own and, where `$BUILDKITD` and `$BUILDCTL` name the programs (or PATH has them) and we
are root, by a BuildKit daemon of our own on a private socket. Wall is the time until the command ends; CPU is user and system time of the command
with all its children, for BuildKit the client's and the daemon's together. The daemon runs already when the clock starts, so that BuildKit
does not pay for its start, as dockc does. Figures are the least of N runs, a ratio is dockc's by BuildKit's.

`--daemon` compares the two daemons, both asked by buildctl. `--scale 0.1` makes trees and files a tenth as large. `--pull REF` adds a pull of that image, from a registry that speaks plain HTTP.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Build:
    """One build as both builders are told: a directory with a Dockerfile, and where the image goes."""

    context: Path
    target: str = ""
    output: str = ""
    no_cache: bool = False
    cache_to: str = ""
    cache_from: str = ""


@dataclass
class Scenario:
    """What is measured.

    Attributes:
        first: builds before the clock starts, in the same store.
        fresh: the store is empty before each run, but for `first`.
        emptied: the store is empty before each run.
        change: done before each run.
    """

    name: str
    build: Build
    first: tuple[Build, ...] = ()
    fresh: bool = False
    emptied: bool = False
    change: Callable[[], None] = field(default=lambda: None)


class Builder:
    """Runs builds and measures them."""

    name = ""

    def reset(self) -> None:
        """Forget all that was built."""

    def build(self, build: Build) -> tuple[float, float]:
        """CPU and wall seconds of one build."""
        raise NotImplementedError


def spent(argv: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command, which must succeed."""
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        pid = os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, output.fileno(), fd) for fd in (1, 2))],
        )
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - begin
        if status:
            output.seek(0)
            raise SystemExit(f"{' '.join(argv)}\n{output.read().decode()[-3000:]}")
    return usage.ru_utime + usage.ru_stime, wall


class Dockc(Builder):
    name = "dockc"

    def __init__(self, folder: Path, base: Path) -> None:
        self.store = folder / "store"
        self.base = base

    def reset(self) -> None:
        subprocess.run(["rm", "-rf", str(self.store)], check=True)

    def build(self, build: Build) -> tuple[float, float]:
        argv = [sys.executable, "-m", "dockc", "build", str(build.context), "--progress=plain", f"--store={self.store}"]
        argv += ["--build-context", f"base=oci-layout://{self.base}"]
        argv += ["--target", build.target] * bool(build.target)
        argv += ["--output", build.output] * bool(build.output) + ["--no-cache"] * build.no_cache
        argv += [f"--cache-to=type=local,mode=max,ignore-error=false,dest={build.cache_to}"] * bool(build.cache_to)
        argv += [f"--cache-from=type=local,src={build.cache_from}"] * bool(build.cache_from)
        return spent(argv)


class Daemon(Builder):
    """A daemon of BuildKit's protocol, with BuildKit's client."""

    def __init__(self, name: str, folder: Path, base: Path, daemon: list[str], client: str, stack: ExitStack) -> None:
        folder.mkdir()
        self.name = name
        self.address = f"unix://{folder}/socket"
        self.client = client
        self.base = base
        self.digest = json.loads((base / "index.json").read_text())["manifests"][0]["digest"]
        config = folder / "buildkitd.toml"
        config.write_text('[registry."127.0.0.1:5000"]\nhttp = true\n[registry."localhost:5000"]\nhttp = true\n')
        log = stack.enter_context((folder / "log").open("wb"))
        argv = [*daemon, "--addr", self.address, "--root", str(folder / "root"), "--config", str(config)]
        self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        stack.callback(self._stop)
        deadline = time.monotonic() + 60
        while subprocess.run([client, "--addr", self.address, "debug", "workers"], capture_output=True, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the daemon of {self.name} does not start:\n" + (folder / "log").read_text()[-2000:])
            time.sleep(0.2)

    def _stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def reset(self) -> None:
        subprocess.run([self.client, "--addr", self.address, "prune", "--all"], check=True, capture_output=True)

    def build(self, build: Build) -> tuple[float, float]:
        argv = [self.client, "--addr", self.address, "build", "--progress=plain", "--frontend=dockerfile.v0"]
        argv += ["--local", f"context={build.context}", "--local", f"dockerfile={build.context}"]
        argv += ["--oci-layout", f"base={self.base}", "--opt", f"context:base=oci-layout://base@{self.digest}"]
        argv += ["--opt", f"target={build.target}"] * bool(build.target)
        argv += ["--output", build.output or "type=image,name=bench,push=false"] + ["--no-cache"] * build.no_cache
        argv += [f"--export-cache=type=local,mode=max,dest={build.cache_to}"] * bool(build.cache_to)
        argv += [f"--import-cache=type=local,src={build.cache_from}"] * bool(build.cache_from)
        before = self._daemon()
        cpu, wall = spent(argv)
        return cpu + self._daemon() - before, wall

    def _daemon(self) -> float:
        """CPU seconds of the daemon and of the children that it has waited for."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICK


# --- what is built


def folder(work: Path, name: str, dockerfile: str) -> Path:
    path = work / name
    path.mkdir()
    (path / "Dockerfile").write_text(dockerfile)
    return path


def tree(path: Path, files: int) -> None:
    """Many small files, 100 in a directory."""
    source = random.Random(1)
    for number in range(files):
        if number % 100 == 0:
            (path / f"d{number // 1000:03}" / f"e{number // 100 % 10}").mkdir(parents=True)
        (path / f"d{number // 1000:03}" / f"e{number // 100 % 10}" / f"f{number}").write_bytes(source.randbytes(source.randrange(200, 4000)))


def large(path: Path, size: int) -> None:
    """A file of which half can be compressed away."""
    source = random.Random(2)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(source.randbytes(1 << 19) + bytes(1 << 19))


def scenarios(work: Path, scale: float, pull: str) -> list[Scenario]:
    hello = work / "hello"
    shutil.copytree(ROOT / "examples" / "hello", hello)
    steps = folder(work, "steps", "FROM base\n" + "".join(f"ENV A{n}={n}\nRUN echo {n} > /f{n}\nCOPY Dockerfile /d{n}\n" for n in range(10)))
    runs = folder(work, "runs", "FROM base\n" + "".join(f"RUN echo {n} > /f{n}\n" for n in range(20)))
    many = folder(work, "many", "FROM scratch AS src\nCOPY . /src\nFROM base AS end\nCOPY --from=src /src /dst\n")
    tree(many, int(20_000 * scale))
    one = folder(work, "one", "FROM scratch\nCOPY large /large\n")
    large(one / "large", int(500 * scale) << 20)
    out = folder(work, "out", "FROM base\nCOPY large /large\n")
    large(out / "large", int(300 * scale) << 20)
    count = iter(range(1_000_000))

    def touched() -> None:
        (many / "d000" / "e0" / "f7").write_text(f"changed {next(count)}\n")

    def rewritten() -> None:
        with (one / "large").open("r+b") as file:
            file.write(b"%d" % next(count))

    def gone() -> None:
        subprocess.run(["rm", "-rf", str(work / "out.dir")], check=True)

    source = Build(many, "src")
    found = [
        Scenario("no-op, examples/hello", Build(hello), (Build(hello),)),
        Scenario("no-op, 30 steps", Build(steps), (Build(steps),)),
        Scenario("20 RUN steps", Build(runs, no_cache=True), (Build(runs),)),
        Scenario("20,000 files, first time", source, fresh=True),
        Scenario("20,000 files, unchanged", source, (source,)),
        Scenario("20,000 files, one changed", source, (source,), change=touched),
        Scenario("500 MB file, first time", Build(one), fresh=True),
        Scenario("500 MB file, unchanged", Build(one), (Build(one),)),
        Scenario("500 MB file, changed", Build(one), (Build(one),), change=rewritten),
        Scenario("COPY --from of 20,000 files", Build(many), (source,), fresh=True),
        Scenario("300 MB image, type=oci", Build(out, output=f"type=oci,dest={work}/out.tar"), (Build(out),), fresh=True),
        Scenario("300 MB image, type=tar", Build(out, output=f"type=tar,dest={work}/out.tar"), (Build(out),), fresh=True),
        Scenario("300 MB image, type=local", Build(out, output=f"type=local,dest={work}/out.dir"), (Build(out),), change=gone),
        Scenario("20,000 files, type=local", Build(many, "src", output=f"type=local,dest={work}/out.dir"), (source,), change=gone),
        Scenario("300 MB image, type=docker", Build(out, output=f"type=docker,name=bench,dest={work}/out.tar"), (Build(out),), fresh=True),
    ]
    fifty = folder(work, "fifty", "FROM scratch\n" + "".join(f"COPY Dockerfile /{n}\n" for n in range(50)))
    found.append(Scenario("50 COPY steps", Build(fifty), fresh=True))
    found.append(Scenario("no-op, 50 COPY steps", Build(fifty), (Build(fifty),)))
    layers = folder(work, "layers", "FROM base\n" + "".join(f"COPY part{n} /\n" for n in range(6)))
    for n in range(6):
        large(layers / f"part{n}", int(100 * scale) << 20)
    thousand = folder(
        work,
        "thousand",
        "".join(f"FROM scratch AS s{n}\n" + "".join(f"COPY Dockerfile /{n}.{m}\n" for m in range(int(49 * scale))) for n in range(20))
        + "FROM scratch\n"
        + "".join(f"COPY --from=s{n} / /{n}/\n" for n in range(20)),
    )
    caches = work / "caches"

    def nowhere() -> None:
        subprocess.run(["rm", "-rf", str(caches / "new")], check=True)

    for name, context in (("600 MB", layers), ("1,000 steps", thousand)):
        kept = str(caches / context.name)
        new = Build(context, cache_to=str(caches / "new"))
        old = Build(context, cache_from=kept, output=f"type=tar,dest={work}/out.tar")
        found.append(Scenario(f"no-op, {name}", Build(context), (Build(context),)))
        found.append(Scenario(f"cache of {name}, export", new, (Build(context),), fresh=True, change=nowhere))
        found.append(Scenario(f"cache of {name}, import", old, (Build(context, cache_to=kept),), emptied=True))
    if pull:
        pulled = folder(work, "pulled", f"FROM {pull}\nRUN true\n")
        found.append(Scenario(f"pull of {pull}", Build(pulled), fresh=True))
    return found


def measured(builder: Builder, scenario: Scenario, runs: int) -> tuple[float, float]:
    """Least CPU and wall seconds."""
    best = (float("inf"), float("inf"))
    builder.reset()
    for number in range(runs):
        if number == 0 or scenario.fresh:
            builder.reset()
            for build in scenario.first:
                builder.build(build)
        if scenario.emptied:
            builder.reset()
        scenario.change()
        cpu, wall = builder.build(scenario.build)
        best = min(best[0], cpu), min(best[1], wall)
    return best


def main() -> None:
    """Measure and print one line a scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="scenarios whose names hold this")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--pull", default="")
    parser.add_argument("--daemon", action="store_true", help="buildctl with dockc's daemon in the place of dockc")
    parser.add_argument("--work", type=Path, help="where the temporary directory is made")
    arguments = parser.parse_args()
    compileall.compile_dir(ROOT / "dockc", quiet=1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the daemon must not outlive us
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.work, ignore_cleanup_errors=True)))
        base = work / "base"
        argv = [sys.executable, "-m", "dockc", "base", "sh", "sort", "cp", "chmod", "cat", "true", "--output", str(base)]
        subprocess.run(argv, check=True, capture_output=True)
        builders: list[Builder] = [Dockc(work, base)]
        daemon, client = (os.environ.get(name.upper()) or shutil.which(name) for name in ("buildkitd", "buildctl"))
        if daemon and client and os.geteuid() == 0:
            builders.append(Daemon("BuildKit", work / "buildkit", base, [daemon], client, stack))
            if arguments.daemon:
                builders[0] = Daemon("dockcd", work / "dockcd", base, [sys.executable, "-m", "dockc", "daemon"], client, stack)
        for scenario in scenarios(work, arguments.scale, arguments.pull):
            if arguments.only not in scenario.name:
                continue
            figures = [measured(builder, scenario, arguments.runs) for builder in builders]
            line = "".join(f"   {b.name} {cpu * 1000:8.0f} ms CPU {wall * 1000:8.0f} ms wall" for b, (cpu, wall) in zip(builders, figures, strict=True))
            if len(figures) == 2:
                line += "   ratio CPU {:5.2f} wall {:5.2f}".format(*(ours / theirs for ours, theirs in zip(*figures, strict=True)))
            print(f"{scenario.name:30}{line}", flush=True)
        builders[0].reset()


if __name__ == "__main__":
    main()
