"""A soak: builds, kills, prunes and full disks for as long as one likes.

    python bench/soak.py [--seconds N] [--seed N] [--disk MB] [--verbose]

Builds from six Dockerfiles run in one store, one or several at a time; some are killed (SIGKILL, SIGTERM, SIGINT) at a
random moment, the store is pruned, and its disk is filled to the last byte. As root the store lies on a small tmpfs of
our own, and control groups are watched where there are any; as an ordinary user it lies in a directory, and disks are
not filled.

What must hold, all the time:

    every build that ends with 0 gave exactly the files that it had to give
    a build fails only while the disk is full, or because it was told to end; then it ends within the promised time
    no image that was built under a name is lost
    no process, mount or control group outlives its builder and the one after it
    `dockc doctor` finds nothing; at the end, after `dockc prune -a`, nothing is left in the store

The first breach ends the run with status 1 and says how to repeat it. The same seed gives the same course of actions;
when they meet the builders is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("sh", "cat", "cp", "mkdir", "rm", "sleep", "touch", "ln", "chmod", "seq")
ENDS_WITHIN = 10.0
"""Seconds between SIGTERM and the end of a builder: two are promised, a loaded machine is given more."""
_INODES = 20_000  # of the store's disk
_CGROUP = "dockcsoak"

DOCKERFILES = {
    "chain": """FROM base
ARG N
RUN echo one > /one
RUN echo "$N" > /n && cat /one /n > /both
RUN rm /one && mkdir -p /d/e && touch /d/e/f
""",
    "stages": """FROM base AS a
ARG N
RUN mkdir /out && echo "a$N" > /out/a
FROM base AS b
RUN mkdir /out && sleep 0.2 && echo b > /out/b
FROM scratch
COPY --from=a /out /
COPY --from=b /out /
""",
    "cache": """FROM base
ARG N
RUN --mount=type=cache,target=/cache,sharing=locked echo x >> /cache/log && echo "$N" > /n
RUN --mount=type=bind,target=/context cat /context/fixed > /fixed
""",
    "context": """FROM scratch
COPY --link fixed /fixed
COPY changing /changing
COPY --chmod=600 tree /tree
""",
    "archive": """FROM base
ADD packed.tar /unpacked
ARG N
COPY <<EOF /here
n=$N
EOF
RUN ln /unpacked/x/one /hard && ln -s one /unpacked/x/two
""",
    "large": """FROM base AS big
