"""The river, whole: read, compile, solve, export.

    request ──> inputs ──> compiled (one per platform) ──> edges ──> results ──> outputs
               frontend    compiler, answers from outside    solver + worker     exporters

Progress goes sideways as `SolveStatus` to the request's sink, from the first file read to the last byte pushed.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc import frontend, settings
from dockc.errors import DockcError, SolveError, UsageError
from dockc.frontend import CompileRequest, Inputs
from dockc.lean import Record, made, replace
from dockc.solver.progress import (
    SolveStatus,
    SourceRange,
    StatusSink,
    VertexEvent,
    VertexLog,
    VertexStatus,
    VertexWarning,
)

if TYPE_CHECKING:
    from dockc.compiler.compile import Compiled
    from dockc.compiler.resolve import Answers, Request
    from dockc.llb.definition import Definition
    from dockc.record import Recorder
    from dockc.runtime.exporter.export import Exported
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.registry.client import Client
    from dockc.runtime.worker import Worker
    from dockc.solver.jobs import BuildResult, Job

    _Connect = Callable[[bool], Client]

_ENTITLEMENTS = frozenset(("network.host", "security.insecure"))


class BuildRequest(Record, kw_only=True):
    """Everything that decides what `dockc build` does.

    Attributes:
        compile: the front half.
        outputs: what to make; empty keeps the image in dockc's own store.
        names: image names of `-t`.
        secrets, ssh: texts of `--secret` and `--ssh`.
        allow: entitlements (`network.host`, `security.insecure`).
        executor: `auto`, `embedded`, `crun` or `runc`.
        snapshotter: `auto`, `overlay` or `native`.
        parallelism: steps run at once; 0 leaves it to the solver.
        insecure: registries are spoken to by plain HTTP or with any certificate.
        uploads: files by the addresses that they answer for.
    """

    compile: CompileRequest
    outputs: tuple[Output, ...] = ()
    names: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset()
    executor: str = "auto"
    snapshotter: str = "auto"
    parallelism: int = 0
    insecure: bool = False
    uploads: Mapping[str, Path] = made(dict)


class Built(Record, kw_only=True):
    """What came of a build.

    Attributes:
        compiled: one per platform.
        exported: one per output.
        executed, cached: steps that ran, and steps whose results were there.
        answers: what the compiler was told.
    """

    compiled: tuple[Compiled, ...]
    exported: tuple[Exported, ...]
    executed: int
    cached: int
    answers: Answers

    @property
    def metadata(self) -> Mapping[str, str]:
        """BuildKit's exporter response, all outputs together."""
        return {key: value for one in self.exported for key, value in one.metadata.items()}


class FailedStep(SolveError):
    """A step failed; knows where it is written.

    Attributes:
        name: the step's name.
        places: where it is written, more than one place for instructions that are one step: name and text of the Dockerfile, and
            the lines in it.
    """

    def __init__(self, error: SolveError, *, name: str, places: tuple[tuple[str, str, tuple[tuple[int, int], ...]], ...] = ()) -> None:
        super().__init__(error.message, vertex=error.vertex, hint=error.hint)
        self.exit_code = error.exit_code
        self.name = name
        self.places = places


# What BuildKit's clients say before the message of whatever ended a build: scripts look for these words.
_FAILED = "failed to solve: "


def build(request: BuildRequest, sink: StatusSink, recorder: Recorder | None = None) -> Built:
    """Build, and make all outputs.

    Enters the builder's namespaces, so it must be called while the process has one thread. A `recorder` is told the sizes of
    the steps' results; it is the caller's to put it before the sink.

    Raises:
        FailedStep: a step failed.
        DockcError: anything else that can go wrong on purpose.
    """
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.exporter import export
    from dockc.runtime.worker import default_root

    _refuse_missing(request.compile.attrs)
    export.check(request.outputs, request.names)
    _check(request)
    root = request.compile.store or default_root()
    enter_build_namespace()
    try:
        return asyncio.run(_until_told(request, root, _Counting(sink), recorder))
    except DockcError as error:
        if not isinstance(error, (UsageError, Terminated)):
            error.context = _FAILED
        raise


def _refuse_missing(attrs: Mapping[str, str]) -> None:
    """Frontend options that ask a builder for what this one does not do yet."""
    for key, value in attrs.items():
        wanted = value.lower() not in {"disabled=true", "false"}
        if key.startswith(("attest:", "build-arg:BUILDKIT_ATTEST_")) and wanted:
            raise DockcError(f"attestations are not supported yet ({key})", hint="Leave the option out, or say disabled=true.")
        if key in {"cache-from", "cache-imports", "cache-to"} and value:
            raise DockcError(f"remote caches are not supported yet ({key})", hint="The store's own cache is always used.")


