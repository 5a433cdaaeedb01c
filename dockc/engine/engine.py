"""The river, whole: read, compile, solve, export.

    request ──> inputs ──> compiled (one per platform) ──> edges ──> results ──> outputs
               frontend    compiler, answers from outside    solver + worker     exporters

Progress goes sideways as `SolveStatus` to the request's sink, from the first file read to the last byte pushed.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.engine.compile import at_hand, compile_all
from dockc.engine.connect import registry_client
from dockc.engine.failure import descriptions, located
from dockc.engine.progress import Counting, Steps
from dockc.engine.request import (
    BuildRequest,
    Built,
    CompileRequest,
    Inputs,
    is_in_remote_context,
    load,
    read_inside,
    with_changes,
)
from dockc.errors import DockcError, SolveError, UsageError

if TYPE_CHECKING:
    from dockc.compiler.compile import Compiled
    from dockc.compiler.questions import Answers, Request
    from dockc.engine.record import Recorder
    from dockc.runtime.exporter.export import Exported
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.registry.client import Client
    from dockc.runtime.store.worker import Worker
    from dockc.solver.run.jobs import BuildResult, Job

    _Connect = Callable[[bool], Client]

_ENTITLEMENTS = frozenset(("network.host", "security.insecure"))


def refuse_missing(attrs: Mapping[str, str]) -> None:
    """Frontend options that ask a builder for what this one does not do yet."""
    for key, value in attrs.items():
        wanted = value.lower() not in {"disabled=true", "false"}
        if key.startswith(("attest:", "build-arg:BUILDKIT_ATTEST_")) and wanted:
            raise DockcError(f"attestations are not supported yet ({key})", hint="Leave the option out, or say disabled=true.")
        if key in {"cache-from", "cache-imports", "cache-to"} and value:
            raise DockcError(f"remote caches are not supported yet ({key})", hint="The store's own cache is always used.")


def check(request: BuildRequest) -> None:
    """Refuse options that cannot work before anything is asked or run.

    Raises:
        UsageError: an executor, secret, SSH agent or entitlement that there is not.
    """
    from dockc.runtime.executor.choose import NAMES
    from dockc.runtime.session import secrets

    if request.executor not in {"auto", *NAMES}:
        raise UsageError(f"unknown executor {request.executor}", hint=f"Choose one of {', '.join(dict.fromkeys(('auto', *NAMES)))}.")
    for name in sorted(request.allow - _ENTITLEMENTS):
        raise UsageError(f"unknown entitlement {name}", hint=f"Known are {' and '.join(sorted(_ENTITLEMENTS))}.")
    secrets.ClientSecrets([secrets.parse_secret(text) for text in request.secrets])
    secrets.ClientSsh(request.ssh)


async def run_build(request: BuildRequest, root: Path, sink: Counting, recorder: Recorder | None) -> Built:
    """Read, compile, solve and export, with a worker of its own; the process is in the builder's namespaces by then.

    Raises:
        DockcError: whatever can go wrong on purpose.
    """
    from dockc.runtime.source.registry import provider_for
    from dockc.runtime.store.worker import Worker, WorkerOptions

    def connect(insecure: bool = False) -> Client:
        return registry_client(insecure=insecure or request.insecure, offline=request.compile.offline, uploads=request.uploads)

    steps = Steps(sink)
    remote = is_in_remote_context(request.compile)
    inputs = None
    reading = ""
    if not remote:
        with steps.step("[internal] load build definition from " + _shown_name(request.compile)) as reading:
            inputs = load(request.compile)
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
                inputs = load(request.compile)
            compiled, answers = await _compile(request, inputs, worker, client, steps)
            steps.warn(reading, compiled)
            exported = await _solve_and_export(request, inputs, compiled, worker, client, connect, steps, sink)
            if recorder is not None:
                sizes = [(one.description, one.created_at, one.size) for one in worker.refs.usage()]
                recorder.measure(sizes, descriptions(compiled))
    finally:
        client.close()
    return Built(compiled=compiled, exported=exported, executed=sink.executed, cached=sink.cached, answers=answers)


async def _with_fetched_dockerfile(request: BuildRequest, worker: Worker, client: Client, steps: Steps) -> tuple[BuildRequest, str]:
    """The request with the Dockerfile of its remote context, which is fetched by a build of its own: one copy out of the context.

    Also the digest of the step that read it.

    Raises:
        DockcError: the context cannot be fetched, or has no Dockerfile.
    """
    from dockc.runtime.refs.result import ref_of
    from dockc.solver.run.jobs import Solver
    from dockc.solver.run.runner import RunnerOptions

    asked = request.compile
    name = asked.file or "Dockerfile"
    # A URL may be that of a Dockerfile itself; the compiler knows its content as `context`.
    sources = [asked.file] if asked.file else ["[Dd]ockerfile", "contex[t]"]
    copy = b"FROM scratch\nCOPY " + json.dumps([*sources, "/"]).encode() + b"\n"
    fetching = replace(request, compile=CompileRequest(asked.context, dockerfile=copy, offline=asked.offline, store=asked.store))
    inputs = load(fetching.compile)
    compiled, _ = await _compile(fetching, inputs, worker, client, steps)
    silent = Counting(lambda status: None)
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
                    found = (read_inside(root, one) for one in (Path(name).name, "dockerfile", "context"))
                    data = next((one for one in found if one is not None), None)
            finally:
                result.result.release()
            if data is None:
                raise DockcError(f"failed to read dockerfile: open {name}: no such file or directory", hint=f"Looked for it in {asked.context}.")
    return replace(request, compile=with_changes(asked, dockerfile=data)), reading


def _shown_name(request: CompileRequest) -> str:
    return "stdin" if request.file == "-" else Path(request.file).name if request.file else "Dockerfile"


# --- compile ------------------------------------------------------------------------------------------


async def _compile(
    request: BuildRequest, inputs: Inputs, worker: Worker, client: Client, steps: Steps
) -> tuple[tuple[Compiled, ...], Answers]:
    """Compile; what the compiler asks is answered on the loop, all of one round at once."""
    from dockc.compiler.questions import ImageRequest
    from dockc.engine.world import answer, converse_with
    from dockc.runtime.source.resolve import Resolver

    resolver = Resolver(worker.content, client, locals=inputs.locals, stores=inputs.stores)

    async def answer_one(one: Request) -> Answers:
        name = f"[internal] load metadata for {one.ref}" if isinstance(one, ImageRequest) else f"[internal] ask for {one}"
        with steps.step(name):
            return await answer([one], resolver)

    async def ask(requests: Sequence[Request]) -> Answers:
        found, others = await asyncio.to_thread(at_hand, request.compile, inputs, requests)
        for part in await asyncio.gather(*(answer_one(one) for one in others)):
            found = found.merged(part)
        return found

    logs: list[str] = []
    compiled, answers = await converse_with(compile_all(request.compile, inputs, logs.append), ask)
    for text in logs:
        steps.say(text)
    return compiled, answers


# --- solve --------------------------------------------------------------------------------------------


async def _solve_and_export(
    request: BuildRequest,
    inputs: Inputs,
    compiled: tuple[Compiled, ...],
    worker: Worker,
    client: Client,
    connect: _Connect,
    steps: Steps,
    sink: Counting,
) -> tuple[Exported, ...]:
    from dockc.solver.run.flights import Flights
    from dockc.solver.run.jobs import Solver
    from dockc.solver.run.runner import RunnerOptions

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
    from dockc.runtime.store.images import reachable

    worker.refs.collect(frozenset(reachable(worker.content)))


def _values(request: BuildRequest, inputs: Inputs, client: Client) -> dict[str, object]:
    from dockc.runtime.session import secrets
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
        raise located(exc, job, [one.definition for one in compiled]) from exc
    return [None if edge is None else next(results) for edge in edges]


# --- export -------------------------------------------------------------------------------------------


async def _export(
    request: BuildRequest,
    compiled: Sequence[Compiled],
    results: Sequence[BuildResult | None],
    worker: Worker,
    connect: _Connect,
    steps: Steps,
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
