"""CPU time of whole commands as ratios to a bare interpreter: `python bench/startup.py [--runs N]`.

Each figure is user + system time of the child process, the least of N runs. hadolint is measured on the same file where it is installed.
Modules are compiled to bytecode first, as installing a package does. Lint is measured twice: anew, and with findings kept from the last run.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import sys
import tempfile
from pathlib import Path

FORTY_LINES = """\
# syntax=docker/dockerfile:1
ARG GO_VERSION=1.22
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS base
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS=-trimpath

FROM base AS deps
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \\
    go mod download

FROM deps AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \\
    --mount=type=cache,target=/root/.cache/go-build \\
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build \\
      -ldflags "-X main.version=${VERSION}" \\
      -o /out/app ./cmd/app

FROM deps AS test
COPY . .
RUN go test ./...

FROM debian:bookworm-slim AS runtime
LABEL org.opencontainers.image.title="app" \\
      org.opencontainers.image.source="https://example.org/app"
RUN apt-get update \\
    && apt-get install -y --no-install-recommends ca-certificates=20230311 \\
    && rm -rf /var/lib/apt/lists/*
COPY --from=build --chown=65532:65532 /out/app /usr/local/bin/app
COPY --chmod=0644 config.yml /etc/app/config.yml
USER 65532:65532
EXPOSE 8080/tcp
VOLUME ["/var/lib/app"]
HEALTHCHECK --interval=30s --timeout=3s CMD ["app", "health"]
ENTRYPOINT ["app"]
CMD ["serve"]
"""

PACKAGE = Path(__file__).resolve().parents[1] / "dockc"
CACHE = tempfile.TemporaryDirectory()


def cpu(argv: list[str], runs: int) -> float:
    """Least CPU seconds of `runs` runs of argv."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(CACHE.name)}
    best = float("inf")
    for _ in range(runs):
        pid = os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        _, _, usage = os.wait4(pid, 0)
        best = min(best, usage.ru_utime + usage.ru_stime)
    return best


def main() -> None:
    """Measure and print one line a command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    python = sys.executable
    dockc = [python, "-m", "dockc"]
    compileall.compile_dir(PACKAGE, quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(FORTY_LINES)
        offline = Path(folder) / "offline.Dockerfile"
        offline.write_text("\n".join(
            "FROM " + ("scratch" if " AS " not in line else "scratch AS " + line.split(" AS ")[1])
            if line.startswith("FROM ") and ":" in line else line for line in FORTY_LINES.splitlines()) + "\n")
        commands = {
            "python -c pass": [python, "-c", "pass"],
            "dockc --version": [*dockc, "--version"],
            "dockc compile --emit=pb": [*dockc, "compile", folder, "-f", str(offline), "--emit=pb"],
            "dockc compile --emit=llb": [*dockc, "compile", folder, "-f", str(offline), "--emit=llb"],
            "dockc lint --no-cache": [*dockc, "lint", "--no-cache", str(file)],
            "  without ShellCheck": [*dockc, "lint", "--no-cache", "--no-shellcheck", str(file)],
            "dockc lint, unchanged file": [*dockc, "lint", str(file)],
            "dockc fmt --check": [*dockc, "fmt", "--check", str(file)],
        }
        if hadolint := shutil.which("hadolint"):
            commands["hadolint"] = [hadolint, "--no-fail", str(file)]
        best = dict.fromkeys(commands, float("inf"))
        for _ in range(runs):  # in turn, so that other work on the machine falls on all alike
            for name, argv in commands.items():
                best[name] = min(best[name], cpu(argv, 1))
        for name, seconds in best.items():
            print(f"{name:28} {seconds * 1000:8.1f} ms CPU   {seconds / best['python -c pass']:6.2f}x bare")


if __name__ == "__main__":
    main()
