"""`dockc build` on a builder elsewhere."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dockc.client import address, builders, caches
from dockc.client.building import Place, build
from dockc.client.control import metadata_of
from dockc.commands.ending import FAILED, Terminated
from dockc.commands.files import check_place, write
from dockc.engine.progress import Counting
from dockc.engine.request import Asked
from dockc.errors import DockcError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.rpc.pb.common_pb2 import Platform

T = TypeVar("T")


class Attesting(Protocol):
    """Options that say which attestations are wanted."""

    @property
    def attest(self) -> tuple[str, ...]: ...

    @property
    def provenance(self) -> str: ...

    @property
    def sbom(self) -> str: ...


class Shown(Attesting, Protocol):
    """What a build elsewhere needs of the options of `dockc build` besides the request."""

    @property
    def frontend(self) -> str: ...

    @property
    def cache_from(self) -> tuple[str, ...]: ...

    @property
    def cache_to(self) -> tuple[str, ...]: ...

    @property
    def progress(self) -> str: ...

    @property
    def quiet(self) -> bool: ...

    @property
    def metadata_file(self) -> Path | None: ...

    @property
    def iidfile(self) -> Path | None: ...

    @property
    def record(self) -> Path | None: ...


def chosen(name: str, addr: str, tlsdir: str = "") -> Place | None:
    """The builder that the command line names, or the user has chosen; None builds here.

    Raises:
        UsageError: there is none of that name, or both were given.
    """
    if name and addr:
        raise UsageError("--builder and --addr both name a builder", hint="Give one of them.")
    if tlsdir and not addr:
        raise UsageError(
            "--tlsdir is for --addr",
            hint="A builder by name keeps its certificates: dockc builder create --tlsdir DIR.",
        )
    if addr:
        return Place(address.parse(addr), address.Tls.of_directory(tlsdir) if tlsdir else None)
    name = name or builders.load().current
    if name in {"", "default"}:
        return None
    node = builders.find(name)
    return Place(address.parse(node.addr), node.tls if node.tls else None)


def build_remote(place: Place, request: Asked, options: Shown, out: Output) -> int:
    """Build there, show it here.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    from dockc.console.view import make_view
    from dockc.engine.engine import check_entitlements
    from dockc.runtime.exporter import export
    from dockc.runtime.session import secrets

    if options.record is not None:
        raise UsageError("--record needs a build on this machine")
    export.check(request.outputs, request.names)
    check_entitlements(request.allow)
    secrets.ClientSecrets([secrets.parse_secret(text) for text in request.secrets])
    secrets.ClientSsh(request.ssh)
    metadata_file, iidfile = options.metadata_file, options.iidfile
    for path in (metadata_file, iidfile):
        if path is not None:
            check_place(path)
    mode = "quiet" if options.quiet else options.progress
    if not request.outputs and not request.names and mode not in {"quiet", "none", "rawjson"}:
        out.log("warning: no output specified: the result stays in the builder's cache; -o says where it goes\n")
    cache_from, lent = caches.imports(options.cache_from)
    cache_to, places = caches.exports(options.cache_to)
    view = make_view(mode, sys.stderr)
    sink = Counting(view)
    try:
        response = until_told(
            build(
                place,
                request,
                sink,
                frontend=options.frontend,
                cache_from=cache_from,
                cache_to=cache_to,
                stores={**lent, **places},
                attests=attests(options),
            )
        )
    except BaseException as exc:
        view.finish(exc)
        if isinstance(exc, DockcError) and not isinstance(exc, (UsageError, Terminated)):
            exc.context = FAILED
        raise
    view.finish()
    caches.note(cache_to, response)
    digest = response.get("containerimage.config.digest", "") or response.get("containerimage.digest", "")
    if metadata_file is not None:
        from dockc.golang.text import dump_json

        write(metadata_file, dump_json(metadata_of(response), indent=2))
    if iidfile is not None:
        write(iidfile, digest.encode())
    if mode == "quiet":
        if digest:
            out.write(digest + "\n")
    elif mode not in ("rawjson", "none"):
        out.log(f"{sink.executed} steps run, {sink.cached} cached\n")
    return 0


def attests(options: Attesting) -> dict[str, str]:
    """`--attest`, `--provenance` and `--sbom` as options of a builder."""
    found: dict[str, str] = {}
    for text in options.attest:
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
    for kind, text in (("provenance", options.provenance), ("sbom", options.sbom)):
        if text.lower() in {"true", "1", "t"}:
            found[f"attest:{kind}"] = ""
        elif text.lower() in {"false", "0", "f"}:
            found[f"attest:{kind}"] = "disabled=true"
        elif text:
            found[f"attest:{kind}"] = text
    return found


def until_told(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGTERM cancels like an interrupt does.

    Raises:
        Terminated: SIGTERM came.
    """

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
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

    return asyncio.run(watched())


def platform_text(platform: Platform) -> str:
    """A platform of a worker as text."""
    return "/".join(filter(None, (platform.OS, platform.Architecture, platform.Variant)))
