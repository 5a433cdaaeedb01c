"""`dockc build`: what was typed to a request, the call, a view of what came back; and what a building process is.

It is one thread when it enters its own namespaces, and it is told to end by a signal.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from dockc.base import resident
from dockc.base.files import builders_file
from dockc.base.options import Options, option
from dockc.base.output import counted, log
from dockc.base.record import replace
from dockc.commands import shared, transfer
from dockc.commands.traced import traced
from dockc.errors import DockcError, UsageError
from dockc.oci.keys import CONFIG_DIGEST, DIGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.commands.ending import Deadline
    from dockc.engine.engine import EngineOptions
    from dockc.engine.record import Recorder
    from dockc.engine.request import Asked, BuildRequest, Built
    from dockc.runtime.exporter.options import Output as ExportOutput
    from dockc.runtime.session.base import Session
    from dockc.solver.progress import StatusSink

_WHAT, _STEPS, _WHERE, _CACHES = "What is built", "What steps get", "Where it is built", "Caches"
_RESULT, _RUNNING = "What is made and shown", "How it runs"


class BuildOptions(Options):
    """Build an image. No daemon and no root needed."""

    context: str = shared.CONTEXT
    file: str = shared.FILE
    tag: tuple[str, ...] = option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image; may be repeated.")
    output: tuple[str, ...] = option(
        "--output", "-o", metavar="type=TYPE[,KEY=VALUE]",
        help="What to make: type=oci, docker, local, tar, image or registry, with dest=PATH; or a directory. "
        "Default: the image stays in dockc's store.",
    )  # fmt: skip
    target: str = shared.TARGET
    build_arg: tuple[str, ...] = shared.BUILD_ARG
    platform: tuple[str, ...] = shared.PLATFORM
    label: tuple[str, ...] = shared.LABEL
    annotation: tuple[str, ...] = option(
        "--annotation", metavar="[TYPE:]KEY=VALUE", group=_WHAT,
        help="Annotate the image's manifest, or what TYPE says: manifest, index, manifest-descriptor, "
             "index-descriptor; "
        "manifest[linux/amd64] for one platform.",
    )  # fmt: skip
    build_context: tuple[str, ...] = shared.BUILD_CONTEXT
    local_images: bool = shared.LOCAL_IMAGES
    opt: tuple[str, ...] = shared.OPT
    no_cache: bool = shared.NO_CACHE
    no_cache_filter: tuple[str, ...] = option(
        "--no-cache-filter", metavar="STAGE", help="Run every step of these stages.", completes="stage"
    )
    pull: bool = option(
        "--pull", help="Ask the registry about every base image; one that only the store has is an error."
    )
    call: str = option(
        "--call", metavar="METHOD", default="build", completes="build|check|outline|targets",
        help="build, or only ask: check (lint as BuildKit does), outline (what can be set) or targets; with "
             "`,format=json` as JSON. "
        "Default: build.",
    )  # fmt: skip
    check: bool = option("--check", help="Short for --call=check.")
    secret: tuple[str, ...] = option(
        "--secret", metavar="id=ID[,src=PATH|env=NAME]", help="A secret for `RUN --mount=type=secret`.", group=_STEPS
    )
    ssh: tuple[str, ...] = option(
        "--ssh", metavar="ID[=SOCKET|KEY]", help="An SSH agent or key for `RUN --mount=type=ssh`.", group=_STEPS
    )
    allow: tuple[str, ...] = option(
        "--allow",
        metavar="ENTITLEMENT",
        help="Allow network.host, security.insecure or device; buildx.local.delete for an output with mode=delete that is not "
        "below the current directory.",
        group=_STEPS,
        completes="network.host|security.insecure|device|buildx.local.delete",
    )
    network: str = option(
        "--network",
        metavar="MODE",
        help="Network of RUN steps: default, none or host, which it allows.",
        group=_STEPS,
        completes="default|none|host",
    )
    add_host: tuple[str, ...] = option(
        "--add-host",
        metavar="HOST=IP",
        help="A line for /etc/hosts of RUN steps; the IP host-gateway is this machine.",
        group=_STEPS,
    )
    shm_size: str = option(
        "--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN steps, such as 128m.", group=_STEPS
    )
    ulimit: tuple[str, ...] = option(
        "--ulimit", metavar="NAME=SOFT[:HARD]", help="A resource limit of RUN steps.", group=_STEPS
    )
    cgroup_parent: str = option(
        "--cgroup-parent", metavar="PATH", help="Control group below which RUN steps get theirs.", group=_STEPS
    )
    memory: str = option(
        "--memory", "-m", metavar="SIZE", help="Memory that each RUN step may have, such as 512m.", group=_STEPS
    )
    memory_swap: str = option(
        "--memory-swap", metavar="SIZE", help="Memory and swap together; -1 is no limit of swap.", group=_STEPS
    )
    cpu_shares: str = option(
        "--cpu-shares", "-c", metavar="N", help="Weight of each RUN step among others, from 2 to 262144.", group=_STEPS
    )
    cpu_period: str = option(
        "--cpu-period", metavar="MICROSECONDS", help="Length of a period for --cpu-quota.", group=_STEPS
    )
    cpu_quota: str = option(
        "--cpu-quota",
        metavar="MICROSECONDS",
        help="Time on processors that each RUN step may have in a period.",
        group=_STEPS,
    )
    cpuset_cpus: str = option(
        "--cpuset-cpus", metavar="LIST", help="Processors that RUN steps may use, such as 0-3,5.", group=_STEPS
    )
    cpuset_mems: str = option(
        "--cpuset-mems", metavar="LIST", help="Memory nodes that RUN steps may use.", group=_STEPS
    )
    resource: tuple[str, ...] = option(
        "--resource",
        metavar="NAME=VALUE",
        help="One of these limits in one word, as buildx has it: memory=512m.",
        group=_STEPS,
    )
    push: bool = option("--push", help="Push the image: short for --output=type=registry.", group=_RESULT)
    load: bool = option(
        "--load", help="Short for --output=type=docker: load into the local Docker engine.", group=_RESULT
    )
    progress: str = option(
        "--progress", metavar="MODE", default="auto", variable="BUILDKIT_PROGRESS", completes="auto|tty|plain|rawjson|quiet|none",
        help="auto, tty, plain, rawjson, quiet (the digest only) or none. Default: auto.", group=_RESULT,
    )  # fmt: skip
    color: str = shared.color(_RESULT)
    quiet: bool = option("--quiet", "-q", help="Print the image's id only, as --iidfile writes it.", group=_RESULT)
    metadata_file: Path | None = option(
        "--metadata-file", metavar="FILE", help="Write the result's digests as JSON.", completes="file", group=_RESULT
    )
    iidfile: Path | None = option(
        "--iidfile",
        metavar="FILE",
        help="Write the image's id, the digest of its config; of an index, its own digest.",
        completes="file",
        group=_RESULT,
    )
    record: Path | None = option(
        "--record",
        metavar="FILE",
        help="Write times and sizes of the steps as JSON, for `dockc explain --graph`.",
        completes="file",
        group=_RESULT,
    )
    report: Path | None = option(
        "--report",
        metavar="FILE",
        help="Write a page about the build: time line, what it waited for, cache use and why, logs, layer sizes, graph.",
        completes="file",
    )
    answers: Path | None = shared.ANSWERS
    offline: bool = shared.OFFLINE
    locked: Path | None = shared.LOCKED
    level: int = shared.LEVEL
    passes: str = shared.PASSES
    squash: int = shared.SQUASH
    executor: str = shared.EXECUTOR
    snapshotter: str = option(
        "--snapshotter",
        metavar="NAME",
        default="auto",
        help="How layers are stacked: auto, overlay or native.",
        completes="auto|overlay|native",
        group=_RUNNING,
    )
    parallelism: int = option(
        "--parallelism",
        metavar="N",
        low=0,
        help="Steps that run at once; 0: as many as there are cores.",
        group=_RUNNING,
    )
    cache_from: tuple[str, ...] = option(
        "--cache-from", "--import-cache", metavar="type=TYPE[,KEY=VALUE]", group=_CACHES,
        help="A cache to read: type=registry, local, s3, azblob or gha; or the name of an image that carries one. "
             "May be repeated.",
    )  # fmt: skip
    cache_to: tuple[str, ...] = option(
        "--cache-to", "--export-cache", metavar="type=TYPE[,KEY=VALUE]", group=_CACHES,
        help="A cache to write after the build: type=registry, inline, local, s3, azblob or gha; mode=max for all "
             "steps. May be repeated.",
    )  # fmt: skip
    attest: tuple[str, ...] = option("--attest", hidden=True)
    provenance: str = option("--provenance", hidden=True)
    sbom: str = option("--sbom", hidden=True)
    builder: str = option(
        "--builder",
        metavar="NAME",
        variable="BUILDX_BUILDER",
        group=_WHERE,
        help="Build on the builder of that name (`dockc builder create`); `default` builds here.",
    )
    addr: str = option(
        "--addr", metavar="URL", variable="BUILDKIT_HOST", group=_WHERE,
        help="Build on the daemon at this address: unix://PATH, tcp://HOST:PORT, docker-container://NAME, "
             "podman-container://NAME, kube-pod://NAME or ssh://HOST.",
    )  # fmt: skip
    tlsdir: str = option(
        "--tlsdir",
        metavar="DIR",
        group=_WHERE,
        help="Certificates for --addr tcp://: ca.pem, cert.pem and key.pem.",
        completes="directory",
    )
    frontend: str = option(
        "--frontend", metavar="NAME", group=_WHERE,
        help="Let the daemon's frontend compile: dockerfile.v0, or gateway.v0 with --opt source=IMAGE. Default: "
             "dockc compiles.",
    )  # fmt: skip
    rm: bool = option("--rm", hidden=True)
    force_rm: bool = option("--force-rm", hidden=True)
    compress: bool = option("--compress", hidden=True)
    isolation: str = option("--isolation", hidden=True)
    security_opt: tuple[str, ...] = option("--security-opt", hidden=True)
    disable_content_trust: bool = option("--disable-content-trust", default=True, hidden=True)
    policy: tuple[str, ...] = option("--policy", hidden=True)
    print_: str = option("--print", hidden=True)
    debug: bool = option("--debug", "-D", hidden=True)
    store: Path | None = shared.STORE
    examples = (
        "dockc build -t app .",
        "dockc build --target test --build-arg VERSION=1.2 .",
        "dockc build --platform linux/amd64,linux/arm64 -t registry.example/app --push .",
        "dockc build -o type=local,dest=out .",
    )


#: Options that may be repeated and of which an empty one says nothing, as in buildx: `--secret "$MAYBE"`.
_MAY_BE_EMPTY = (
    "output", "secret", "ssh", "cache_from", "cache_to", "build_context", "annotation", "add_host", "no_cache_filter",
)  # fmt: skip


def run(options: BuildOptions, out: Output) -> int:
    """`dockc build`: build, or answer a question about a build.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    from dockc.commands import options as words
    from dockc.commands.attrs import frontend_attrs, named_contexts
    from dockc.commands.stdin import from_stdin
    from dockc.engine.request import Asked, CompileRequest

    options = replace(
        options,
        progress=options.progress or "auto",
        call=options.call or "build",
        **{name: tuple(filter(None, getattr(options, name))) for name in _MAY_BE_EMPTY},
    )
    words.refuse_environment(os.environ)
    words.refuse_dockers(
        options.isolation, options.security_opt, options.policy, untrusted=options.disable_content_trust
    )
    if options.debug:
        import logging

        logging.basicConfig(level=logging.DEBUG)
    if options.pull and options.local_images:
        raise UsageError("--pull and --local-images", hint="Only one of them can say where base images come from.")
    mode = "quiet" if options.quiet else options.progress
    place = None
    # Whoever types a store means to build in it; a store in the environment says where stores are, and chooses nothing.
    here = options.store is not None and str(options.store) != os.environ.get("DOCKC_STORE", "")
    if options.addr or options.builder or options.tlsdir or (not here and os.path.exists(builders_file())):  # noqa: PTH110
        from dockc.commands.remote import chosen

        place = chosen(options.builder, options.addr, options.tlsdir)
    if place is None:
        words.refuse(
            attest=options.attest,
            provenance=options.provenance,
            sbom=options.sbom,
            frontend=options.frontend,
        )
    for name, given in (("--rm", options.rm), ("--force-rm", options.force_rm), ("--compress", options.compress)):
        if given:
            out.log(f"warning: {name} has no effect: there are no containers to remove and no context to send\n")
    attrs = (
        frontend_attrs(
            target=options.target,
            build_args=options.build_arg,
            platforms=options.platform,
            labels=options.label,
            opts=options.opt,
            no_cache=options.no_cache,
            no_cache_filter=options.no_cache_filter,
            local_images=options.local_images,
        )
        | words.step_attrs(
            pull=options.pull,
            network=options.network,
            hosts=options.add_host,
            shm_size=options.shm_size,
            ulimits=options.ulimit,
            cgroup_parent=options.cgroup_parent,
        )
        | words.limit_attrs(
            (
                ("memory", options.memory),
                ("memswap", options.memory_swap),
                ("cpushares", options.cpu_shares),
                ("cpuperiod", options.cpu_period),
                ("cpuquota", options.cpu_quota),
                ("cpusetcpus", options.cpuset_cpus),
                ("cpusetmems", options.cpuset_mems),
            ),
            options.resource,
        )
    )
    attrs |= words.proxy_attrs(os.environ, attrs)
    contexts = named_contexts(options.build_context)
    _about_layouts(contexts, out.log)
    told: dict[str, str] = {}
    if place is not None or os.environ.get("BUILDX_GIT_LABELS"):
        from dockc.commands.gitinfo import git_attrs

        told = git_attrs(options.context, options.file or "", os.environ, out.log, facts=place is not None)
        attrs |= {key: value for key, value in told.items() if key.startswith("label:")}
    asked = CompileRequest(
        options.context,
        options.file,
        attrs=attrs,
        contexts=contexts,
        answers=options.answers,
        offline=options.offline,
        locked=options.locked,
        level=options.level,
        passes=options.passes,
        squash=options.squash,
        store=options.store,
    )
    with from_stdin(asked, sys.stdin.buffer) as (read, uploads):
        method, form = words.method("check" if options.check else options.print_ or options.call, attrs)
        if method != "build":
            from dockc.commands.call import call as ask

            showing = partial(transfer.shown, mode=mode, quiet=options.quiet)
            return ask(read, method, form, out=out.write, showing=showing)
        outputs = words.outputs(options.output, annotations=options.annotation, push=options.push, load=options.load)
        asked_for = Asked(
            compile=read,
            outputs=outputs,
            names=options.tag,
            secrets=options.secret,
            ssh=options.ssh,
            allow=words.allowed(options.allow, outputs) | ({"network.host"} if options.network == "host" else set()),
            uploads=uploads,
            executor=options.executor,
            snapshotter=options.snapshotter,
            parallelism=options.parallelism,
            cache_from=() if place is not None else words.caches(options.cache_from),
            cache_to=() if place is not None else words.caches(options.cache_to, lenient=True),
        )
        if place is not None:
            from dockc.commands.remote import Wishes, build_remote

            wishes = Wishes(
                frontend=options.frontend,
                cache_from=options.cache_from,
                cache_to=options.cache_to,
                attest=options.attest,
                provenance=options.provenance,
                sbom=options.sbom,
                facts={key: value for key, value in told.items() if key.startswith("vcs:")},
                mode=mode,
                color=options.color,
                metadata_file=options.metadata_file,
                iidfile=options.iidfile,
                record=options.record,
                report=options.report,
            )
            return build_remote(place, asked_for, wishes, out)
        _by_whom(mode, options.store)
        build_and_show(
            asked_for,
            mode=mode,
            color=options.color,
            metadata_file=options.metadata_file,
            iidfile=options.iidfile,
            record=options.record,
            report=options.report,
        )
    return 0


