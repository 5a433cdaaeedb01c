"""`dockc build`: what was typed to a request, the call, a view of what came back; and what a building process is.

It is one thread when it enters its own namespaces, and it is told to end by a signal.
"""

from __future__ import annotations

import os
import sys

from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from dockc.commands.ending import Deadline
    from dockc.engine.progress import Counting
    from dockc.engine.record import Recorder
    from dockc.engine.request import BuildRequest, Built
    from dockc.runtime.exporter.options import Output
    from dockc.solver.progress import StatusSink

# What BuildKit's clients say before the message of whatever ended a build: scripts look for these words.
_FAILED = "failed to solve: "


def build_command(values: Mapping[str, Any]) -> int:
    """Build, or answer a question about a build.

    Args:
        values: the parameters of `build` on the command line, by name.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    from dockc.commands import options
    from dockc.commands.stdin import from_stdin
    from dockc.engine.request import BuildRequest, CompileRequest

    def same(*names: str) -> dict[str, Any]:
        return {name: values[name] for name in names}

    options.refuse(**same("cache_from", "cache_to", "attest", "provenance", "sbom", "builder"))
    for name, given in (("--rm", values["rm"]), ("--force-rm", values["force_rm"]), ("--compress", values["compress"])):
        if given:
            sys.stderr.write(f"warning: {name} has no effect: there are no containers to remove and no context to send\n")
    attrs = options.frontend_attrs(
        target=values["target"],
        build_args=values["build_arg"],
        platforms=values["platform"],
        labels=values["label"],
        opts=values["opt"],
        **same("no_cache", "no_cache_filter"),
    ) | options.step_attrs(
        hosts=values["add_host"], ulimits=values["ulimit"], **same("pull", "network", "shm_size", "cgroup_parent")
    )
    attrs |= options.proxy_attrs(os.environ, attrs)
    asked = CompileRequest(
        values["context"],
        values["file"],
        attrs=attrs,
        contexts=options.named_contexts(values["build_context"]),
        **same("answers", "offline", "locked", "level", "passes", "squash", "store"),
    )
    with from_stdin(asked, sys.stdin.buffer) as (read, uploads):
        method, form = options.method("check" if values["check"] else values["call"], attrs)
        if method != "build":
            from dockc.commands.call import call as ask

            return ask(read, method, form, out=sys.stdout.write)
        request = BuildRequest(
            compile=read,
            outputs=options.outputs(values["output"], annotations=values["annotation"], **same("push", "load")),
            names=tuple(values["tag"]),
            secrets=tuple(values["secret"]),
            ssh=tuple(values["ssh"]),
            allow=frozenset(values["allow"]) | ({"network.host"} if values["network"] == "host" else set()),
            uploads=uploads,
            **same("executor", "snapshotter", "parallelism"),
        )
        build_and_show(request, mode="quiet" if values["quiet"] else values["progress"], **same("metadata_file", "iidfile", "record"))
    return 0


def build_and_show(
    request: BuildRequest, *, mode: str, metadata_file: Path | None, iidfile: Path | None, record: Path | None = None
) -> Built:
    """`dockc build`: build with a progress view on standard error, and write what the user wants to know.

    A `record` of the steps is written also when one of them failed.

    Raises:
        DockcError: as `build`; the view has shown the failed step's log by then.
    """
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


def build(request: BuildRequest, sink: StatusSink, recorder: Recorder | None = None) -> Built:
    """Build, and make all outputs.

    Enters the builder's namespaces, so it must be called while the process has one thread. A `recorder` is told the sizes of
    the steps' results; it is the caller's to put it before the sink.

    Raises:
        FailedStep: a step failed.
        DockcError: anything else that can go wrong on purpose.
    """
    import asyncio

    from dockc.commands.ending import Deadline
    from dockc.engine.engine import check, refuse_missing
    from dockc.engine.progress import Counting
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.exporter import export
    from dockc.runtime.store.worker import default_root

    refuse_missing(request.compile.attrs)
    export.check(request.outputs, request.names)
    check(request)
    root = request.compile.store or default_root()
    enter_build_namespace()
    deadline = Deadline()
    try:
        return asyncio.run(_until_told(request, root, Counting(sink), recorder, deadline))
    except DockcError as error:
        if not isinstance(error, (UsageError, Terminated)):
            error.context = _FAILED
        raise
    finally:
        deadline.stop()


class Terminated(DockcError):
    """The process was told to end (SIGTERM); the steps that ran have ended by now."""

    exit_code = 143


async def _until_told(
    request: BuildRequest, root: Path, sink: Counting, recorder: Recorder | None, deadline: Deadline
) -> Built:
    """Build; SIGTERM cancels like an interrupt does, so that no step outlives its builder, and is obeyed within two seconds."""
    import asyncio
    import signal

    from dockc.engine.engine import run_build

    loop = asyncio.get_running_loop()
    task = loop.create_task(run_build(request, root, sink, recorder))
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
    from dockc.engine.record import Recorder

    return Recorder(view)
