"""CPU time and peak memory of growing files: `python bench/scaling.py`.

Each measurement is a process of its own that compiles one generated file to LLB bytes with made-up answers. The factor is that to the half
as large file: 2 is linear. Times and memory are without those of a process that compiles three lines.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from corpus import whole
from dockc.grammar.source import Source
assert whole(Source("Dockerfile", sys.stdin.buffer.read()))
"""

_MIX = (
    "RUN apt-get install -y p{n}\nCOPY --chown=1:2 src{n} /dst/{n}/\nENV A{m}=${{A0:-x}}-{n}\nWORKDIR /w{m}\nLABEL l{m}=v{n}\n"
)


def instructions(count: int) -> str:
    """One stage with `count` instructions of five kinds."""
    return "FROM alpine\n" + "".join(_MIX.format(n=n, m=n % 50) for n in range(count // 5))


def runs(count: int) -> str:
    """One stage with `count` RUN instructions."""
    return "FROM alpine\n" + "".join(f"RUN step {n}\n" for n in range(count))


def chain(count: int) -> str:
    """`count` stages, each on the one before."""
    return "FROM alpine AS s0\nRUN x\n" + "".join(f"FROM s{n - 1} AS s{n}\nRUN x {n}\n" for n in range(1, count))


def fan(count: int) -> str:
    """`count` stages that the last one copies from."""
    stages = "".join(f"FROM alpine AS s{n}\nRUN x {n}\n" for n in range(count))
    return stages + "FROM scratch\n" + "".join(f"COPY --from=s{n} /x /{n}\n" for n in range(count))


SHAPES = {"instructions": (instructions, (2500, 5000, 10000)), "RUN only": (runs, (2500, 5000, 10000)),
          "stages in a chain": (chain, (500, 1000, 2000)), "stages side by side": (fan, (500, 1000, 2000))}  # fmt: skip


def measure(text: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a process that compiles the text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(reading, 0)
        os.close(writing)
        os.execv(sys.executable, [sys.executable, "-c", CHILD, str(Path(__file__).parent)])
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(text.encode())
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("the file does not compile")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print one line a size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    rounds = parser.parse_args().runs
    base_cpu, base_memory = map(min, zip(*(measure("FROM scratch\nCOPY a /\n") for _ in range(rounds)), strict=True))
    print(f"three lines: {base_cpu:.2f} s, {base_memory:.0f} MB")
    for name, (make, sizes) in SHAPES.items():
        previous: tuple[float, float] | None = None
        for size in sizes:
            cpu, memory = map(min, zip(*(measure(make(size)) for _ in range(rounds)), strict=True))
            cpu, memory = cpu - base_cpu, memory - base_memory
            factors = f"   x{cpu / previous[0]:.2f}  x{memory / previous[1]:.2f}" if previous else ""
            print(f"{name:20} {size:6}  {cpu:6.2f} s  {memory:6.0f} MB{factors}")
            previous = cpu, memory


if __name__ == "__main__":
    main()