def _check(request: BuildRequest) -> None:
    """Refuse options that cannot work before anything is asked or run.

    Raises:
        UsageError: an executor, secret, SSH agent or entitlement that there is not.
    """
    from dockc.runtime import secrets
    from dockc.runtime.executor.choose import NAMES

    if request.executor not in {"auto", *NAMES}:
        raise UsageError(f"unknown executor {request.executor}", hint=f"Choose one of {', '.join(dict.fromkeys(('auto', *NAMES)))}.")
    for name in sorted(request.allow - _ENTITLEMENTS):
        raise UsageError(f"unknown entitlement {name}", hint=f"Known are {' and '.join(sorted(_ENTITLEMENTS))}.")
    secrets.ClientSecrets([secrets.parse_secret(text) for text in request.secrets])
    secrets.ClientSsh(request.ssh)


class Terminated(DockcError):
    """The process was told to end (SIGTERM); the steps that ran have ended by now."""

    exit_code = 143


async def _until_told(request: BuildRequest, root: Path, sink: _Counting, recorder: Recorder | None) -> Built:
    """Build; SIGTERM cancels like an interrupt does, so that no step outlives its builder."""
    import signal

    loop = asyncio.get_running_loop()
    task = loop.create_task(_build(request, root, sink, recorder))
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise Terminated("terminated") from None
        raise


def build_and_show(
    request: BuildRequest, *, mode: str, metadata_file: Path | None, iidfile: Path | None, record: Path | None = None
) -> Built:
    """`dockc build`: build with a progress view on standard error, and write what the user wants to know.

    A `record` of the steps is written also when one of them failed.

    Raises:
        DockcError: as `build`; the view has shown the failed step's log by then.
    """
    import sys

    from dockc.console.view import make_view
    from dockc.runtime.exporter.export import metadata_file as metadata_text

    for path in (metadata_file, iidfile, record):
        if path is not None:
            _check_place(path)
    view = make_view(mode, sys.stderr)
    recorder = _recorder(view) if record is not None else None
    try:
        built = build(request, recorder or view, recorder)
    except BaseException as exc:
        view.finish(exc)
        raise
    finally:
        if recorder is not None and record is not None:
            recorder.write(record)
    view.finish()
    digest = built.metadata.get("containerimage.digest", "")
    if metadata_file is not None:
        _write(metadata_file, metadata_text(built.exported))
    if iidfile is not None:
        _write(iidfile, digest.encode())
    if mode == "quiet":
        if digest and not any(map(_is_piped, request.outputs)):  # an archive must not end in a digest
            sys.stdout.write(digest + "\n")
    elif mode not in ("rawjson", "none"):
        sys.stderr.write(f"{built.executed} steps run, {built.cached} cached\n")
    return built


def _is_piped(output: Output) -> bool:
    """Whether an output goes to standard output."""
    return output.dest == "-" or (not output.dest and output.type in {"oci", "tar"})


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc


def _check_place(path: Path) -> None:
    """Refuse before the build what could not be written after it."""
    trouble = "is a directory" if path.is_dir() else "" if path.parent.is_dir() else "no such directory"
    if trouble:
        raise UsageError(f"cannot write {path}: {trouble}")


def _recorder(view: StatusSink) -> Recorder:
    from dockc.record import Recorder

    return Recorder(view)


def _descriptions(compiled: Sequence[Compiled]) -> dict[str, str]:
    """Digest of each step to what the store calls its result."""
    from dockc.compiler.emit import wire
    from dockc.compiler.ir.ops import ExecOp, SourceOp

    found = {}
    for op in (op for one in compiled for op in one.module.ops()):
        match op:
            case ExecOp():
                found[wire(op)[0]] = f"mount / from exec {' '.join(op.args)}"
            case SourceOp():
                found[wire(op)[0]] = "pulled from " + op.identifier.partition("://")[2]
            case _:
                found[wire(op)[0]] = op.meta.name
    return found


