"""`dockc build` on a builder elsewhere: we compile, it solves and exports.

What the compiler asks of registries is asked of the builder, with its cache and the credentials that the session lends.
The graphs go to
it, one for each platform, and the image configs with the result.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.aside import aside
from dockc.client.address import Address, Tls, connect
from dockc.client.compiling import Compiling
from dockc.client.control import BuildSpec, Export, Remote, through_frontend
from dockc.client.exports import DirectoryReceiver, FileReceiver, Receiver
from dockc.client.session import Session, shared_key
from dockc.engine.progress import Steps
from dockc.engine.recording import recording_of
from dockc.engine.request import Asked, Inputs, load
from dockc.errors import UsageError
from dockc.oci.keys import CREATED, DESCRIPTOR
from dockc.protocol.names import HEALTH
from dockc.rpc.status import UNAVAILABLE, RpcError
from dockc.runtime.remotecache.base import CacheEntry

if TYPE_CHECKING:
    from dockc.client.control import Spans
    from dockc.rpc.calls import Channel
    from dockc.runtime.exporter.options import Output
    from dockc.solver.progress import StatusSink

_EVERY, _PATIENCE = 10.0, 20.0
"""Seconds between two looks whether a builder lives, and for its answer."""


class Place:
    """Where a build goes: an address and certificates.

    Attributes:
        address: the builder's.
        tls: for it.
        limit: seconds to wait for the connection.
    """

    def __init__(self, address: Address, tls: Tls | None = None, limit: float = 20) -> None:
        self.address, self.tls, self.limit = address, tls, limit


async def build(
    place: Place,
    request: Asked,
    sink: StatusSink,
    *,
    frontend: str = "",
    cache_from: Sequence[CacheEntry] = (),
    cache_to: Sequence[CacheEntry] = (),
    stores: Mapping[str, Path] | None = None,
    attests: Mapping[str, str] | None = None,
    exports: Sequence[Export] | None = None,
    metadata: Sequence[tuple[str, str]] = (),
    spans: Spans | None = None,
) -> dict[str, str]:
    """Build on a builder; what its exporters answer.

    Args:
        place: the builder.
        request: as for a local build.
        sink: takes the progress.
        frontend: makes the graph on the builder's side (`dockerfile.v0`, `gateway.v0`); "" compiles here.
        cache_from: caches to read.
        cache_to: caches to write.
        stores: directories of local caches, by store name.
        attests: attestations that the builder makes (`attest:provenance` and the like).
        exports: what is made; None is `exports_of(request)`.
        metadata: of the call that builds.
        spans: as in `BuildSpec`.

    Raises:
        RemoteError: a step failed, or the builder says no.
        DockcError: anything else that can go wrong on purpose.
    """
    inputs = await asyncio.to_thread(load, request.compile, showing=Steps(sink).measured)
    recording = recording_of(sink)
    if recording is not None:
        recording.dockerfile(inputs.front.source.data)
    session = _session(request, inputs)
    exports = exports_of(request) if exports is None else tuple(exports)
    lent = {**(stores or {}), **{f"oci:{name}": path for name, path in inputs.stores.items() if isinstance(path, Path)}}
    for one in exports:
        if one.store:
            if "export" in lent:
                raise UsageError("one output alone can be an OCI directory")
            lent["export"] = Path(one.store)
    session.lend_stores(lent)
    spec = BuildSpec(
        session=session,
        exports=exports,
        frontend=frontend,
        frontend_attrs={**(_frontend_attrs(request, inputs) if frontend else {}), **(attests or {})},
        entitlements=tuple(sorted(request.allow)),
        cache_imports=tuple(cache_from),
        cache_exports=tuple(cache_to),
        metadata=tuple(metadata),
        spans=spans,
    )
    link = await connect(place.address, place.tls, limit=place.limit)
    pulse = asyncio.create_task(_pulse(link.channel))
    try:
        remote = Remote(link)
        if frontend:
            response = await remote.build(spec, lambda bridge: through_frontend(bridge, spec), sink)
        else:
            compiling = Compiling(request.compile, inputs, session.id, sink)
            response = await remote.build(spec, compiling.drive, sink)
    finally:
        pulse.cancel()
        await link.close()
    for one in exports:
        if one.store:
            await aside(index, one, response)
    return response


async def _pulse(channel: Channel) -> None:
    """Ask now and then whether the builder lives: a machine that lost its power closes no connection."""
    missed = 0
    while missed < 2:
        await asyncio.sleep(_EVERY)
        try:
            async with asyncio.timeout(_PATIENCE):
                await channel.unary(HEALTH, b"")
        except TimeoutError:
            missed += 1
        except RpcError:  # it says that it has no such service, or its connection is lost, which the build knows
            missed = 0
        else:
            missed = 0
    channel.lost(RpcError("the builder gives no sign of life", code=UNAVAILABLE))


def _default(names: Sequence[str]) -> tuple[Output, ...]:
    from dockc.runtime.exporter.options import Output

    return (Output("image"),) if names else ()


def _session(request: Asked, inputs: Inputs) -> Session:
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.session.secrets import ClientSecrets, ClientSsh, parse_secret

    session = Session(shared_key=shared_key([request.compile.context]))
    session.lend_directories(inputs.locals)
    session.lend_credentials(DockerConfig.load())
    if request.secrets:
        session.lend_secrets(ClientSecrets([parse_secret(text) for text in request.secrets]))
    if request.ssh:
        session.lend_ssh(ClientSsh(request.ssh))
    session.lend_uploads(request.uploads)
    return session


# --- outputs ------------------------------------------------------------------------------------------


def exports_of(request: Asked) -> tuple[Export, ...]:
    """What a build makes, with receivers that have not received anything.

    Raises:
        UsageError: an output makes no sense with a builder elsewhere.
    """
    outputs = [exported(output, request.names) for output in request.outputs or _default(request.names)]
    return tuple(one for one in outputs if one is not None)


def exported(output: Output, names: Sequence[str]) -> Export | None:
    """An output in the builder's words, and what takes it here; None where nothing is to be made.

    Raises:
        UsageError: it makes no sense with a builder elsewhere.
    """
    if output.type == "cacheonly":
        return None
    attrs = dict(output.attrs)
    if names and output.type in {"image", "oci", "docker"} and "name" not in attrs:
        attrs["name"] = ",".join(names)
    receiver: Receiver | None = None
    store = ""
    match output.type:
        case "local":
            if sys.platform == "win32":
                raise UsageError("-o type=local cannot be written on Windows yet", hint="Take type=tar and unpack it.")
            receiver = DirectoryReceiver(output.dest, delete=attrs.get("mode", "").strip().lower() == "delete")
        case "tar":
            receiver = FileReceiver(output.dest or "-")
        case "oci" | "docker" if output.archive:
            receiver = FileReceiver(output.dest or ("" if output.type == "docker" else "-"))
        case "oci" | "docker":
            store = output.dest
    return Export(output.type, attrs, receiver, store, tuple(filter(None, attrs.get("name", "").split(","))))


def index(export: Export, response: Mapping[str, str]) -> None:
    """Name the image that the builder wrote in the index of the OCI directory."""
    import base64
    from datetime import UTC, datetime

    from dockc.oci.descriptor import Descriptor
    from dockc.oci.fields import decode
    from dockc.oci.reference import parse_normalized
    from dockc.runtime.exporter.archive import write_index

    text = response.get(DESCRIPTOR, "")
    if not text:
        return
    root = Descriptor.from_fields(decode(base64.b64decode(text), DESCRIPTOR))
    created = root.annotations.get(CREATED) or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    write_index(Path(export.store), root, [parse_normalized(name).tag_name_only() for name in export.names], created)


# --- compiling ----------------------------------------------------------------------------------------


def _frontend_attrs(request: Asked, inputs: Inputs) -> dict[str, str]:
    """The options for a frontend on the builder's side."""
    from dockc.engine.images import is_image

    attrs = dict(request.compile.attrs)
    for name, value in request.compile.contexts.items():
        if is_image(value) and name not in inputs.directories:
            raise UsageError(
                f"the named context {name} is an image of this machine, which only our own compiler sends",
                hint="Leave --frontend out.",
            )
        attrs[f"context:{name}"] = f"local:{name}" if name in inputs.directories else value
    if "context" not in inputs.directories and "context" not in attrs:
        attrs["context"] = request.compile.context
    if "filename" not in attrs and inputs.front.source.name:
        attrs["filename"] = inputs.front.source.name
    return attrs
