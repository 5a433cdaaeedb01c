"""`dockc build` on a builder elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from dockc.base.output import counted
from dockc.base.record import Record
from dockc.client import address, builders, caches
from dockc.client.control import metadata_of
from dockc.client.spread import Ways, build
from dockc.commands.ending import FAILED, Deadline, Terminated
from dockc.commands.files import check_place, write
from dockc.commands.kept import recording, tell_trouble, write_report
from dockc.commands.traced import traced
from dockc.engine.history import RESULT
from dockc.engine.progress import Counting
from dockc.engine.recording import described
from dockc.engine.request import Asked, check_entitlements
from dockc.errors import DockcError, UsageError
from dockc.oci.keys import CONFIG_DIGEST, DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.rpc.pb.common_pb2 import Platform

T = TypeVar("T")


class Wishes(Record):
    """What `dockc build` wants of a builder elsewhere besides the request.

    Attributes:
        frontend: the daemon's frontend that compiles, or "".
        cache_from, cache_to: caches as the command line names them.
        attest, provenance, sbom: attestations, likewise.
        facts: what git knows of the context, for attestations.
        mode: how progress is shown.
        color: what the line says of colours.
        metadata_file, iidfile: files to write afterwards, or None.
        record: where the steps' times would go, or None.
        report: where a page about the build goes, or None.
    """

    frontend: str
    cache_from: tuple[str, ...]
    cache_to: tuple[str, ...]
    attest: tuple[str, ...]
    provenance: str
    sbom: str
    facts: Mapping[str, str]
    mode: str
    metadata_file: Path | None
    iidfile: Path | None
    record: Path | None
    report: Path | None = None
    color: str = "auto"


class Chosen(Record):
    """A builder: what it is called, and its nodes."""

    name: str
    nodes: tuple[builders.Node, ...]


def chosen(name: str, addr: str, tlsdir: str = "") -> Chosen | None:
    """The builder that the command line names, or the user has chosen; None builds here.

    What is typed comes before what `BUILDX_BUILDER` and `BUILDKIT_HOST` say, and of these the builder before the
    address.

    Raises:
        UsageError: there is none of that name, or both were typed.
    """
    if name and addr:
        if addr == os.environ.get("BUILDKIT_HOST", ""):
            addr = ""
        elif name == os.environ.get("BUILDX_BUILDER", ""):
            name = ""
    if name and addr:
        raise UsageError("--builder and --addr both name a builder", hint="Give one of them.")
    if tlsdir and not addr:
        raise UsageError(
            "--tlsdir is for --addr",
            hint="A builder by name keeps its certificates: dockc builder create --tlsdir DIR.",
        )
    if addr:
        address.parse(addr)
        tls = address.Tls.of_directory(tlsdir) if tlsdir else address.Tls()
        return Chosen(addr, (builders.Node(addr, tls),))
    name = name or builders.load().current
    if name in {"", "default"}:
        return None
    return Chosen(name, builders.find(name))


def needed(name: str, addr: str, tlsdir: str = "") -> Chosen:
    """As `chosen`, where this machine's own store is not meant.

    Raises:
        UsageError: none is named or chosen, too.
    """
    found = chosen(name, addr, tlsdir)
    if found is None:
        raise UsageError("no builder is chosen", hint="Name one by --builder or --addr; dockc du and dockc prune are about "
                         "this machine's store.")  # fmt: skip
    return found


def build_remote(builder: Chosen, request: Asked, wishes: Wishes, out: Output) -> int:
    """Build there, show it here.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    with caches.Turns() as turns:
        return _build_there(builder, request, wishes, out, turns)


