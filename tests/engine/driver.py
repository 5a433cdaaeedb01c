"""One scenario on one engine in a process of its own, which has entered the builder's namespaces: `driver.py SCENARIO STORE BASE`.

Prints what was seen as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dockc.base.record import replace
from dockc.engine.bridge import Bridge, Result
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.request import BuildRequest, Built
from dockc.errors import DockcError
from dockc.runtime.exporter.options import Output
from dockc.runtime.remotecache.base import CacheEntry
from dockc.runtime.session.auth import ANONYMOUS, Credentials, Token, TokenWish
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import Directory, HeldFiles, HostDirectory
from dockc.runtime.source.ocilayout import resolve_context
from dockc.solver.progress import SolveStatus

ROOT = Path(sys.argv[2])
BASE, DIGEST = resolve_context(sys.argv[3])
BLOCKING = ("open", "os.", "subprocess.", "socket.connect", "sqlite3.connect", "shutil.", "tempfile.")


def request(**more: Any) -> BuildRequest:
    attrs = {"context:base": f"oci-layout://base@{DIGEST}", **more.pop("attrs", {})}
    return BuildRequest(attrs=attrs, outputs=(Output("cacheonly"),), **more)


def session(dockerfile: str, context: Path, **more: Any) -> Session:
    directories: dict[str, Directory] = {"context": HostDirectory(context), "dockerfile": HeldFiles({"Dockerfile": dockerfile.encode()})}
    return Session(directories=directories, stores={"base": BASE}, **more)


def context(name: str = "context", **files: str) -> Path:
    folder = ROOT / name
    folder.mkdir(exist_ok=True)
    for path, text in files.items():
        (folder / path).write_text(text)
    return folder


class Executions:
    """Counts what operations really do, by kind and text."""

    def __init__(self, engine: Engine) -> None:
        self.seen: Counter[str] = Counter()
        solver = engine.work.solver
        resolve = solver.runner._resolver

        def counting(vertex: Any) -> Any:
            op = resolve(vertex)
            inner = op.exec

            async def counted(ctx: Any, inputs: Any) -> Any:
                if vertex.op.WhichOneof("op") != "source":
                    self.seen[vertex.name] += 1
                return await inner(ctx, inputs)

            setattr(op, "exec", counted)  # noqa: B010  an instance"s own
            return op

        solver.runner._resolver = counting


def rest(engine: Engine) -> dict[str, int]:
    """What is left in a solver that has nothing to do."""
    runner = engine.work.solver.runner
    core = runner.core
    return {
        "vertices": len(core.vertices), "active": len(runner.active), "handles": len(runner.handles), "errors": len(runner.errors),
        "watchers": len(runner.watchers), "tasks": len(runner._tasks), "requests": len(core.requests), "tickets": len(core._tickets),
        "bindings": len(core._bindings),
    }  # fmt: skip


def silent(status: SolveStatus) -> None:
    pass


async def fifty(engine: Engine) -> dict[str, Any]:
    """Fifty builds at once from overlapping Dockerfiles."""
    folder = context(f="one", g="two")
    counted = Executions(engine)

    def file(n: int) -> str:
        return (
            "FROM base AS tools\nRUN echo tools > /tools\n"
            f"FROM base\nRUN echo {n % 5} > /n\nCOPY f /f\nRUN cat /f /n > /both\n"
            f"COPY --from=tools /tools /tools{n % 2}\nRUN --mount=type=cache,target=/c cat /tools{n % 2}\n"
        )

    built = await asyncio.gather(*(engine.build(request(), session(file(n), folder), silent) for n in range(50)))
    first = sum(counted.seen.values()), dict(counted.seen)
    again = await asyncio.gather(*(engine.build(request(), session(file(n), folder), silent) for n in range(50)))
    return {
        "executed": first[0],
        "seen": first[1],
        "again": sum(counted.seen.values()) - first[0],
        "cached": [one.cached for one in again],
        "built": len(built),
        "rest": rest(engine),
    }


async def failing(engine: Engine) -> dict[str, Any]:
    """Of ten builds three fail; they share a step with those that do not."""
    folder = context(f="one")

    async def one(n: int) -> str:
        bad = n % 3 == 2
        text = f"FROM base\nRUN sleep 0.2; echo shared > /s\nRUN {'exit 3' if bad else f'echo {n} > /n'}\n"
        try:
            await engine.build(request(), session(text, folder), silent)
        except DockcError as error:
            return error.message
        return "built"

    results = await asyncio.gather(*(one(n) for n in range(10)))
    return {"results": results, "rest": rest(engine)}


async def cancelled(engine: Engine) -> dict[str, Any]:
    """Builds that share steps are cancelled at random points, others go on to their end."""
    choose = random.Random(int(sys.argv[4]))
    folder = context(f="one")
    ended: Counter[str] = Counter()
    wrong: list[str] = []

    async def one(n: int) -> None:
        text = f"FROM base\nRUN sleep 0.1; echo shared > /s\nCOPY f /f\nRUN sleep 0.1; echo {n % 3} > /n\nRUN cat /n /s /f\n"
        events = choose.randrange(1, 40) if n % 2 else -1
        seen = 0
        task: asyncio.Task[Built]

        def sink(status: SolveStatus) -> None:
            nonlocal seen
            seen += 1
            if seen == events:
                task.cancel()

        task = asyncio.ensure_future(engine.build(request(), session(text, folder), sink))
        try:
            await task
            ended["built"] += 1
        except asyncio.CancelledError:
            ended["cancelled"] += 1
            if events < 0:
                wrong.append(f"{n} was cancelled and should not have been")
        except DockcError as error:
            wrong.append(f"{n}: {error.message}")

    await asyncio.gather(*(one(n) for n in range(24)))
    return {"ended": dict(ended), "wrong": wrong, "rest": rest(engine)}


async def directories(engine: Engine) -> dict[str, Any]:
    """Builds of one Dockerfile from different directories at once get their own files."""
    text = "FROM base\nCOPY f /f\nRUN cat /f\n"

    async def one(n: int) -> str:
        folder = context(f"context{n}", f=f"file {n}\n")
        said = b""

        def sink(status: SolveStatus) -> None:
            nonlocal said
            said += b"".join(log.data for log in status.logs)

        await engine.build(request(), session(text, folder), sink)
        return said.decode()

    return {"said": await asyncio.gather(*(one(n) for n in range(8)))}


async def closing(engine: Engine) -> dict[str, Any]:
    """An engine that is closed while builds are at work cancels them, and they have ended when it is closed."""
    folder = context(f="one")
    running = asyncio.Event()

    def sink(status: SolveStatus) -> None:
        if any(event.started and "sleep" in event.name for event in status.vertexes):
            running.set()

    async with Engine(EngineOptions(root=ROOT / "other")) as other:
        build = asyncio.ensure_future(other.build(request(), session("FROM base\nRUN sleep 1000\n", folder), sink))
        await running.wait()
    return {"cancelled": build.cancelled()}


class Store:
    """Secrets by id."""

    def __init__(self, **known: bytes) -> None:
        self.known = known
        self.asked = 0

    def get(self, secret_id: str) -> bytes | None:
        self.asked += 1
        return self.known.get(secret_id)


async def secrets(engine: Engine) -> dict[str, Any]:
    """Of two builds that share a step, only one has its secret; and it is not the first."""
    folder = context(f="one")
    text = "FROM base\nRUN true\nRUN --mount=type=secret,id=s,required=true cat /run/secrets/s\n"
    stores = [Store(), Store(s=b"known\n")]
    said: list[str] = ["", ""]
    known = [threading.Event(), threading.Event()]
    executor: Any = engine.work.worker.executor
    inner = executor.run

    def run(*arguments: Any) -> Any:
        for one in known:  # nothing runs before both builds are there
            one.wait(60)
        return inner(*arguments)

    executor.run = run

    def sink(n: int) -> Callable[[SolveStatus], None]:
        def take(status: SolveStatus) -> None:
            said[n] += b"".join(log.data for log in status.logs).decode()
            if any("--mount" in event.name for event in status.vertexes):
                known[n].set()

        return take

    first = asyncio.ensure_future(engine.build(request(), session(text, folder, secrets=stores[0]), sink(0)))
    while not known[0].is_set():
        await asyncio.sleep(0.01)
    await asyncio.gather(first, engine.build(request(), session(text, folder, secrets=stores[1]), sink(1)))
    return {"said": said, "asked": [store.asked for store in stores]}


async def blocking(engine: Engine) -> dict[str, Any]:
    """Calls on the loop's thread that may block, while twenty builds run, after one that loaded all modules."""
    folder = context(f="one")
    text = "FROM base\nRUN echo {n} > /n\nCOPY f /f\nRUN cat /f\n"
    await engine.build(request(), session(text.format(n="first"), folder), silent)
    loop_thread = threading.get_ident()
    seen: Counter[str] = Counter()
    watching = False

    def hook(event: str, arguments: Any) -> None:
        if watching and event.startswith(BLOCKING) and threading.get_ident() == loop_thread:
            seen[f"{event} {str(arguments[:1])[:100]}"] += 1

    sys.addaudithook(hook)
    watching = True
    await asyncio.gather(*(engine.build(request(), session(text.format(n=n), folder), silent) for n in range(20)))
    watching = False
    return {"seen": dict(seen)}