async def _build(request: BuildRequest, root: Path, sink: _Counting, recorder: Recorder | None) -> Built:
    from dockc.runtime.registry.client import Client
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.registry.hosts import HostsConfig
    from dockc.runtime.source.registry import provider_for
    from dockc.runtime.worker import Worker, WorkerOptions

    def connect(insecure: bool = False) -> Client:
        made = Client(config=DockerConfig.load(), hosts=HostsConfig.from_mapping(settings.registries()), insecure=insecure or request.insecure)
        made.transport.uploads, made.transport.offline = request.uploads, request.compile.offline
        return made

    steps = _Steps(sink)
    remote = frontend.is_in_remote_context(request.compile)
    inputs = None
    reading = ""
    if not remote:
        with steps.step("[internal] load build definition from " + _shown_name(request.compile)) as reading:
            inputs = frontend.load(request.compile)
    client = connect()
    options = WorkerOptions(
        root=root,
        snapshotter=request.snapshotter,
        executor=request.executor,
        provider_factory=lambda origin: provider_for(client, origin),
    )
    try:
        with Worker(options) as worker:
            if inputs is None:
                request, reading = await _with_fetched_dockerfile(request, worker, client, steps)
                inputs = frontend.load(request.compile)
            compiled, answers = await _compile(request, inputs, worker, client, steps)
            steps.warn(reading, compiled)
            exported = await _solve_and_export(request, inputs, compiled, worker, client, connect, steps, sink)
            if recorder is not None:
                sizes = [(one.description, one.created_at, one.size) for one in worker.refs.usage()]
                recorder.measure(sizes, _descriptions(compiled))
    finally:
        client.close()
    return Built(compiled=compiled, exported=exported, executed=sink.executed, cached=sink.cached, answers=answers)


async def _with_fetched_dockerfile(request: BuildRequest, worker: Worker, client: Client, steps: _Steps) -> tuple[BuildRequest, str]:
    """The request with the Dockerfile of its remote context, which is fetched by a build of its own: one copy out of the context.

    Also the digest of the step that read it.

    Raises:
        DockcError: the context cannot be fetched, or has no Dockerfile.
    """
    from dockc.runtime.refs.result import ref_of
    from dockc.solver.jobs import Solver
    from dockc.solver.runner import RunnerOptions

    asked = request.compile
    name = asked.file or "Dockerfile"
    # A URL may be that of a Dockerfile itself; the compiler knows its content as `context`.
    sources = [asked.file] if asked.file else ["[Dd]ockerfile", "contex[t]"]
    copy = b"FROM scratch\nCOPY " + json.dumps([*sources, "/"]).encode() + b"\n"
    fetching = replace(request, compile=CompileRequest(asked.context, dockerfile=copy, offline=asked.offline, store=asked.store))
    inputs = frontend.load(fetching.compile)
    compiled, _ = await _compile(fetching, inputs, worker, client, steps)
    silent = _Counting(lambda status: None)
    async with (
        Solver(worker.resolve_op, worker.keys, worker.results, RunnerOptions()) as solver,
        solver.job("dockerfile", sink=silent, values=_values(request, inputs, client)) as job,
    ):
        with steps.step(f"[internal] load build definition from {name} of {asked.context}") as reading:
            (result,) = await _solve(job, compiled, request.allow)
            if result is None:
                raise DockcError(f"failed to read dockerfile: {asked.context} is empty")
            try:
                with ref_of(result.result).mount() as root:
                    found = (frontend.read_inside(root, one) for one in (Path(name).name, "dockerfile", "context"))
                    data = next((one for one in found if one is not None), None)
            finally:
                result.result.release()
            if data is None:
                raise DockcError(f"failed to read dockerfile: open {name}: no such file or directory", hint=f"Looked for it in {asked.context}.")
    return replace(request, compile=frontend.with_changes(asked, dockerfile=data)), reading


def _shown_name(request: CompileRequest) -> str:
    return "stdin" if request.file == "-" else Path(request.file).name if request.file else "Dockerfile"


# --- compile --------------------------------------------------------------------------------------------


async def _compile(
    request: BuildRequest, inputs: Inputs, worker: Worker, client: Client, steps: _Steps
) -> tuple[tuple[Compiled, ...], Answers]:
    """Compile in a thread; what the compiler asks is answered on the loop, all of one round at once."""
    from dockc.compiler.resolve import Answers, ImageRequest
    from dockc.remote import answer
    from dockc.runtime.source.resolve import Resolver

    resolver = Resolver(worker.content, client, locals=inputs.locals, stores=inputs.stores)
    loop = asyncio.get_running_loop()

    async def answer_one(one: Request) -> Answers:
        name = f"[internal] load metadata for {one.ref}" if isinstance(one, ImageRequest) else f"[internal] ask for {one}"
        with steps.step(name):
            return await answer([one], resolver)

    async def answer_all(requests: Sequence[Request]) -> Answers:
        found = Answers()
        for part in await asyncio.gather(*(answer_one(one) for one in requests)):
            found = found.merged(part)
        return found

    def world(requests: Sequence[Request]) -> Answers:
        return asyncio.run_coroutine_threadsafe(answer_all(requests), loop).result()

    logs: list[str] = []
    compiled, answers = await asyncio.to_thread(frontend.compile_all, request.compile, inputs, logs.append, world)
    for text in logs:
        steps.say(text)
    return compiled, answers