def _about_layouts(contexts: Mapping[str, str], log: Callable[[str], object]) -> None:
    """Say of directories that hold an image in a layout that they are taken for what they are: files."""
    from dockc.engine.images import is_layout

    for name, value in contexts.items():
        path = value.removeprefix("local:")
        if is_layout(path):
            log(
                f"warning: the build context {name} is the files of {path}, which is an OCI layout: "
                f"its image is {name}=oci-layout://{path}\n"
            )


def _by_whom(mode: str, store: Path | None) -> None:
    """Say that a resident builder builds, where one does; start one for later, where the user wants that."""
    if resident.serving:
        if mode not in {"quiet", "none", "rawjson"}:
            log(f"built by the daemon of this store (process {resident.serving})\n")
        return
    from dockc.engine import settings

    if not settings.config_path().exists() or os.environ.get("DOCKC_RESIDENT") == "off":
        return
    if idle := settings.autostart():
        from dockc.daemon.start import start
        from dockc.runtime.store.place import default_root

        start(str(store or default_root()), idle, os.environ)


def build_and_show(
    asked: Asked,
    *,
    mode: str,
    color: str = "auto",
    metadata_file: Path | None,
    iidfile: Path | None,
    record: Path | None = None,
    report: Path | None = None,
) -> Built:
    """`dockc build`: build with a progress view on standard error, and write what the user wants to know.

    A `record` of the steps and a `report` are written also when one of them failed.

    Raises:
        DockcError: as `build`; the view has shown the failed step's log by then.
    """
    from dockc.commands.files import check_place, write
    from dockc.commands.kept import recording, tell_trouble, write_report
    from dockc.console.view import make_view
    from dockc.runtime.exporter.export import metadata_file as metadata_text

    for path in (metadata_file, iidfile, record, report):
        if path is not None:
            check_place(path)
    if iidfile is not None and any(output.type in ("local", "tar") for output in asked.outputs):
        raise UsageError("local and tar exporters are incompatible with image ID file")
    view = make_view(mode, sys.stderr, color)
    tracing = traced(view, "dockc build")
    below = tracing.trace if tracing is not None else view
    recorder = _recorder(below, asked) if record is not None or report is not None else None
    history = recording(recorder or below, asked, held=True)
    try:
        built = build(asked, history, recorder)
    except BaseException as exc:
        history.end(None, exc)
        view.finish(exc)
        tell_trouble(history)
        write_report(history, report)
        if tracing is not None:
            tracing.end(exc)
        raise
    finally:
        if recorder is not None and record is not None:
            recorder.write(record)
    history.end(built)
    view.finish()
    tell_trouble(history)
    write_report(history, report)
    if tracing is not None:
        tracing.end(None, {"dockc.executed": built.executed, "dockc.cached": built.cached})
    resident.unchanged = not (built.executed or asked.secrets or asked.ssh)
    digest = built.metadata.get(CONFIG_DIGEST, "") or built.metadata.get(DIGEST, "")
    if metadata_file is not None:
        write(metadata_file, metadata_text(built.exported))
    if iidfile is not None:
        write(iidfile, digest.encode())
    if mode == "quiet":
        if digest and not any(map(_is_piped, asked.outputs)):  # an archive must not end in a digest
            sys.stdout.write(digest + "\n")
    elif mode not in ("rawjson", "none"):
        if not asked.outputs and not asked.names:
            sys.stderr.write("the image has no name: `-t NAME` gives it one, for `dockc images` and `dockc run`\n")
        sys.stderr.write(f"{counted(built.executed, 'step')} run, {built.cached} cached\n")
    return built