async def lifetime(engine: Engine) -> dict[str, Any]:
    """What there is more of after sixty builds than after thirty, half of which fail, each of something new and all of it pruned: objects, entries."""
    import gc
    import weakref

    from dockc.runtime.refs import contenthash
    from dockc.runtime.refs.policy import Rule

    contenthash._TREES_IN_MEMORY = 4  # it keeps so many, of all that have been
    folder = context(f="one")

    def kept(one: Any) -> bool:
        """sqlite3 keeps weak references to its last two hundred cursors; a record's class gets methods of its own when much used."""
        return any(isinstance(each, weakref.ref) for each in one) or "__builtins__" in one

    async def census() -> Counter[str]:
        await engine.work.blocking(lambda: engine.work.worker.prune([Rule(all=True)]))
        gc.collect()
        found: Counter[str] = Counter()
        for one in gc.get_objects():
            kind = type(one)
            if kind.__module__.startswith("dockc"):
                found[f"{kind.__module__}.{kind.__qualname__}"] += 1
            elif isinstance(one, dict | set | list) and len(one) > 25 and not kept(one):
                found["entries of large containers"] += len(one)
        return found

    async def some(first: int) -> None:
        for n in range(first, first + 15):
            (folder / "f").write_text(str(n))
            dockerfile = f"FROM base\nCOPY f /f\nRUN echo {n}\n"
            await engine.build(request(), session(dockerfile, folder), silent)
            try:
                await engine.build(request(), session(f"FROM base\nRUN exit {n % 7 + 1}; echo {n}\n", folder), silent)
            except DockcError:
                pass

    await some(30)  # tables that are filled on first use are full after it
    await census()
    await some(0)
    before = tuple((await census()).items())  # a table of its own would be counted
    await some(15)
    after = await census()
    known = dict(before)
    return {"more": {name: count - known.get(name, 0) for name, count in after.items() if count - known.get(name, 0) >= 22}}