# --- solve ----------------------------------------------------------------------------------------------


async def _solve_and_export(
    request: BuildRequest,
    inputs: Inputs,
    compiled: tuple[Compiled, ...],
    worker: Worker,
    client: Client,
    connect: _Connect,
    steps: _Steps,
    sink: _Counting,
) -> tuple[Exported, ...]:
    from dockc.solver.flights import Flights
    from dockc.solver.jobs import Solver
    from dockc.solver.runner import RunnerOptions

    options = RunnerOptions(
        parallelism=request.parallelism,
        flights=Flights(worker.refs.root / "flights.lock"),
    )
    async with (
        Solver(worker.resolve_op, worker.keys, worker.results, options) as solver,
        solver.job("build", sink=sink, values=_values(request, inputs, client)) as job,
    ):
        results = await _solve(job, compiled, request.allow)
        try:
            exported = await _export(request, compiled, results, worker, connect, steps)
        finally:
            for result in results:
                if result is not None:
                    result.result.release()
    await asyncio.to_thread(_collect, worker)
    return exported


def _collect(worker: Worker) -> None:
    """Keep the store within its share of the disk; images with a name stay."""
    from dockc.runtime.images import reachable

    worker.refs.collect(frozenset(reachable(worker.content)))


def _values(request: BuildRequest, inputs: Inputs, client: Client) -> dict[str, object]:
    from dockc.runtime import secrets
    from dockc.runtime.source import base, local

    return {
        base.REGISTRY: client,
        base.OCI_STORES: inputs.stores,
        local.LOCALS: inputs.locals,
        secrets.SECRETS: secrets.ClientSecrets([secrets.parse_secret(text) for text in request.secrets]),
        secrets.SSH: secrets.ClientSsh(request.ssh),
        secrets.ENTITLEMENTS: request.allow,
    }


async def _solve(job: Job, compiled: Sequence[Compiled], allowed: frozenset[str]) -> list[BuildResult | None]:
    """One result per platform; None for an empty file system."""
    from dockc.runtime.ops.exec import check_load
    from dockc.solver import graph

    edges = [graph.load(one.definition) if one.definition.ops else None for one in compiled]
    wanted = [edge for edge in edges if edge is not None]
    check_load(wanted, allowed)
    try:
        results = iter(await job.build(*wanted) if wanted else ())
    except SolveError as exc:
        raise _located(exc, job, [one.definition for one in compiled]) from exc
    return [None if edge is None else next(results) for edge in edges]


def _located(error: SolveError, job: Job, definitions: Sequence[Definition]) -> SolveError:
    """The error with the step's name and the lines that it is written on."""
    try:
        name = job.vertex(error.vertex).name
    except KeyError:
        return error
    for definition in definitions:
        places = definition.source.locations.get(error.vertex, ()) if definition.source is not None else ()
        if definition.source is None or not places:  # git sources, for one, have an empty list of places
            continue
        infos = definition.source.infos
        shown = []
        for place in reversed(places):  # as BuildKit's clients show them
            info = infos[place.index]
            shown.append((info.filename, info.data.decode("utf-8", "replace"), tuple((r[0], r[2]) for r in place.ranges)))
        return FailedStep(error, name=name, places=tuple(shown))
    return FailedStep(error, name=name)


# --- export ---------------------------------------------------------------------------------------------


async def _export(
    request: BuildRequest,
    compiled: Sequence[Compiled],
    results: Sequence[BuildResult | None],
    worker: Worker,
    connect: _Connect,
    steps: _Steps,
) -> tuple[Exported, ...]:
    from dockc.runtime.exporter.export import Exporters, export
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.exporter.source import ExportSource, PlatformResult
    from dockc.runtime.refs.result import ref_of

    source = ExportSource(
        tuple(
            PlatformResult(
                platform=one.platform,
                ref=None if result is None else ref_of(result.result),
                config=one.image_json,
                base_config=one.base_image.marshal() if one.base_image is not None else b"",
                epoch=one.epoch.seconds if one.epoch is not None else None,
            )
            for one, result in zip(compiled, results, strict=True)
        ),
        multi=len(compiled) > 1 or _is_multi(request),
        names=request.names,
    )
    made: list[Exported] = []
    for output in request.outputs or (Output("image"),):
        cancelled = threading.Event()
        with steps.step(f"exporting to {_described(output)}") as vertex:
            using = Exporters(
                worker.content,
                worker.refs,
                connect,
                report=steps.reporter(vertex),
                progress=steps.meter(vertex),
                cancelled=cancelled,
            )
            try:
                made.append(await asyncio.to_thread(export, source, output, using))
            except asyncio.CancelledError:
                cancelled.set()
                raise
    return tuple(made)