ARG N
RUN seq 1 200000 > /numbers && echo "$N" >> /numbers
FROM scratch
COPY --from=big /numbers /numbers
COPY noise /noise
""",
}


def expected(name: str, n: int, folder: Path) -> dict[str, bytes]:
    """The files that a build must give, less those of the base image."""
    text = f"{n}\n".encode()
    if name == "chain":
        return {"n": text, "both": b"one\n" + text, "d/e/f": b""}
    if name == "stages":
        return {"a": b"a" + text, "b": b"b\n"}
    if name == "cache":
        return {"n": text, "fixed": (folder / "fixed").read_bytes()}
    if name == "context":
        tree = {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "tree").rglob("*") if p.is_file()}
        return {"fixed": (folder / "fixed").read_bytes(), "changing": text, **tree}
    if name == "archive":
        return {"here": b"n=" + text, "unpacked/x/one": b"1", "hard": b"1"}
    numbers = "".join(f"{i}\n" for i in range(1, 200001)).encode()
    return {"numbers": numbers + text, "noise": (folder / "noise").read_bytes()}


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))


def _can_make_groups() -> bool:
    """Whether control groups are mounted (either version), and not only to be read, as in most containers and chroots."""
    top = Path("/sys/fs/cgroup")
    tops = [top] if (top / "cgroup.procs").exists() else [file.parent for file in top.glob("*/cgroup.procs")]
    return bool(tops) and all(os.access(place, os.W_OK) for place in tops)


class Breach(Exception):
    """Something that must hold does not."""


@dataclass
class Running:
    """A build on its way."""

    name: str
    n: int
    folder: Path
    out: Path
    process: subprocess.Popen[bytes]
    log: Path
    tag: str = ""


@dataclass
class Soak:
    """One run.

    Mutable state: `tags` (images that must be there), `counts`, `full` (whether the disk is).
    """

    top: Path
    store: Path
    disk: Path | None
    rng: random.Random
    verbose: bool
    tags: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    full: bool = False
    serial: int = 0

    # ------------------------------------------------------------ running dockc

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKC_", "DOCKER_"))}
        return {
            **kept,
            "DOCKC_STORE": str(self.store),
            "HOME": str(self.top),
            "PYTHONPATH": _python_path(),
            "DOCKC_SOAK": str(self.top),
        }

    def dockc(self, *words: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dockc", *words]
        done = subprocess.run(
            command, env=self.environment(), cwd=self.top, capture_output=True, text=True, check=False, timeout=600
        )
        if "Traceback" in done.stderr or (done.returncode and not may_fail):
            raise Breach(f"dockc {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start(self, name: str, *, again: bool = False) -> Running:
        """Begin a build of one of the Dockerfiles, with something new in it or (`again`) as the last time."""
        folder = self.top / "contexts" / name
        if not again:
            self.serial += 1
            (folder / "changing").write_text(f"{self.serial}\n")
            (folder / "number").write_text(str(self.serial))
        n = int((folder / "number").read_text())
        # A build reads its context for a while: one that changes under it gives whatever was read.
        self.serial += 1
        own = self.top / "running" / str(self.serial)
        shutil.copytree(folder, own)
        out, log = self.top / "out" / f"{self.serial}.tar", self.top / "out" / f"{self.serial}.log"
        tag = f"{name}:{n % 5}" if self.rng.random() < 0.3 else ""
        words = ["build", str(own), "--progress", "plain", "--build-arg", f"N={n}", "-o", f"type=tar,dest={out}"]
        words += ["--build-context", f"base=oci-layout://{self.top}/base"]
        if tag:
            words[words.index("-o") : words.index("-o") + 2] = ["-t", tag]
        if os.geteuid() == 0 and self.rng.random() < 0.3 and _can_make_groups():
            words += ["--cgroup-parent", f"{_CGROUP}{os.getpid()}"]
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "dockc", *words],
                env=self.environment(), cwd=self.top, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        self.say(f"build {name} n={n}{' as ' + tag if tag else ''}{' again' if again else ''}")
        return Running(name, n, own, out, process, log, tag)

    def finish(self, build: Running, *, told: bool = False) -> None:
        """Wait for a build and look at what it gave."""
        status = build.process.wait(timeout=600)
        said = build.log.read_text(errors="replace")
        # An interrupt may meet the interpreter before it has come to the first line of ours.
        early = told and "KeyboardInterrupt" in said and f"{ROOT}/dockc/" not in said
        if ("Traceback" in said and not early) or "Error in" in said:
            raise Breach(f"a traceback:\n{said}")
        if status == 0:
            self.counts["builds"] += 1
            if build.tag:
                self.tags.add(build.tag)
            else:
                self.check(build)
        elif told:
            self.counts["ended builds"] += 1
        elif self.full and "full" in said:
            self.counts["builds on a full disk"] += 1
        else:
            raise Breach(f"build {build.name} ended with {status}:\n{said}")
        for path in (build.out, build.log):
            path.unlink(missing_ok=True)
        shutil.rmtree(build.folder)

    def check(self, build: Running) -> None:
        """Compare the files of a build with what they have to be."""
        wanted = expected(build.name, build.n, build.folder)
        with tarfile.open(build.out) as archive:
            found = {}
            for member in archive:
                name = member.name.removeprefix("./")
                if name in wanted:
                    reader = archive.extractfile(member)
                    found[name] = reader.read() if reader is not None else b""
        if found != wanted:
            wrong = sorted(name for name in wanted if found.get(name) != wanted[name])
            raise Breach(f"build {build.name} n={build.n} gave other files than it had to: {wrong}")

    # ------------------------------------------------------------ actions

    def build_one(self) -> None:
        """One build, new or as the last time."""
        self.finish(self.start(self.any_name(), again=self.rng.random() < 0.3))

    def build_several(self) -> None:
        """Two to four builds at once."""
        for build in [
            self.start(self.any_name(), again=self.rng.random() < 0.3) for _ in range(self.rng.randint(2, 4))
        ]:
            self.finish(build)

    def kill(self) -> None:
        """A build that is killed, told to end or interrupted at some moment, perhaps beside another."""
        other = self.start(self.any_name()) if self.rng.random() < 0.5 else None
        build = self.start(self.any_name())
        time.sleep(self.rng.choice((0.05, 0.3, 0.8, 1.5, 3.0)) * self.rng.random() * 2)
        sent = self.rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        self.say(f"  {sent.name}")
        build.process.send_signal(sent)
        begun = time.monotonic()
        self.finish(build, told=True)
        if sent is signal.SIGTERM and time.monotonic() - begun > ENDS_WITHIN:
            raise Breach(f"{sent.name} took {time.monotonic() - begun:.1f} s")
        self.counts[sent.name] += 1
        if other is not None:
            self.finish(other)
        self.finish(self.start(self.any_name(), again=True))
        self.nothing_left()

    def prune(self) -> None:
        """Prune, sometimes beside a build."""
        build = self.start(self.any_name()) if self.rng.random() < 0.4 else None
        how = self.rng.choice(([], ["-a"], ["--keep-storage", "20MB"], ["--filter", "type==regular"]))
        self.say(f"prune {' '.join(how)}")
        self.dockc("prune", *how)
        self.counts["prunes"] += 1
        if build is not None:
            self.finish(build)

    def fill_disk(self) -> None:
        """Fill the disk, with bytes or with files or with both; build on it, prune it free."""
        if self.disk is None:
            return
        what = self.rng.choice(("bytes", "bytes", "files", "both"))
        self.say(f"full disk: {what}")
        self.full = True
        filler, many = self.disk / "filler", self.disk / "many"
        try:
            running = self.start(self.any_name()) if self.rng.random() < 0.5 else None
            with filler.open("ab", buffering=0) as file:
                if what != "bytes":
                    many.mkdir()
                    with contextlib.suppress(OSError):
                        for number in itertools.count():
                            (many / str(number)).touch()
                for size in (1 << 20, 4096, 1) if what != "files" else ():
                    with contextlib.suppress(OSError):
                        while file.write(bytes(size)) == size:
                            pass
            if running is not None:
                self.finish(running)
            for _ in range(self.rng.randint(1, 2)):
                self.finish(self.start(self.any_name()))
            self.dockc("prune", "-a")
            free = os.statvfs(self.disk)
            if (free.f_bavail * free.f_frsize < 1 << 20 or free.f_favail < 8) and len(self.tags) < 5:
                raise Breach("prune on a full disk freed nothing")
            self.counts["full disks"] += 1
        finally:
            filler.unlink(missing_ok=True)
            shutil.rmtree(many, ignore_errors=True)
            self.full = False
        self.finish(self.start(self.any_name()))

    def forget(self) -> None:
        """Take a name away, so that the store does not only grow."""
        if len(self.tags) > 8:
            gone = self.rng.sample(sorted(self.tags), len(self.tags) - 6)
            self.dockc("images", *[word for tag in gone for word in ("--remove", tag)])
            self.tags -= set(gone)

    def doctor(self) -> None:
        """Nothing is wrong, and no image is lost."""
        said = self.dockc("doctor", *(["--full"] if self.rng.random() < 0.3 else []), may_fail=True)
        if said.returncode:
            raise Breach(f"doctor:\n{said.stdout}{said.stderr}")
        listed = self.dockc("images").stdout
        lost = [
            tag
            for tag in self.tags
            if not any(line.split()[:1] == [tag] or tag in line for line in listed.splitlines())
        ]
        if lost:
            raise Breach(f"images are lost: {lost}\n{listed}")
        self.counts["doctors"] += 1

    # ------------------------------------------------------------ what must hold

    def nothing_left(self) -> None:
        """No process, mount or control group of builders that are gone."""
        deadline = time.monotonic() + 5
        while left := [*self.processes(), *self.mounts(), *self.groups()]:
            if time.monotonic() > deadline:
                raise Breach(f"left behind: {left}")
            time.sleep(0.1)

    def processes(self) -> Iterator[str]:
        mark = f"DOCKC_SOAK={self.top}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(folder.name) != os.getpid() and mark in (folder / "environ").read_bytes():
                    yield f"process {folder.name}: {(folder / 'cmdline').read_bytes()[:200]!r}"

    def mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if line.split(" ")[4].startswith(f"{self.store}/"):
                yield f"mount {line.split(' ')[4]}"

    @staticmethod
    def groups() -> Iterator[str]:
        for pattern in (f"*/{_CGROUP}{os.getpid()}/dockc/run-*", f"{_CGROUP}{os.getpid()}/dockc/run-*"):
            for path in Path("/sys/fs/cgroup").glob(pattern):
                yield f"group {path}"

    def end(self) -> None:
        """When all is over: sound, and after pruning empty."""
        self.doctor()
        self.nothing_left()
        if self.tags:
            self.dockc("images", *[word for tag in sorted(self.tags) for word in ("--remove", tag)])
        self.dockc("prune", "-a")
        self.dockc("doctor", "--full")
        for name in ("snapshots", "staging", "leases", "content/ingest"):
            if left := sorted(path.name for path in (self.store / name).iterdir()):
                raise Breach(f"{name} holds {left[:5]} after everything was pruned")
        blobs = [path for folder in (self.store / "content" / "blobs").iterdir() for path in folder.iterdir()]
        if blobs:
            raise Breach(f"{len(blobs)} blobs are left after everything was pruned")

    def any_name(self) -> str:
        return self.rng.choice(list(DOCKERFILES))

    def say(self, text: str) -> None:
        if self.verbose:
            sys.stderr.write(f"{text}\n")

    def actions(self) -> list[Callable[[], None]]:
        return [
            self.build_one, self.build_one, self.build_several, self.kill, self.kill, self.kill,
            self.prune, self.fill_disk, self.forget, self.doctor,
        ]  # fmt: skip


def prepare(top: Path, rng: random.Random) -> None:
    """The base image and the contexts."""
    for name in ("out", "running"):
        (top / name).mkdir()
    command = [sys.executable, "-m", "dockc", "base", *PROGRAMS, "--output", str(top / "base")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": _python_path()}, check=True, capture_output=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("x/one")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"1"))
    for name, text in DOCKERFILES.items():
        folder = top / "contexts" / name
        (folder / "tree/deep").mkdir(parents=True)
        for n in range(40):
            (folder / "tree" / f"f{n}").write_text(f"{n}\n")
            (folder / "tree/deep" / f"g{n}").write_text(f"{n}\n")
        (folder / "Dockerfile").write_text(text)
        (folder / "fixed").write_text("fixed\n")
        (folder / "changing").write_text("0\n")
        (folder / "number").write_text("0")
        (folder / "noise").write_bytes(rng.randbytes(3_000_000))
        (folder / "packed.tar").write_bytes(packed.getvalue())


def main() -> int:
    """Run as the command line says; the status is 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--disk", type=int, default=300, help="megabytes of the store's disk (as root)")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    rng = random.Random(seed)
    top = Path(tempfile.mkdtemp(prefix="dockc-soak-")).resolve()
    disk: Path | None = None
    if os.geteuid() == 0:
        disk = top / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={options.disk}m,nr_inodes={_INODES}", "tmpfs", disk], check=False, capture_output=True
        )
        if mounted.returncode:
            disk.rmdir()
            disk = None
    soak = Soak(top, (disk or top) / "store", disk, rng, options.verbose)
    begun = time.monotonic()
    try:
        prepare(top, rng)
        soak.finish(soak.start("chain"))
        while time.monotonic() - begun < options.seconds:
            rng.choice(soak.actions())()
        soak.end()
    except (Breach, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"seed {seed}, after {time.monotonic() - begun:.0f} s: {error}\n")
        return 1
    finally:
        clean(top, disk)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(soak.counts.items()))
    sys.stdout.write(
        f"seed {seed}: {time.monotonic() - begun:.0f} s: {counts}; nothing lost, nothing left, doctor clean\n"
    )
    return 0


def clean(top: Path, disk: Path | None) -> None:
    """Take away what the run needed."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) != os.getpid() and f"DOCKC_SOAK={top}".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
    if disk is not None:
        subprocess.run(["umount", "-l", disk], check=False)
    for pattern in (f"*/{_CGROUP}{os.getpid()}", f"{_CGROUP}{os.getpid()}"):
        for path in Path("/sys/fs/cgroup").glob(pattern):
            for inner, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    Path(inner).rmdir()
    shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