async def garbage(engine: Engine) -> dict[str, Any]:
    """How often the store is looked at while builds come and go."""
    folder = context(f="one")
    refs = engine.work.worker.refs
    looks = 0
    collect = refs.collect

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return collect(*args, **kwargs)

    refs.collect = counting  # type: ignore[method-assign]
    for n in range(3):
        await engine.build(request(), session(f"FROM base\nRUN echo {n} > /n\n", folder), silent)
    during = looks
    await engine.collect()
    await engine.collect()
    return {"during": during, "after": looks}


async def bridge(engine: Engine) -> dict[str, Any]:
    """A frontend asks for everything that there is."""
    from dockc import llb
    from dockc.errors import DockcError

    folder = context(f="one")
    seen: dict[str, Any] = {}
    told: list[SolveStatus] = []

    async def said(name: str, wanted: Any) -> None:
        try:
            seen[name] = await wanted
        except DockcError as error:
            seen[name] = f"{type(error).__name__}: {error.message}"

    async def frontend(bridge: Bridge) -> Result:
        made = llb.scratch().file(llb.mkdir("/d"), llb.mkfile("/d/a", "0123456789"), llb.mkfile("/d/b", "b"), llb.symlink("/d/a", "/link"))
        ref = (await bridge.solve(made.marshal())).refs[""]
        assert ref is not None
        seen["lazy"] = ref.built is None
        await said("whole", bridge.read_file(ref, "/d/a"))
        await said("part", bridge.read_file(ref, "d/a", offset=3, length=4))
        await said("through a link", bridge.read_file(ref, "/link"))
        await said("outside", bridge.read_file(ref, "../../../etc/passwd"))
        await said("missing", bridge.read_file(ref, ".dockerignore"))
        await said("a directory", bridge.read_file(ref, "/d"))
        seen["names"] = [one.path for one in await bridge.read_dir(ref, "/d")]
        seen["some names"] = [one.path for one in await bridge.read_dir(ref, "/d", include="b*")]
        await said("no directory", bridge.read_dir(ref, "/x"))
        found = await bridge.stat_file(ref, "/link")
        seen["stat"] = [found.path, oct(found.mode), found.link]
        await said("no file", bridge.stat_file(ref, "/nothing"))
        meta = await bridge.resolve_source_meta(f"oci-layout://base@{DIGEST}", {"oci.store": "base"})
        seen["meta"] = getattr(meta, "digest", "") == DIGEST
        await said("no such source", bridge.resolve_source_meta("local://context"))
        await said("no frontend", bridge.solve(frontend="nobody.v0"))
        await said("later", bridge.solve(frontend="gateway.v0"))
        inner = await bridge.solve(frontend="dockerfile.v0", attrs={"context:base": f"oci-layout://base@{DIGEST}"}, evaluate=True)
        seen["inner"] = sorted(inner.metadata)
        await said("inner file", bridge.read_file(inner.refs[""], "/f"))
        bad = await bridge.solve(llb.image("base").run("exit 3").marshal())
        seen["bad is lazy"] = bad.refs[""] is not None
        bridge.warn("sha256:0", "careful", url="https://example.com", ranges=())
        seen["inputs"] = sorted(bridge.inputs())
        return Result({"": ref})

    named = {"given": llb.scratch().file(llb.mkdir("/g")).marshal().to_bytes()}
    built = await engine.run(frontend, request(inputs=named), session("FROM base\nCOPY f /f\n", folder), told.append)
    seen = {name: value.decode() if isinstance(value, bytes) else value for name, value in seen.items()}
    warned = [warning.short for status in told for warning in status.warnings]
    return {"seen": seen, "warned": warned, "outputs": len(built.exported), "rest": rest(engine)}


