"""`dockc lint` against hadolint: one small file, and a folder of real ones: `python bench/lint.py [--runs N] [--files DIR] [--count N]`.

CPU is user + system time of the process and its children, wall the time until it ends; both the least of N runs. ShellCheck is off in
`dockc lint --no-shellcheck`, and on in the line without; hadolint always runs its own. A ratio is dockc's figure by hadolint's. Lines with
--no-cache lint everything anew; in those without, the findings of files that have not changed are kept from the run before. Modules are
compiled to bytecode first, as installing a package does.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "dockc"

SMALL = """\
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends curl=7.88.1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
EXPOSE 8080
USER 1000
CMD ["python", "app.py"]
"""


def measure(argv: list[str], runs: int) -> tuple[float, float]:
    """Least CPU and wall seconds of `runs` runs."""
    cpu = wall = float("inf")
    null = os.open(os.devnull, os.O_RDWR)
    for _ in range(runs):
        begin = time.perf_counter()
        pid = os.posix_spawnp(
            argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        )
        _, _, usage = os.wait4(pid, 0)
        wall = min(wall, time.perf_counter() - begin)
        cpu = min(cpu, usage.ru_utime + usage.ru_stime)
    os.close(null)
    return cpu, wall


def compare(title: str, commands: dict[str, list[str]], runs: int) -> None:
    """Measure some commands and print a line for each."""
    print(title)
    figures = {name: measure(argv, runs) for name, argv in commands.items()}
    base = figures.get("hadolint")
    for name, (cpu, wall) in figures.items():
        ratio = f"   CPU {cpu / base[0]:5.2f}x   wall {wall / base[1]:5.2f}x of hadolint" if base else ""
        print(f"  {name:32} {cpu * 1000:9.1f} ms CPU {wall * 1000:9.1f} ms wall{ratio}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--files", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "corpus")
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    compileall.compile_dir(PACKAGE, quiet=1)
    dockc = [sys.executable, "-m", "dockc", "lint", "--no-fail"]
    hadolint = shutil.which("hadolint")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        small = str(Path(folder) / "Dockerfile")
        Path(small).write_text(SMALL)

        def commands(files: list[str]) -> dict[str, list[str]]:
            found = {
                "--no-cache --no-shellcheck": [*dockc, "--no-cache", "--no-shellcheck", *files],
                "--no-cache": [*dockc, "--no-cache", *files],
                "--no-cache --profile=hadolint": [*dockc, "--no-cache", "--profile=hadolint", *files],
                "unchanged files": [*dockc, *files],
                "unchanged, --profile=hadolint": [*dockc, "--profile=hadolint", *files],
            }
            return found | ({"hadolint": [hadolint, "--no-fail", *files]} if hadolint else {})

        compare("one small file", {"python -c pass": [sys.executable, "-c", "pass"], **commands([small])}, args.runs)
        real = [str(p) for p in sorted(args.files.rglob("*")) if p.is_file() and p.suffix not in {".json", ".md"}] if args.files.is_dir() else []
        if real:
            real = real[: args.count]
            compare(f"{len(real)} real files", commands(real), max(args.runs // 3, 1))


if __name__ == "__main__":
    main()
