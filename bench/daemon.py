"""What a daemon takes, and whether it stays as it is: budgets, many clients, storms of them, and memory over many builds.

    python bench/daemon.py [resident] [late] [calls] [received] [files] [blob] [watchers] [clients] [storm] [memory]   all without a word
    python bench/daemon.py memory --builds 1000 --seed 7
    python bench/daemon.py beside --peer DIR [--turns 3]                                  against BuildKit: DIR has buildkitd and buildctl

    beside     the same builds by buildctl on this daemon and on BuildKit's, in turn: 20,000 files the first time, with one changed, and
               with nothing changed; an archive, a layer and a tree of 200 MB brought to the client; CPU of the daemon and of the client.
               Beside them the same context in a local build without a daemon. On ext4 begin with a disk on which nothing large was removed
               for five minutes: it passes over all that was removed lately whenever a file is made, which took up to 20 times as long
    resident   CPU of a `dockc build` that finds everything done, in the command and in the resident builder with all of its processes: the
               median of five rounds
    late       how late the event loop is while 20,000 files come and twenty builds run: the longest that another client waits for an answer
    calls      CPU of one small call, both ends
    received   CPU of the daemon for a context of 20,000 small files that no step copies: a step has it mounted; the same for one file
               of 500 MiB
    files      CPU of the daemon for a context of 20,000 small files that is copied, the first time, with one changed, and with none changed
    blob       CPU of the daemon for one file of 500 MiB that is copied, likewise
    watchers   share of a core for 100 clients that watch one busy build
    clients    100 clients that build the same at once
    storm      50 builds at once whose clients cancel or vanish at random moments; nothing may hang or be left
    memory     a mix of cached, ten-step, failing, cancelled and large builds; resident memory after a tenth and after all

As root: steps are run. Each runs a daemon of its own; the first breach ends the run with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dockc.client.address import connect, parse  # noqa: E402
from dockc.client.building import Place, build  # noqa: E402
from dockc.client.control import Remote  # noqa: E402
from dockc.engine.request import Asked, CompileRequest  # noqa: E402
from dockc.errors import DockcError  # noqa: E402
from dockc.solver.progress import SolveStatus  # noqa: E402

CACHED = "FROM scratch\nCOPY busybox /bin/sh\n" + "".join(f"RUN echo {number} > /f{number}\n" for number in range(10))
TEN = "FROM scratch\nCOPY busybox /bin/sh\nARG N\n" + "".join(f"RUN echo $N {number} > /f{number}\n" for number in range(10))
FAILING = "FROM scratch\nCOPY busybox /bin/sh\nARG N\nRUN echo $N && exit 7\n"
SLEEPING = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG N\nRUN sleep $N\n"
TREE = "FROM scratch\nCOPY . /\n"
READING = "FROM scratch\nCOPY busybox /bin/sh\nRUN --mount=target=/src test -f /src/busybox\n"


def silent(_: SolveStatus) -> None:
    """Nobody looks."""


class Breach(Exception):
    """Something does not hold."""


class Daemon:
    """A daemon in a folder of its own, and contexts to build from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/s"
        command = [sys.executable, "-m", "dockc", "daemon", "--root", str(folder / "root"), "--addr", self.address]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([*command, f"--debugaddr=unix://{folder}/d"], stdout=log, stderr=log, cwd=ROOT)

    async def ready(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError):
                await self.numbers()
                return
            if self.process.poll() is not None:
                raise Breach((self.folder / "log").read_text())
            await asyncio.sleep(0.05)
        raise Breach("the daemon does not answer")

    async def asked(self, path: str) -> str:
        """An answer of its debug address."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "d"))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        return text

    async def numbers(self) -> dict[str, float]:
        """What it says of itself."""
        text = await self.asked("/metrics")
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1].isalpha() and " " in line and ":" not in line]
        return {name: float(value) for name, _, value in lines if name.startswith(("dockc_", "process_"))}

    def running(self) -> list[str]:
        """Folders of builds that run."""
        return [one.name for one in (self.folder / "root" / "running").iterdir()]

    async def cpu(self) -> float:
        """Its CPU time, seconds; steps are not counted."""
        return (await self.numbers())["process_cpu_seconds_total"]

    def context(self, dockerfile: str, name: str = "context") -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if not (folder / "busybox").exists():
            shutil.copy(shutil.which("busybox") or "/bin/busybox", folder / "busybox")
        (folder / "Dockerfile").write_text(dockerfile)
        return folder

    async def build(self, context: Path, *, n: object = "", sink: Callable[[SolveStatus], None] = silent) -> None:
        """One build, compiled by the daemon."""
        attrs = {"build-arg:N": str(n)} if n != "" else {}
        request = Asked(compile=CompileRequest(str(context), attrs=attrs))
        await build(Place(parse(self.address)), request, sink, frontend="dockerfile.v0")

    @contextlib.asynccontextmanager
    async def remote(self) -> AsyncIterator[Remote]:
        link = await connect(parse(self.address))
        try:
            yield Remote(link)
        finally:
            await link.close()

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, 60)
        said = (self.folder / "log").read_text()
        if status or "Traceback" in said:
            raise Breach(f"the daemon ended with {status}: {said[-2000:]}")


def own_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def say(what: str, told: str) -> None:
    print(f"{what:<10} {told}", flush=True)


async def calls(daemon: Daemon, _: argparse.Namespace) -> None:
    count = 3000
    async with daemon.remote() as remote:
        for _number in range(200):
            await remote.info()
        mine, its = own_cpu(), await daemon.cpu()
        for _number in range(count):
            await remote.info()
        mine, its = own_cpu() - mine, await daemon.cpu() - its
    say("calls", f"{(mine + its) / count * 1e6:.0f} us of CPU both ends (budget 300): client {mine / count * 1e6:.0f}, daemon {its / count * 1e6:.0f}")


async def transferred(daemon: Daemon, what: str, context: Path, told: str, budget: float = 0) -> None:
    """What a context takes: the first time, with one file changed, and with none changed. Only the first has a budget."""
    first = 0.0
    for turn in ("first", "one changed", "none changed"):
        if turn == "one changed":
            (context / "changed").write_text(turn)
        before, began = await daemon.cpu(), time.monotonic()
        await daemon.build(context)
        spent = await daemon.cpu() - before
        say(what, f"{turn}: {spent:.2f} s of CPU in the daemon, {time.monotonic() - began:.1f} s ({told})")
        if turn == "first":
            first = spent
    if budget and first > budget:
        raise Breach(f"{first:.2f} s of CPU, the budget is {budget}")


async def received(daemon: Daemon, _: argparse.Namespace) -> None:
    await daemon.build(daemon.context(READING, "small"))  # what is loaded once is loaded
    context = daemon.context(READING, "files")
    many_files(context)
    await transferred(daemon, "received", context, "budget 0.9 for the first", 0.9)
    large = daemon.context(READING, "large")
    one_blob(large)
    await transferred(daemon, "received", large, "500 MiB, budget 1.2 for the first", 1.2)


async def files(daemon: Daemon, _: argparse.Namespace) -> None:
    context = daemon.context(TREE, "files")
    many_files(context)
    await transferred(daemon, "files", context, "with the copy")


def many_files(context: Path) -> None:
    for number in range(20_000):
        folder = context / f"{number % 100:02}"
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(b"%08d" % number * 128)


class Peer:
    """BuildKit's daemon in a folder of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._place = folder / "peer.sock"
        self.address, self._log = f"unix://{folder}/peer.sock", folder / "peer.log"
        command = [str(programs / "buildkitd"), "--root", str(folder / "peer"), "--addr", self.address, "--containerd-worker=false"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    async def ready(self) -> None:
        for _ in range(600):
            if self._place.exists():
                return
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise Breach(self._log.read_text()[-2000:])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def cpu_of(pid: int) -> float:
    """CPU time of a process so far, seconds; its children are not counted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def beside(daemon: Daemon, options: argparse.Namespace) -> None:
    if options.peer is None:
        say("beside", "needs --peer DIR, a directory with buildkitd and buildctl")
        return
    peer = Peer(daemon.folder, options.peer)
    try:
        await peer.ready()
        small, files_, blob_ = daemon.context(TREE, "small"), daemon.context(TREE, "files"), daemon.context(TREE, "blob")
        many_files(files_)
        (blob_ / "blob").write_bytes(os.urandom(200_000_000))
        sides = {"dockc": (daemon.address, daemon.process.pid), "buildkit": (peer.address, peer.process.pid)}
        out = daemon.folder / "out"

        def one(what: str, context: Path, *more: str) -> None:
            told = []
            for name, (address, pid) in sides.items():
                shutil.rmtree(out, ignore_errors=True)
                out.unlink(missing_ok=True)
                before, mine, began = cpu_of(pid), resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
                words = ["build", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}", *more]
                done = subprocess.run([options.peer / "buildctl", "--addr", address, *words], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Breach(f"{what}, {name}: {done.stderr[-2000:]}")
                passed, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
                client = after.ru_utime + after.ru_stime - mine.ru_utime - mine.ru_stime
                told.append(f"{name} {cpu_of(pid) - before:5.2f} (client {client:.2f}, {passed:4.1f} s)")
            say("beside", f"{what:<24} {'   '.join(told)}")

        one("warm up", small)
        one("files, first", files_)
        for turn in range(options.turns):
            (files_ / "changed").write_text(str(turn))
            one("files, one changed", files_)
            one("files, none changed", files_)
        one("archive, first", blob_, f"--output=type=oci,dest={out}")
        for _ in range(options.turns):
            for kind in ("oci", "tar", "local"):
                one(f"{kind}, again", blob_, f"--output=type={kind},dest={out}")
        local(daemon.folder, files_)
    finally:
        peer.stop()


def local(folder: Path, context: Path) -> None:
    """The context of many files in builds without a daemon."""
    command = [sys.executable, "-m", "dockc", "build", str(context), "--store", str(folder / "local"), "--progress=none"]
    for what in ("first", "one changed", "none changed"):
        if what == "one changed":
            (context / "changed").write_text("local")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        say("beside", f"files, {what:<17} dockc build, no daemon {after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:5.2f}")


def tree_cpu(pid: int) -> float:
    """CPU time of a process, of its children, and of those that it has taken leave of, seconds."""
    total = 0
    for one in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        with contextlib.suppress(OSError):
            total += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


async def resident(daemon: Daemon, _: argparse.Namespace) -> None:
    await asyncio.to_thread(of_resident, daemon)


def of_resident(daemon: Daemon) -> None:
    context = daemon.context("FROM scratch\nCOPY busybox /bin/sh\nRUN echo 1 > /1\nRUN echo 2 > /2\n", "nothing")
    environment = {**os.environ, "DOCKC_STORE": str(daemon.folder / "own"), "XDG_CONFIG_HOME": str(daemon.folder)}
    with (daemon.folder / "resident.log").open("wb") as log:
        serving = subprocess.Popen([sys.executable, "-m", "dockc", "daemon", "--resident"], cwd=ROOT, env=environment, stderr=log, stdin=subprocess.DEVNULL)
    try:
        while not (daemon.folder / "own" / "daemon.sock").exists():
            time.sleep(0.05)

        def once() -> float:
            process = subprocess.Popen([sys.executable, "-m", "dockc", "build", str(context)], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
            assert process.stderr is not None
            said = process.stderr.read().decode()
            _, status, spent = os.wait4(process.pid, 0)
            process.returncode = status
            if status or "built by the daemon of this store" not in said:
                raise Breach(said)
            return spent.ru_utime + spent.ru_stime

        for _number in range(6):
            once()
        rounds, builds = 5, 10
        mine, its = [], []
        for _number in range(rounds):
            before = tree_cpu(serving.pid)
            mine += [once() for _ in range(builds)]
            time.sleep(0.1)
            its.append((tree_cpu(serving.pid) - before) / builds)
        say("resident", f"{sorted(mine)[len(mine) // 2] * 1e3:.1f} ms in the command (budget 20), {sorted(its)[rounds // 2] * 1e3:.1f} in the resident (budget 30)")
    finally:
        serving.terminate()
        serving.wait(30)


async def late(daemon: Daemon, _: argparse.Namespace) -> None:
    """Another process asks all the time; what it waits for is the loop's lateness, and the machine's."""
    files_, ten = daemon.context(TREE, "files"), daemon.context(TEN, "ten")
    many_files(files_)
    await daemon.build(ten, n="first")
    for what, work in (("20,000 files", [files_]), ("twenty builds", [ten] * 20)):
        probe = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "bench" / "daemon.py"), "probe", "--address", daemon.address, stdout=subprocess.PIPE
        )  # fmt: skip
        assert probe.stdout is not None
        await probe.stdout.readline()
        builds = [asyncio.create_subprocess_exec(
            sys.executable, "-m", "dockc", "build", str(context), "--addr", daemon.address, "--progress=none", f"--build-arg=N={number}", cwd=ROOT, stderr=subprocess.DEVNULL,
        ) for number, context in enumerate(work)]  # fmt: skip
        await asyncio.gather(*[(await build).wait() for build in builds])
        probe.send_signal(signal.SIGTERM)
        say("late", f"{what}: {(await probe.stdout.read()).decode().strip()}")
        await probe.wait()


async def probe(address: str) -> None:
    """Ask a daemon every few milliseconds until told to end; how long it took."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    link = await connect(parse(address))
    waits: list[float] = []
    own: list[float] = []
    try:
        remote = Remote(link)
        await remote.info()
        print("ready", flush=True)
        while not ending.is_set():
            began = time.monotonic()
            await remote.info()
            asked = time.monotonic()
            await asyncio.sleep(0.005)
            waits.append(asked - began)
            own.append(time.monotonic() - asked - 0.005)
    finally:
        await link.close()
    for what, times in (("an answer took", waits), ("the same process's own timers were late by", own)):
        times.sort()
        print(f"{what} p50 {times[len(times) // 2] * 1e3:.0f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.0f}, at most {times[-1] * 1e3:.0f};", end=" ")


async def blob(daemon: Daemon, _: argparse.Namespace) -> None:
    context = daemon.context(TREE, "blob")
    one_blob(context)
    await transferred(daemon, "blob", context, "with the copy")


def one_blob(context: Path) -> None:
    with (context / "blob").open("wb") as file:
        for _number in range(500):
            file.write(os.urandom(1 << 20))


async def watchers(daemon: Daemon, _: argparse.Namespace) -> None:
    text = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG N\nRUN for a in 1 2 3 4 5 6 7 8 9 10; do for b in 1 2 3 4 5 6 7 8 9 10; do echo $a $b; sleep 0.1; done; done\n"
    context = daemon.context(text, "watched")
    shares: list[tuple[float, float]] = []
    await daemon.build(daemon.context(CACHED))  # what is loaded once is loaded
    for count in (0, 0, 100):
        began, before = time.monotonic(), await daemon.cpu()
        mine = own_cpu()
        building = asyncio.create_task(daemon.build(context, n=len(shares)))
        async with daemon.remote() as remote:
            ref = ""
            while not ref:
                from dockc.rpc.pb import control_pb2

                await asyncio.sleep(0.3)
                async for event in remote.history(control_pb2.BuildHistoryRequest(EarlyExit=True, ActiveOnly=True)):
                    ref = event.record.Ref

            async def watch(name: str, remote: Remote = remote) -> int:
                return sum([1 async for _ in remote.watch(name)])

            heard = await asyncio.gather(*(watch(ref) for _ in range(count)))
            await building
        passed = time.monotonic() - began
        shares.append(((await daemon.cpu() - before) / passed, (own_cpu() - mine) / passed))
        if count and min(heard) < 10:
            raise Breach(f"a watcher heard {min(heard)} messages only")
    say("watchers", f"100 streams take {(shares[2][0] - shares[1][0]) * 100:.1f} % of a core in the daemon, {(shares[2][1] - shares[1][1]) * 100:.1f} % here (budget 8 % both)")


async def clients(daemon: Daemon, _: argparse.Namespace) -> None:
    context = daemon.context(CACHED)
    await daemon.build(context)
    before, began = await daemon.cpu(), time.monotonic()
    await asyncio.gather(*(daemon.build(context) for _ in range(100)))
    spent, passed = await daemon.cpu() - before, time.monotonic() - began
    say("clients", f"100 cached builds at once: {passed:.1f} s, {spent * 10:.0f} ms of CPU each in the daemon")
    await quiet(daemon)


async def quiet(daemon: Daemon) -> None:
    """Wait until nothing of the builds is left."""
    for _ in range(200):
        found = await daemon.numbers()
        open_ = found["dockc_builds_running"] or found["dockc_sessions"] or found["dockc_connections"]
        if not open_ and not daemon.running():
            return
        await asyncio.sleep(0.1)
    stacks = await daemon.asked("/debug/stacks")
    raise Breach(f"something is left: {await daemon.numbers()}, {daemon.running()}\n{stacks}")


async def storm(daemon: Daemon, options: argparse.Namespace) -> None:
    dice = random.Random(options.seed)
    sleeping, ten = daemon.context(SLEEPING, "sleeping"), daemon.context(TEN, "ten")
    await daemon.build(ten, n="first")
    await quiet(daemon)
    handles = (await daemon.numbers())["process_open_fds"]
    ends: Counter[str] = Counter()

    async def one(number: int, how: str, after: float) -> None:
        if how == "vanishes":  # killed: its connections close without a word
            command = [sys.executable, "-m", "dockc", "build", str(sleeping), "--addr", daemon.address, "--progress=none", f"--build-arg=N={1000 + number}"]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL)
            await asyncio.sleep(after + 1)
            process.kill()
            await process.wait()
        else:
            task = asyncio.create_task(daemon.build(sleeping if how == "cancels" else ten, n=number + 1000))
            if how == "cancels":
                await asyncio.sleep(after)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if how == "ends" and (task.cancelled() or task.exception()):
                raise Breach(f"a build that nobody ended failed: {task.exception()!r}")
        ends[how] += 1

    for _ in range(options.rounds):
        kinds = [dice.choice(("cancels", "cancels", "ends", "ends", "vanishes")) for _ in range(50)]
        # All at once; processes of their own are few, as the machine has to start them.
        kinds = [how if how != "vanishes" or number < 10 else "cancels" for number, how in enumerate(kinds)]
        await asyncio.wait_for(asyncio.gather(*(one(number + 100 * _, how, dice.uniform(0, 3)) for number, how in enumerate(kinds))), 150)
        await quiet(daemon)
    if left := sleepers():
        raise Breach(f"steps outlive their builds: {left}")
    now = (await daemon.numbers())["process_open_fds"]
    if now > handles + 4:
        raise Breach(f"{handles:.0f} files were open, {now:.0f} are")
    say("storm", f"{options.rounds} rounds of 50: {dict(ends)}; nothing is left")