async def removed(_: Engine) -> dict[str, Any]:
    """Somebody removes the store under an engine, which says so, to the end."""
    import shutil

    said = []
    asked = BuildRequest(frontend="", outputs=(Output("cacheonly"),))
    try:
        async with Engine(EngineOptions(root=ROOT / "other")) as other:
            await other.build(asked, Session(), silent)
            shutil.rmtree(ROOT / "other")
            try:
                await other.build(asked, Session(), silent)
            except DockcError as error:
                said.append(error.message)
    except DockcError as error:
        said.append(error.message)
    return {"said": said}


async def bare(engine: Engine) -> dict[str, Any]:
    """A definition without a frontend, exported as an image that has no config of its own."""
    from dockc import llb

    data = llb.scratch().file(llb.mkdir("/g")).file(llb.mkfile("/g/f", "f")).marshal().to_bytes()
    asked = BuildRequest(frontend="", definition=data, outputs=(Output("oci", str(ROOT / "out.tar")),))
    built = await engine.build(asked, Session(), silent)
    empty = await engine.build(BuildRequest(frontend="", outputs=(Output("cacheonly"),)), Session(), silent)
    return {"metadata": sorted(built.metadata), "executed": built.executed, "empty": empty.executed}


def inner(name: str) -> bytes:
    """A graph that builds the graph in a file of the directory `graphs`."""
    from dockc import llb
    from dockc.llb.pb import ops_pb2 as ops

    *base, last = getattr(ops.Definition.FromString(llb.local("graphs").marshal().to_bytes()), "def")
    fields = ops.BuildOp(builder=-1, inputs={"buildkit.llb.definition": ops.BuildInput(input=0)}, attrs={"llbbuild.filename": name})
    step = ops.Op(inputs=ops.Op.FromString(last).inputs, build=fields).SerializeToString(deterministic=True)
    digest = f"sha256:{hashlib.sha256(step).hexdigest()}"
    made = ops.Definition()
    getattr(made, "def").extend([*base, step, ops.Op(inputs=[ops.Input(digest=digest)]).SerializeToString()])
    return made.SerializeToString()