def build(asked: Asked, sink: StatusSink, recorder: Recorder | None = None) -> Built:
    """Build with an engine of this process, and make all outputs.

    Enters the builder's namespaces, so it must be called while the process has one thread. A `recorder` is told the
    sizes of the steps' results; it is the caller's to put it before the sink.

    Raises:
        FailedStep: a step failed.
        DockcError: anything else that can go wrong on purpose.
    """
    import asyncio

    from dockc.commands.ending import Deadline
    from dockc.engine.engine import EngineOptions, check, check_options
    from dockc.engine.lend import lend
    from dockc.engine.progress import Steps
    from dockc.engine.recording import recording_of
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store.place import default_root

    options = EngineOptions(
        root=asked.compile.store or default_root(),
        executor=asked.executor,
        snapshotter=asked.snapshotter,
        parallelism=asked.parallelism,
        insecure=asked.insecure,
        offline=asked.compile.offline,
    )
    check_options(options)
    try:
        request, session = lend(asked, measure=recorder is not None, showing=Steps(sink).measured)
        check(request, session)
    except DockcError as error:
        _tell(error)
        raise
    enter_build_namespace()
    if (history := recording_of(sink)) is not None:
        history.begin()
    deadline = Deadline()
    try:
        built = asyncio.run(_until_told(options, request, session, sink, deadline))
    except DockcError as error:
        _tell(error)
        raise
    finally:
        deadline.stop()
    if recorder is not None:
        recorder.measure(built.sizes)
    return built