def sleepers() -> list[Path]:
    """Processes of the steps that sleep."""
    return [place for place in Path("/proc").glob("[0-9]*/cmdline") if _is_sleeper(place)]


def _is_sleeper(place: Path) -> bool:
    try:
        words = place.read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"sleep") and words[1].isdigit() and 1000 <= int(words[1]) < 3000


async def memory(daemon: Daemon, options: argparse.Namespace) -> None:
    dice = random.Random(options.seed)
    cached, ten, failing = daemon.context(CACHED), daemon.context(TEN, "ten"), daemon.context(FAILING, "failing")
    sleeping, tree = daemon.context(SLEEPING, "sleeping"), daemon.context(TREE, "tree")
    for number in range(5000):
        (tree / f"{number % 50:02}").mkdir(exist_ok=True)
        (tree / f"{number % 50:02}" / str(number)).write_text(str(number))
    kinds = ["cached"] * 76 + ["ten"] * 6 + ["failing"] * 8 + ["cancelled"] * 7 + ["tree"] * 3
    done: Counter[str] = Counter()
    sizes: list[tuple[int, float]] = []
    began = time.monotonic()

    async def one(number: int, kind: str) -> None:
        match kind:
            case "cached":
                await daemon.build(cached)
            case "ten":
                await daemon.build(ten, n=number)
            case "failing":
                with contextlib.suppress(DockcError):
                    await daemon.build(failing, n=number)
            case "tree":
                (tree / "00" / "0").write_text(str(number))
                await daemon.build(tree)
            case "cancelled":
                task = asyncio.create_task(daemon.build(sleeping, n=100_000 + number))
                await asyncio.sleep(dice.uniform(0, 0.4))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        done[kind] += 1

    number = 0
    while number < options.builds and time.monotonic() - began < options.seconds:
        batch = range(number, min(number + 4, options.builds))
        await asyncio.gather(*(one(each, dice.choice(kinds)) for each in batch))
        number = batch.stop
        if number % (options.builds // 10) < 4:
            await quiet(daemon)
            await asyncio.sleep(2)  # what builds had is given back a second after the last one
            sizes.append((number, (await daemon.numbers())["process_resident_memory_bytes"] / (1 << 20)))
            say("memory", f"{number} builds: {sizes[-1][1]:.0f} MiB, {time.monotonic() - began:.0f} s")
    growth = sizes[-1][1] / sizes[0][1] - 1
    say("memory", f"{dict(done)}: {growth:+.1%} from {sizes[0][0]} to {sizes[-1][0]} builds (budget 10 %)")
    if number == options.builds >= 1000 and growth > 0.1:
        raise Breach("memory grows")


SCENES: dict[str, Callable[[Daemon, argparse.Namespace], Awaitable[None]]] = {
    "beside": beside, "resident": resident, "late": late, "calls": calls, "received": received, "files": files, "blob": blob, "watchers": watchers, "clients": clients, "storm": storm, "memory": memory,
}  # fmt: skip


async def run(name: str, options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dockc-daemon-"))
    daemon = Daemon(folder)
    try:
        await daemon.ready()
        await SCENES[name](daemon, options)
        await daemon.stop()
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, "probe", []], metavar="SCENE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="of the storm")
    parser.add_argument("--builds", type=int, default=1000, help="of the memory scene")
    parser.add_argument("--seconds", type=float, default=170, help="of the memory scene, at most")
    parser.add_argument("--peer", type=Path, help="of the scene beside: a directory with BuildKit's buildkitd and buildctl")
    parser.add_argument("--turns", type=int, default=3, help="of the scene beside")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scenes == ["probe"]:
        asyncio.run(probe(options.address))
        return 0
    for name in options.scenes or SCENES:
        try:
            asyncio.run(run(name, options))
        except (Breach, TimeoutError) as breach:
            print(f"{name}: {str(breach) or 'something hangs'}; repeat: python bench/daemon.py {name} --seed {options.seed}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