def _build_there(builder: Chosen, request: Asked, wishes: Wishes, out: Output, turns: caches.Turns) -> int:
    from dockc.console.view import make_view
    from dockc.runtime.exporter import export
    from dockc.runtime.session import secrets

    if wishes.record is not None:
        raise UsageError("--record needs a build on this machine")
    export.check(request.outputs, request.names)
    check_entitlements(request.allow)
    secrets.ClientSecrets([secrets.parse_secret(text) for text in request.secrets])
    secrets.ClientSsh(request.ssh)
    metadata_file, iidfile = wishes.metadata_file, wishes.iidfile
    for path in (metadata_file, iidfile, wishes.report):
        if path is not None:
            check_place(path)
    mode = wishes.mode
    if not request.outputs and not request.names and mode not in {"quiet", "none", "rawjson"}:
        out.log("warning: no output specified: the result stays in the builder's cache; -o says where it goes\n")
    cache_from, lent = caches.imports(wishes.cache_from)
    cache_to, places = caches.exports(wishes.cache_to, forgiving=True)
    turns.begin(cache_to)
    view = make_view(mode, sys.stderr, wishes.color)
    sink = Counting(view)
    tracing = traced(sink, "dockc build")
    metadata = tracing.metadata if tracing is not None else ()
    about = described(request, builder=builder.name, cache_from=wishes.cache_from, cache_to=wishes.cache_to)
    history = recording(sink, request, about)
    try:
        spans = tracing.own if tracing is not None else None
        stores = {**lent, **places}
        ways = Ways(wishes.frontend, tuple(cache_from), tuple(cache_to), stores, attests(wishes), metadata, spans)
        response = until_told(build(builder.name, builder.nodes, request, history, ways))
    except BaseException as exc:
        history.end(None, exc, more={"executed": sink.executed, "cached": sink.cached})
        view.finish(exc)
        tell_trouble(history)
        write_report(history, wishes.report)
        if tracing is not None:
            tracing.end(exc, alone=True)
        if isinstance(exc, DockcError) and not isinstance(exc, (UsageError, Terminated)):
            exc.context = FAILED
        raise
    results = {key: value for key, value in response.items() if len(value) < RESULT}
    done = {"status": "completed", "error": "", "results": results, "executed": sink.executed, "cached": sink.cached}
    history.end(None, None, more=done)
    view.finish()
    tell_trouble(history)
    write_report(history, wishes.report)
    if tracing is not None:
        tracing.end(None, {"dockc.executed": sink.executed, "dockc.cached": sink.cached}, alone=True)
    turns.note(cache_to, response)
    digest = response.get(CONFIG_DIGEST, "") or response.get(DIGEST, "")
    if metadata_file is not None:
        from dockc.golang.text import dump_json

        write(metadata_file, dump_json(metadata_of(response), indent=2))
    if iidfile is not None:
        write(iidfile, digest.encode())
    if mode == "quiet":
        if digest:
            out.write(digest + "\n")
    elif mode not in ("rawjson", "none"):
        out.log(f"{counted(sink.executed, 'step')} run, {sink.cached} cached\n")
    return 0


def attests(wishes: Wishes) -> dict[str, str]:
    """`--attest`, `--provenance` and `--sbom` as options of a builder."""
    found: dict[str, str] = {}
    for text in wishes.attest:
        kind, rest = "", []
        for field in text.split(","):
            key, _, value = field.partition("=")
            if key == "type":
                kind = value
            else:
                rest.append(field)
        if not kind:
            raise UsageError(f"attestation type not specified: {text}")
        found[f"attest:{kind}"] = ",".join(rest)
    for kind, text in (("provenance", wishes.provenance), ("sbom", wishes.sbom)):
        if text.lower() in {"true", "1", "t"}:
            found[f"attest:{kind}"] = ""
        elif text.lower() in {"false", "0", "f"}:
            found[f"attest:{kind}"] = "disabled=true"
        elif text:
            found[f"attest:{kind}"] = text
    return {**found, **wishes.facts} if found else {}


def until_told(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGTERM cancels like an interrupt does, and both are obeyed within two seconds, whatever the
    builder does.

    Raises:
        Terminated: SIGTERM came.
    """

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        told: list[int] = []

        def stop(number: int, _: object) -> None:
            term = number == signal.SIGTERM
            told.append(number)
            Deadline().start(Terminated.exit_code if term else 130, "terminated" if term else "interrupted")
            loop.call_soon_threadsafe(task.cancel)

        # Not the loop's own handlers: they would wait for a loop that is busy.
        before = {
            number: signal.signal(number, stop)
            for number in (signal.SIGTERM, signal.SIGINT)
            if threading.current_thread() is threading.main_thread() and signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            return await task
        except asyncio.CancelledError:
            if told:
                raise (Terminated("terminated") if told[0] == signal.SIGTERM else KeyboardInterrupt) from None
            raise
        finally:
            if not told:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return asyncio.run(watched())


def platform_text(platform: Platform) -> str:
    """A platform of a worker as text."""
    return "/".join(filter(None, (platform.OS, platform.Architecture, platform.Variant)))