def _is_multi(request: BuildRequest) -> bool:
    attrs = request.compile.attrs
    return attrs.get("multi-platform", attrs.get("build-arg:BUILDKIT_MULTI_PLATFORM", "")).lower() in {"1", "t", "true"}


def _described(output: Output) -> str:
    match output.type:
        case "local":
            return "client directory"
        case "tar":
            return "client tarball"
        case "oci" | "docker":
            return f"{output.type} image format"
        case "cacheonly":
            return "cache"
    return "image"


# --- progress -------------------------------------------------------------------------------------------


class _Counting:
    """A sink that also counts steps. Called on the loop's thread, or through `post` from others.

    State: `_inner`, and by step whether it ran or was cached.
    """

    def __init__(self, inner: StatusSink) -> None:
        self._inner = inner
        self._ran: set[str] = set()
        self._cached: set[str] = set()
        self._lock = threading.Lock()

    @property
    def executed(self) -> int:
        """Steps that ran something of their own: RUN, COPY and the like, not sources."""
        return len(self._ran)

    @property
    def cached(self) -> int:
        """Steps whose result was there."""
        return len(self._cached)

    def __call__(self, status: SolveStatus, /) -> None:
        with self._lock:
            for event in status.vertexes:
                if event.name.startswith(("[internal]", "[auth]", "exporting", "[context")) or event.completed is None:
                    continue
                if event.cached:
                    self._cached.add(event.digest)
                elif not event.error and not _is_source(event):
                    self._ran.add(event.digest)
            self._inner(status)


def _is_source(event: VertexEvent) -> bool:
    return not event.inputs


class _Steps:
    """Steps that are no vertices of the graph: reading the Dockerfile, asking for metadata, exporting."""

    _numbers = itertools.count(1)

    def __init__(self, sink: StatusSink) -> None:
        self._sink = sink

    @contextmanager
    def step(self, name: str) -> Iterator[str]:
        """Show a step for as long as the block runs; gives its digest."""
        digest = "sha256:" + hashlib.sha256(f"{next(self._numbers)} {name}".encode()).hexdigest()
        started = time.time_ns()
        self._send(VertexEvent(digest, name, started=started))
        error = ""
        try:
            yield digest
        except BaseException as exc:
            error = str(exc) if isinstance(exc, DockcError) else "context canceled"
            raise
        finally:
            self._send(VertexEvent(digest, name, started=started, completed=time.time_ns(), error=error))

    def part(self, digest: str, what: str, *, current: int = 0, total: int = 0, done: bool) -> None:
        """Report a part of a step."""
        now = time.time_ns()
        status = VertexStatus(what, digest, what, current, total, now, started=now, completed=now if done else None)
        self._sink(SolveStatus(statuses=(status,)))

    def reporter(self, digest: str) -> Callable[[str, bool], None]:
        """Reports begin and end of parts of a step."""
        return lambda what, done: self.part(digest, what, done=done)

    def meter(self, digest: str) -> Callable[[str, int, int, bool], None]:
        """Reports bytes of parts of a step."""
        return lambda what, current, total, done: self.part(digest, what, current=current, total=total, done=done)

    def say(self, text: str) -> None:
        """Output of the compiler's observers."""
        with self.step("[internal] compile") as digest:
            self._sink(SolveStatus(logs=(VertexLog(digest, 2, text.encode("utf-8", "replace"), time.time_ns()),)))

    def warn(self, digest: str, compiled: Sequence[Compiled]) -> None:
        """Show what the compiler's checks found, each once, at the step that read the Dockerfile."""
        from dockc.console.diagnostics import short_warning

        found: dict[str, VertexWarning] = {}
        for one in compiled:
            source = one.front.source
            for warning in one.warnings:
                short = short_warning(warning)
                ranges = tuple(SourceRange((line, 0), (line, 0)) for line in warning.lines)
                detail = (warning.description,) if warning.description else ()
                found.setdefault(short, VertexWarning(digest, 1, short, detail, warning.url, source.name, source.data, ranges))
        if found:
            self._sink(SolveStatus(warnings=tuple(found.values())))

    def _send(self, event: VertexEvent) -> None:
        self._sink(SolveStatus(vertexes=(event,)))