async def graphs(_: Engine) -> dict[str, Any]:
    """Builds inside of builds, one operation at a time: each waits for those that it is made of, and for itself nobody waits."""
    from dockc import llb
    from dockc.llb import attrs as A
    from dockc.llb.author import state
    from dockc.llb.sources import SourceSpec
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.solver.run.jobs import Job

    folder = context("graphs")
    base = state.source(SourceSpec(f"oci-layout://base@{DIGEST}", {A.OCI_STORE: "base"}))
    files = {
        "file": llb.scratch().file(llb.mkfile("/f", "f")).marshal().to_bytes(),
        "again": inner("file"),
        "self": inner("self"), "one": inner("two"), "two": inner("one"),
        "garbage": b"\xff", "empty": b"", "slow": base.run("sleep 1000").marshal().to_bytes(), "waits": inner("slow"),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "away").symlink_to("/etc/passwd")
    (folder / "folder").mkdir()
    said: dict[str, str] = {}

    def asked(name: str) -> BuildRequest:
        return BuildRequest(frontend="", definition=inner(name), outputs=(Output("local", str(ROOT / f"out-{name}")),))

    lent = Session(directories={"graphs": HostDirectory(folder)}, stores={"base": BASE})
    running = asyncio.Event()

    def sink(status: SolveStatus) -> None:
        if any(event.started and "sleep" in event.name for event in status.vertexes):
            running.set()

    async with Engine(EngineOptions(root=ROOT / "other", parallelism=1)) as engine:
        for name in ("again", "self", "one", "garbage", "empty", "away", "folder", "missing"):
            try:
                async with asyncio.timeout(60):
                    await engine.build(asked(name), lent, silent)
                said[name] = (ROOT / f"out-{name}" / "f").read_text()
            except DockcError as error:
                said[name] = error.message
        slow = asyncio.ensure_future(engine.build(asked("waits"), lent, sink))
        await asyncio.wait_for(running.wait(), 60)
        slow.cancel()
        await asyncio.wait((slow,), timeout=60)
        said["waits"] = str(slow.cancelled())
        left = rest(engine)

        given: list[str] = []
        close, clone = Job.close, ImmutableRef.clone

        async def late(job: Job) -> None:
            await close(job)
            if job.name.startswith("graph"):
                raise asyncio.CancelledError

        def noted(ref: ImmutableRef) -> ImmutableRef:
            made = clone(ref)
            release = made.release
            given.append("clone")

            def released() -> None:
                given.append("release")
                release()

            made.release = released  # type: ignore[method-assign]
            return made

        async def asks(bridge: Bridge) -> Result:
            Job.close, ImmutableRef.clone = late, noted  # type: ignore[assignment,method-assign]
            try:
                await bridge.graph("sha256:one", llb.scratch().file(llb.mkfile("/late", "late")).marshal())
            except asyncio.CancelledError:
                given.append("cancelled")
            finally:
                Job.close, ImmutableRef.clone = close, clone  # type: ignore[method-assign]
            return Result({"": None})

        await engine.run(asks, BuildRequest(outputs=(Output("cacheonly"),)), Session(), silent)
    return {"said": said, "rest": left, "given": given}


class Login:
    """One user's credentials, which are gone when the user is. Mutable: `here`."""

    def __init__(self, user: str) -> None:
        self.user, self.here = user, True

    def credentials(self, name: str) -> Credentials:
        return Credentials(self.user, "password") if self.here else ANONYMOUS

    def token(self, wish: TokenWish, cancelled: threading.Event | None = None) -> Token | None:
        return None


async def strangers(_: Engine) -> dict[str, Any]:
    """One user's build finds all its steps in a cache, and fetches nothing; another user's build then needs the layers."""
    cache = {"ref": f"{sys.argv[4]}/app/cache:x"}
    files = context(a="A")
    dockerfile = "FROM base\nCOPY a /a\nRUN cat /a > /b\n"
    writer, reader, other = map(Login, ("writer", "reader", "other"))
    async with Engine(EngineOptions(root=ROOT / "first")) as first:
        asked = request(cache_to=(CacheEntry("registry", {**cache, "mode": "max"}),))
        await first.build(asked, session(dockerfile, files, credentials=writer), silent)
    found = {}
    registry = sys.argv[4]
    for name, output, last in (
        ("step", Output("cacheonly"), "RUN cat /b\n"),
        ("local", Output("local", str(ROOT / "files")), ""),
        ("archive", Output("oci", str(ROOT / "image.tar")), ""),
        ("push", Output("image", attrs={"name": f"{registry}/other/image:x", "push": "true"}), ""),
    ):
        async with Engine(EngineOptions(root=ROOT / name)) as engine:
            reader.here = True
            asked = request(cache_from=(CacheEntry("registry", cache),))
            lazy = await engine.build(asked, session(dockerfile, files, credentials=reader), silent)
            reader.here = False
            wanted = replace(request(), outputs=(output,))
            more = await engine.build(wanted, session(dockerfile + last, files, credentials=other), silent)
            found[name] = [lazy.executed, more.executed]
    return found


SCENARIOS: Mapping[str, Callable[[Engine], Any]] = {
    one.__name__: one for one in (fifty, failing, cancelled, directories, secrets, blocking, garbage, bridge, bare, removed, graphs, strangers, lifetime, closing)
}


async def main() -> None:
    async with Engine(EngineOptions(root=ROOT / "store")) as engine:
        found = await asyncio.wait_for(SCENARIOS[sys.argv[1]](engine), 200)
    print(json.dumps(found))


if __name__ == "__main__":
    from dockc.runtime.executor.rootless import enter_build_namespace

    enter_build_namespace()
    asyncio.run(main())
