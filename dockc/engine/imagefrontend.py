"""Frontends from images (`gateway.v0`): a process of the image that speaks `LLBBridge` over its standard streams.

Source: BuildKit, `frontend/gateway`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.aside import outlast
from dockc.base.threads import waiting
from dockc.engine.bridge import Result
from dockc.engine.gateway import Gateway, answers, own_workers
from dockc.engine.request import stands_in
from dockc.errors import DockcError
from dockc.oci.keys import CONFIG
from dockc.protocol.errors import from_rpc, to_rpc
from dockc.protocol.names import HEALTH
from dockc.rpc.calls import Call, Channel, unary
from dockc.rpc.pb import session_pb2
from dockc.rpc.status import UNIMPLEMENTED, RpcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.engine.bridge import Bridge, Ref
    from dockc.llb.definition import Definition
    from dockc.oci.config import ContainerConfig
    from dockc.runtime.executor.base import ExecSpec, ResolvedMount

_METADATA = "/run/config/buildkit/metadata"
_SAID = 8192


async def frontend(bridge: Bridge) -> Result:
    """`gateway.v0`: run a frontend from an image (option `source`), which asks over its standard streams.

    Raises:
        DockcError: the image cannot be had or run, or the frontend says that the build failed.
    """
    from dockc.oci.config import ImageConfig

    attrs = bridge.request.attrs
    source = attrs.get("source", "")
    if not source:
        raise DockcError("gateway.v0 needs the option source", hint="--opt source=IMAGE names the frontend's image.")
    if source == "dockerfile.v0":
        return await bridge.solve(frontend=source, attrs={"cmdline": source, **attrs}, inputs=bridge.request.inputs)
    if "gateway-devel" in attrs:
        raise DockcError("development gateway is no longer supported", hint="Give the build as a named context.")
    if stands_in(attrs, source):
        from dockc.engine.dockerfile import named

        name, result = source, await named(bridge, source)
        ref, data = result.refs[""], result.metadata[CONFIG]
    else:
        name, ref, data = await _image(bridge, source)
    if ref is None:
        raise DockcError(f"the frontend image {source} is empty")
    await bridge.evaluate(ref)
    config = ImageConfig.parse(data).config
    _check_caps(dict(config.labels or {}), attrs, bool(bridge.request.inputs))
    gateway = Gateway(bridge, await bridge.work.blocking(own_workers))
    with (
        bridge.nested.one(),
        bridge.steps.step(f"[internal] run frontend {name}"),
        tempfile.TemporaryDirectory(prefix="dockc-frontend-") as folder,
    ):
        spec, mounts = _container(gateway, config, folder, ref.definition)
        try:
            said = await _run(gateway, ref, spec, mounts)
        finally:
            await gateway.close()
    if gateway.returned.done():
        return gateway.returned.result()
    raise DockcError(f"the frontend {source} ended without a result{said}")


async def _image(bridge: Bridge, source: str) -> tuple[str, Ref | None, bytes]:
    """A frontend's image: its whole name, its file system and its config."""
    from dockc.llb.author import state
    from dockc.oci.reference import parse_normalized
    from dockc.runtime.source.found import FoundImage

    name = str(parse_normalized(source).tag_name_only())
    found = await bridge.resolve_source_meta(f"docker-image://{name}", name=f"resolve image config for {name}")
    if not isinstance(found, FoundImage):
        raise DockcError(f"{source} is no image")
    pinned = name if "@" in name or not found.digest else f"{name}@{found.digest}"
    return name, await bridge.load(state.image(pinned).marshal()), found.config


def _check_caps(labels: Mapping[str, str], attrs: Mapping[str, str], inputs: bool) -> None:
    """Refuse a frontend that cannot do what is asked of it.

    Raises:
        RpcError: which capability it lacks, so that a client may try another way.
    """
    has = set(filter(None, labels.get("moby.buildkit.frontend.caps", "").split(",")))
    wanted = set(filter(None, attrs.get("frontend.caps", "").split(",")))
    if inputs:
        wanted.add("moby.buildkit.frontend.inputs")
    for one in sorted({cap.removesuffix("+forward") for cap in wanted} - has):
        detail = json.dumps({"name": one}).encode()
        raise from_rpc(
            RpcError(
                f"unsupported frontend capability {one}",
                code=UNIMPLEMENTED,
                details=[("github.com/moby/buildkit/errdefs.FrontendCap+json", detail)],
            )
        )


