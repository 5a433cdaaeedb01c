"""The river as a service: one store, one solver, any number of builds at once.

    request ──> frontend ──────────> definitions ──> results ──> outputs
                asks the bridge:     solver + worker             exporters
                files, registries, other definitions

Equal steps of several builds run once. Progress goes sideways as `SolveStatus` to each build's sink, from the first
file read to the last byte pushed. What a client lends (directories, secrets, credentials) comes by its session, and
only while its build runs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dockc.base.record import Record
from dockc.engine import caches, frontends
from dockc.engine.bridge import Bridge, Result
from dockc.engine.connect import registry_client
from dockc.engine.export import export_source, for_output, told_by_frontend
from dockc.engine.misses import Misses
from dockc.engine.progress import Counting, Steps
from dockc.engine.record import sizes_of
from dockc.engine.recording import recording_of
from dockc.engine.request import BuildRequest, Built, check_entitlements
from dockc.engine.settings import collection
from dockc.engine.verify import unexpected_platforms
from dockc.engine.work import Work
from dockc.errors import DockcError, UsageError
from dockc.runtime.ops.build import GRAPHS
from dockc.runtime.ops.exec import COLLECTOR, SAID, Collector
from dockc.runtime.refs.contenthash import LISTINGS
from dockc.runtime.refs.failed import FAILURES, Failures
from dockc.runtime.source.seen import SEEN, Seen
from dockc.solver.cache.cachemanager import LocalCache
from dockc.solver.cache.combined import CombinedCache
from dockc.solver.lent import Lent
from dockc.solver.run.flights import Flights
from dockc.solver.run.jobs import Job, Solver
from dockc.solver.run.runner import RunnerOptions

if TYPE_CHECKING:
    from types import TracebackType

    from dockc.engine.bridge import Frontend
    from dockc.runtime.executor.cni import NetworkOptions
    from dockc.runtime.exporter.export import Exported
    from dockc.runtime.refs.policy import Policy
    from dockc.runtime.refs.types import Provider
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.base import Session
    from dockc.solver.progress import StatusSink

_log = logging.getLogger(__name__)
_SOON = 1.0


class EngineOptions(Record, kw_only=True):
    """How an engine is set up.

    Attributes:
        root: the store; None for the user's own.
        executor: `auto`, `embedded`, `crun` or `runc`.
        snapshotter: `auto`, `overlay` or `native`.
        parallelism: steps run at once, of all builds together; 0 leaves it to the solver.
        collect_every: seconds between two looks at the size of the store while builds come and go.
        insecure: registries are spoken to by plain HTTP or with any certificate, where layers are fetched late.
        offline: nobody is asked for layers that are fetched late.
        network: of steps that ask for none in particular; None is the host's.
        collector: a socket that takes the spans of steps; None for none.
        gc: how the store is collected; None goes by the settings.
        tells_limits: builds are told of limits that are lower than elsewhere; where clients build, who runs the engine
            is to be told instead.
    """

    root: Path | None = None
    executor: str = "auto"
    snapshotter: str = "auto"
    parallelism: int = 0
    collect_every: float = 60.0
    insecure: bool = False
    offline: bool = False
    network: NetworkOptions | None = None
    collector: Path | None = None
    gc: Policy | None = None
    tells_limits: bool = True


def check_options(options: EngineOptions) -> None:
    """Refuse options that cannot work.

    Raises:
        UsageError: an executor that there is not.
    """
    from dockc.runtime.executor import choose

    if not choose.is_known(options.executor):
        raise UsageError(f"unknown executor {options.executor}", hint=f"Choose one of {', '.join(choose.NAMES)}.")


class Engine:
    """Builds, any number of requests at once, on one store.

        async with Engine(EngineOptions(root=path)) as engine:
            built = await engine.build(request, session, sink)

    Opening it brings the process into the builder's namespaces, if it is not there already: it should have one thread
    by then. To be used on one event loop.

    Mutable: `_opened` (while it is open), `_unlooked` (builds since the store was last looked at), `_builds` (tasks at
        work).
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        """Set up without any I/O.

        Raises:
            UsageError: an option that cannot work.
        """
        self.options = options or EngineOptions()
        check_options(self.options)
        self._opened: tuple[Work, Client] | None = None
        self._unlooked = 0
        self._gc: Policy | None = None
        self._builds: set[asyncio.Task[object]] = set()
        self._keeper: asyncio.Task[None] | None = None

    # --- open and close -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        from dockc.runtime.executor.rootless import enter_build_namespace
        from dockc.runtime.store.place import default_root
        from dockc.runtime.store.worker import Worker, WorkerOptions

        options = self.options
        root = options.root or default_root()  # asked before the namespace is entered, in which everybody is root
        self._gc = options.gc or collection(root)
        enter_build_namespace()
        client = registry_client(insecure=options.insecure, offline=options.offline)
        worker = Worker(
            WorkerOptions(
                root=root,
                snapshotter=options.snapshotter,
                executor=options.executor,
                network=options.network,
                provider_factory=partial(caches.left_behind, client),
            )
        )
        try:
            running = RunnerOptions(parallelism=options.parallelism, flights=Flights(worker.refs.root / "flights.lock"))
            cache = CombinedCache(LocalCache(worker.keys, worker.results))
            solver = Solver(worker.resolve_op, cache, options=running)
        except BaseException:
            worker.close()
            raise
        self._opened = (Work(worker, solver, cache), client)
        if options.gc is not None:
            self._unlooked = 1  # what other rules have left is looked at soon
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        work, client = self._open
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        builds = [task for task in self._builds if task is not asyncio.current_task()]
        for task in builds:  # whoever closes the house ends what still goes on in it
            task.cancel()
        await asyncio.gather(*builds, return_exceptions=True)
        try:
            await work.solver.close()
            if kind is None:
                await self.collect()
        finally:
            self._opened = None
            work.close()
            work.worker.close()
            client.close()

    @property
    def _open(self) -> tuple[Work, Client]:
        if self._opened is None:
            raise RuntimeError("the engine is not open")
        return self._opened

    @property
    def work(self) -> Work:
        """The store and the threads, while the engine is open."""
        return self._open[0]

    # --- build ----------------------------------------------------------------------------------------

    async def build(self, request: BuildRequest, session: Session, sink: StatusSink) -> Built:
        """See `builder.Builder`. A build that fails because of a cache that it imports is made again without one."""
        frontend = frontends.find(request.frontend)
        try:
            return await self.run(frontend, request, session, sink)
        except DockcError as error:
            if not caches.is_of_a_cache(error):
                raise
            caches.told(error, Steps(sink))
        return await self.run(frontend, caches.without_imports(request), session, sink)

    async def run(self, frontend: Frontend, request: BuildRequest, session: Session, sink: StatusSink) -> Built:
        """As `build`, by a frontend that is handed in: one that a client drives, for one.

        Raises:
            DockcError: as `build`.
        """
        task = asyncio.current_task()
        assert task is not None
        self._builds.add(task)
        try:
            return await self._run(frontend, request, session, sink)
        finally:
            self._builds.discard(task)
            self._unlooked += 1

    async def _run(self, frontend: Frontend, request: BuildRequest, session: Session, sink: StatusSink) -> Built:
        work = self.work

        def begin() -> None:
            work.worker.refs.need()
            check(request, session)

        await work.blocking(begin)
        counting = Counting(sink)
        recording = recording_of(sink)
        steps = Steps(counting, dockerfile=recording.dockerfile if recording is not None else None)
        client = await work.blocking(partial(connect, request, session), lost=lambda made: made.close())
        bridge: Bridge | None = None
        misses = None
        seen, failures, lends = Seen(), Failures(), None
        try:
            lends = lent_by(request, session, client).put(SEEN, seen)
            if self.options.tells_limits:
                lends.put(SAID, set())
            if self.options.collector is not None:
                from dockc.engine.tracing import trace_of

                if (trace := trace_of(sink)) is not None:
                    lends.put(COLLECTOR, Collector(self.options.collector, trace.context.parent))
            if session.keeps_failures:
                lends.put(FAILURES, failures)
            if recording is not None:
                imports = tuple(one.shown() for one in caches.imports_of(request))
                loaded = lambda: bridge.definitions if bridge is not None else ()  # noqa: E731
                misses = Misses(recording, counting, work, loaded, imports)
                lends.put(LISTINGS, misses.listings)
            explains = misses.missed if misses is not None else False
            async with work.solver.job("build", sink=counting, lends=lends, explains=explains) as job:
                if misses is not None:
                    misses.watch(job)
                bridge = Bridge(work, request, session, job, steps, client, frontends.find)
                lends.put(GRAPHS, bridge.graph)
                try:
                    async with caches.imported(bridge):
                        result = await frontend(bridge)
                        await bridge.evaluate(*result.refs.values())
                        exported, response = await self._export(bridge, result)
                        # What a frontend calls its own goes back to the client.
                        own = {
                            key: value.decode("utf-8", "replace")
                            for key, value in result.metadata.items()
                            if key.startswith("frontend.")
                        }
                        response = {**own, **response}
                finally:
                    try:
                        if misses is not None:
                            await misses.end()
                    finally:
                        bridge.close()
                sizes = await work.blocking(partial(_sizes, work, job)) if request.measure else {}
        finally:
            if lends is not None:
                lends.end()
            seen.close()
            failures.close()
            client.close()
        return Built(
            exported=exported,
            executed=counting.executed,
            cached=counting.cached,
            answers=bridge.answers,
            sizes=sizes,
            caches=response,
        )

    async def _export(self, bridge: Bridge, result: Result) -> tuple[tuple[Exported, ...], Mapping[str, str]]:
        from dockc.runtime.exporter.export import Exported, Exporters, export
        from dockc.runtime.exporter.options import Output
        from dockc.runtime.refs.result import PROVIDERS

        request, session, steps = bridge.request, bridge.session, bridge.steps
        source = await caches.inlined(bridge, result, export_source(bridge, result))
        if odd := unexpected_platforms(request.attrs, result):
            with steps.step("Verifying build result") as vertex:
                for words in odd:
                    bridge.warn(vertex, words)
        made: list[Exported] = []
        outputs = request.outputs or (Output("image"),)
        if session.outputs is not None:
            # Numbers count real outputs: by them the client knows which one asks for a place.
            outputs = (*(one for one in outputs if one.type != "cacheonly"), *await session.outputs.find(result))
        for number, asked in enumerate(outputs):
            output = told_by_frontend(asked, result.metadata)
            if output.type == "cacheonly":
                made.append(Exported(output))
                continue
            cancelled = threading.Event()
            with steps.step(f"exporting to {output.kind.shown}") as vertex:
                using = Exporters(
                    bridge.work.worker.content,
                    bridge.work.worker.refs,
                    partial(connect, request, session),
                    report=steps.reporter(vertex),
                    progress=steps.meter(vertex),
                    cancelled=cancelled,
                    sinks=session.sinks,
                    number=number,
                    instead=bridge.lends.lent(PROVIDERS),
                )
                made.append(
                    await bridge.work.blocking(
                        partial(export, for_output(source, output), output, using), cancelled=cancelled
                    )
                )
        if session.outputs is not None:
            await session.outputs.made({key: value for one in made for key, value in one.metadata.items()})
        return tuple(made), await caches.export(bridge, result)

    # --- the store ------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Collect now and then, where builds have come since; by rules of its own for the first time soon."""
        every = self.options.collect_every
        pause = every if self.options.gc is None else min(_SOON, every)
        while True:
            await asyncio.sleep(pause)
            pause = every
            try:
                await self.collect()
            except DockcError as error:  # the next look will tell; builds go on
                _log.warning("collecting garbage failed: %s", error.message)

    async def collect(self) -> None:
        """Keep the store within the rules of its collection, where anything was built since the last look; what is in
        use and images with a name stay.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if not self._unlooked:
            return
        self._unlooked = 0
        worker = self.work.worker

        def work() -> None:
            from dockc.runtime.content.errors import telling
            from dockc.runtime.refs.policy import Disk
            from dockc.runtime.store.images import reachable

            assert self._gc is not None
            worker.refs.need()
            with telling("collecting what nobody needs", worker.refs.root):
                worker.refs.collect(self._gc.on(Disk.of(worker.refs.root)), lambda: reachable(worker.content))

        await self.work.blocking(work)


def _sizes(work: Work, job: Job) -> Mapping[str, int]:
    usage = [(one.description, one.created_at, one.size) for one in work.worker.refs.usage()]
    return sizes_of(usage, job.vertices())


# --- requests -------------------------------------------------------------------------------------------


def check(request: BuildRequest, session: Session) -> None:
    """Refuse what cannot work before anything is asked or run.

    Raises:
        UsageError: an output or entitlement that there is not.
        DockcError: frontend options that ask for what this builder does not do yet.
    """
    from dockc.runtime.exporter import export

    refuse_missing(request.attrs)
    caches.check(request)
    export.check(request.outputs, request.names, sinks=session.sinks is not None)
    check_entitlements(request.allow)


def refuse_missing(attrs: Mapping[str, str]) -> None:
    """Refuse frontend options that ask a builder for what this one does not do yet.

    Raises:
        DockcError: which one.
    """
    for key, value in attrs.items():
        wanted = value.lower() not in {"disabled=true", "false"}
        if key.startswith(("attest:", "build-arg:BUILDKIT_ATTEST_")) and wanted:
            raise DockcError(
                f"attestations are not supported yet ({key})", hint="Leave the option out, or say disabled=true."
            )


def connect(request: BuildRequest, session: Session, insecure: bool = False) -> Client:
    """A registry client with what the session lends; the caller closes it."""
    return registry_client(
        insecure=insecure or request.insecure,
        offline=request.offline,
        uploads=session.uploads,
        credentials=session.credentials,
    )


def lent_by(request: BuildRequest, session: Session, client: Client) -> Lent:
    """What the steps of a build may ask for."""
    from dockc.runtime.refs.result import PROVIDERS
    from dockc.runtime.session import secrets
    from dockc.runtime.session.files import LOCALS, OTHERS
    from dockc.runtime.source import base
    from dockc.runtime.source.registry import provider_for

    lends = Lent().put(base.REGISTRY, client).put(base.OCI_STORES, session.stores).put(LOCALS, session.directories)

    def find(origin: str) -> Provider | None:
        return provider_for(client, origin)

    lends.put(PROVIDERS, find)
    if session.others is not None:
        lends.put(OTHERS, session.others)
    lends.put(secrets.ENTITLEMENTS, request.allow)
    if session.secrets is not None:
        lends.put(secrets.SECRETS, session.secrets)
    if session.ssh is not None:
        lends.put(secrets.SSH, session.ssh)
    return lends