def _tell(error: DockcError) -> None:
    """Give the error the words that BuildKit's clients have for it."""
    from dockc.commands.ending import FAILED, Terminated

    if not isinstance(error, (UsageError, Terminated)):
        error.context = FAILED


async def _until_told(
    options: EngineOptions, request: BuildRequest, session: Session, sink: StatusSink, deadline: Deadline
) -> Built:
    """Build; SIGTERM cancels like an interrupt does, so that no step outlives its builder, and is obeyed within two
    seconds.
    """
    import asyncio
    import signal

    from dockc.commands.ending import Terminated
    from dockc.engine.engine import Engine

    async def run() -> Built:
        async with _collecting(sink) as collector, Engine(replace(options, collector=collector)) as engine:
            return await engine.build(request, session, sink)

    loop = asyncio.get_running_loop()
    task = loop.create_task(run())
    told = False

    def stop(*_: object) -> None:
        nonlocal told
        told = True
        deadline.start(Terminated.exit_code, "terminated")
        loop.call_soon_threadsafe(task.cancel)

    # Not the loop's own handler: that would wait for a loop that is busy.
    before = signal.signal(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise Terminated("terminated") from None
        raise
    finally:
        if not told:
            signal.signal(signal.SIGTERM, before)


def _collecting(sink: StatusSink) -> AbstractAsyncContextManager[Path | None]:
    """Where the steps of a build that is traced bring spans of their own; nothing is loaded for others."""
    from contextlib import nullcontext

    if not any(key.startswith("OTEL_") for key in os.environ):
        return nullcontext()
    from dockc.engine.collecting import collecting
    from dockc.engine.tracing import trace_of

    trace = trace_of(sink)
    return nullcontext() if trace is None else collecting(trace)


def _is_piped(output: ExportOutput) -> bool:
    """Whether an output goes to standard output."""
    return output.dest == "-" or (not output.dest and output.type in {"oci", "tar"})


def _recorder(view: StatusSink, asked: Asked) -> Recorder:
    from dockc.engine.record import Recorder
    from dockc.engine.recording import describe
    from dockc.engine.told import hider

    return Recorder(view, hider(describe(asked).attrs))