def _container(
    gateway: Gateway, config: ContainerConfig, folder: str, definition: Definition
) -> tuple[ExecSpec, tuple[ResolvedMount, ...]]:
    """The process of a frontend and what it finds beside its image."""
    from dockc.runtime.executor.base import ExecSpec, NetworkMode, ResolvedMount

    attrs = gateway.bridge.request.attrs
    labels = dict(config.labels or {})
    options = [
        f"BUILDKIT_FRONTEND_OPT_{number}={key}={value}" for number, (key, value) in enumerate(sorted(attrs.items()))
    ]
    workers = [
        {
            "ID": one.ID,
            "Labels": dict(one.Labels),
            "Platforms": [
                {"architecture": p.Architecture, "os": p.OS, **({"variant": p.Variant} if p.Variant else {})}
                for p in one.platforms
            ],
        }
        for one in gateway.workers
    ]
    env = [
        *(config.env or ()),
        *options,
        f"BUILDKIT_SESSION_ID={gateway.bridge.session.id}",
        f"BUILDKIT_WORKERS={json.dumps(workers)}",
        "BUILDKIT_EXPORTEDPRODUCT=buildkit",
    ]
    (Path(folder) / "frontend.bin").write_bytes(definition.to_bytes())
    isolated = labels.get("moby.buildkit.frontend.network.none", "").lower() in {"1", "t", "true"}
    spec = ExecSpec(
        args=tuple(config.entrypoint or ()) or ("/run",),
        env=tuple(env),
        cwd=config.working_dir or "/",
        network=NetworkMode.NONE if isolated else NetworkMode.UNSET,
        remove_mount_stubs_recursive=True,
    )
    return spec, (ResolvedMount(dest=_METADATA, source=Path(folder), readonly=True),)


async def _run(gateway: Gateway, ref: Ref, spec: ExecSpec, mounts: tuple[ResolvedMount, ...]) -> str:
    """Run the frontend until it ends; what it said beside the protocol, for an error."""
    from dockc.rpc.transports import on_descriptors
    from dockc.runtime.executor.base import ExecIO

    bridge = gateway.bridge
    work = bridge.work
    cancelled = threading.Event()
    said = bytearray()
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    channel: Channel | None = None

    async def mine(_: Call) -> Gateway:
        return gateway

    def run() -> int:
        refs = work.worker.refs
        base = bridge.file_system(ref)
        bridge.fetch(base, cancelled=cancelled)
        mutable = refs.new_mutable(base, description="frontend")
        try:
            with mutable.mount() as rootfs:
                io = ExecIO(stdout=partial(_all_of, from_write), stderr=lambda data: _keep(said, data), stdin=to_read)
                with waiting():
                    return work.worker.executor.run(spec, rootfs, mounts, io, cancelled)
        finally:
            with suppress(OSError):
                os.close(from_write)
            mutable.release()

    health = unary(session_pb2.HealthCheckRequest, _healthy)
    handlers = answers(mine) | {HEALTH: health}
    running = asyncio.ensure_future(work.blocking(run, cancelled=cancelled))
    try:
        channel = await on_descriptors(from_read, to_write, handlers, explain=to_rpc)
        first: set[asyncio.Future[Any]] = {running, gateway.returned}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and gateway.returned.exception() is None:
            # It has said what it had to say: it gets a moment to end well.
            await asyncio.wait({running}, timeout=10)
        cancelled.set()
        status = await running if running.done() else await _ended(running)
    finally:
        cancelled.set()
        if channel is not None:
            channel.shut()
        os.close(to_read)
        await outlast(running)  # it closes what it writes to
    if gateway.returned.done() and gateway.returned.exception() is not None:
        gateway.returned.result()
    text = said.decode("utf-8", "replace").strip()
    words = f": {text}" if text else ""
    if status and not gateway.returned.done():
        raise DockcError(f"the frontend ended with exit code {status}{words}")
    return words


async def _ended(running: asyncio.Future[int]) -> int:
    from dockc.runtime.executor.base import ExecCancelled

    try:
        return await running
    except ExecCancelled:
        return 0


async def _healthy(request: session_pb2.HealthCheckRequest, _: Call) -> session_pb2.HealthCheckResponse:
    return session_pb2.HealthCheckResponse(status=session_pb2.HealthCheckResponse.SERVING)


def _all_of(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def _keep(said: bytearray, data: bytes) -> None:
    said += data
    del said[:-_SAID]
