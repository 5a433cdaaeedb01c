"""The exec operation: a RUN step."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import Record, replace
from dockc.base.threads import waiting
from dockc.errors import DockcError, ExecError, InvalidDefinition, SolveError, StoreError
from dockc.golang.text import dump_json, quote
from dockc.oci import digest as digests
from dockc.runtime.executor import limits
from dockc.runtime.executor.base import (
    DEFAULT_PATH,
    ExecIO,
    ExecSpec,
    ExecutorError,
    HostEntry,
    NetworkMode,
    ResolvedMount,
    Rlimit,
    SecurityMode,
)
from dockc.runtime.ops import execkey
from dockc.runtime.ops.execmounts import ExecMounts, get_secret
from dockc.runtime.ops.paths import check_exec
from dockc.runtime.ops.steplog import StepLog, limits_of
from dockc.runtime.refs.contenthash import Selector, digest_by
from dockc.runtime.refs.failed import leave
from dockc.runtime.refs.result import RefResult, make_present, ref_of
from dockc.runtime.session import secrets
from dockc.solver.lent import Key
from dockc.solver.op import STDERR, STDOUT, CacheDep, CacheMap
from dockc.solver.progress import VertexWarning
from dockc.solver.vertex import walk

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.store.worker import Worker
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Edge, Vertex

_PROXIES = (
    ("http_proxy", "HTTP_PROXY"),
    ("https_proxy", "HTTPS_PROXY"),
    ("ftp_proxy", "FTP_PROXY"),
    ("no_proxy", "NO_PROXY"),
    ("all_proxy", "ALL_PROXY"),
)


class ExecOp:
    """Runs a process on file systems and gives back those that it may have changed."""

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation.

        Raises:
            InvalidDefinition: a path that is too long.
        """
        self._vertex = vertex
        self._worker = worker
        self._op: ops_pb2.ExecOp = vertex.op.exec
        check_exec(self._op)

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """See `solver.op.Op.cache_map`."""
        check_entitlements(self._op, frozenset().union(*ctx.lent(secrets.ENTITLEMENTS)))
        preimage = execkey.preimage(self._vertex.op)
        deps = tuple(
            CacheDep(
                selector=key.selector_digest,
                content_digest=digest_by(
                    [Selector(path=p, follow_links=True) for p in key.content_paths], number, key.selector_digest
                )
                if key.by_content
                else None,
                preprocess=make_present,
            )
            for number, key in enumerate(execkey.input_keys(self._op, len(self._vertex.inputs)))
        )
        return CacheMap(digest=digests.from_bytes(dump_json(preimage)), deps=deps, preimage=preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """See `solver.op.Op.exec`."""
        refs = [ref_of(result) for result in inputs]
        try:
            return await ctx.run_blocking(self._run, ctx, refs)
        except (SolveError, StoreError, InvalidDefinition):
            raise
        except DockcError as error:  # a secret, a key, a device, a mount that there is not: the step's own matter, to be shown with its lines
            if ctx.cancelled.is_set():
                raise
            raise SolveError(error.message, vertex=self._vertex.digest, hint=error.hint) from error

    def _run(self, ctx: OpContext, refs: list[ImmutableRef]) -> list[Result | None]:
        _check_devices(self._op, ctx)
        spec = replace(make_spec(self._op, ctx), resources=self._vertex.options.resources)
        with ExecMounts(self._op, refs, self._worker.refs, ctx) as mounts:
            try:
                self._process(mounts, spec, ctx)
            except ExecError:
                inputs = [refs[one.input] if 0 <= one.input < len(refs) else None for one in self._op.mounts]
                leave(ctx, inputs, mounts.left)
                raise
            return [RefResult(ref) for ref in mounts.commit()]

    def _process(self, mounts: ExecMounts, spec: ExecSpec, ctx: OpContext) -> None:
        """Run it; raises ExecError where its status is not a good one."""
        root = mounts.root
        if root is None:
            raise DockcError("no root mount found in exec op")
        log = StepLog(ctx.log, limits=limits_of(os.environ))
        noticed: list[str] = []
        io = ExecIO(
            stdout=lambda data: log.write(STDOUT, data),
            stderr=lambda data: log.write(STDERR, data),
            noticed=noticed.append,
        )
        spec = _with_root(spec, readonly=root.readonly)
        self._tell_limits(spec, ctx)
        beside = list(mounts.mounts)
        if (collector := COLLECTOR.of(ctx)) is not None:
            spec = _told_of(spec, collector)
            beside.append(ResolvedMount(dest=_COLLECTOR, source=collector.socket, readonly=True))
        try:
            with waiting():
                status = self._worker.executor.run(spec, root.path, beside, io, ctx.cancelled)
        except ExecutorError as exc:
            if ctx.cancelled.is_set():
                raise
            log.flush_tail()
            raise self._not_started(exc, ctx) from exc
        except BaseException:
            log.flush_tail()
            raise
        allowed = (0,) if spec.valid_exit_codes is None else spec.valid_exit_codes
        if status not in allowed:
            log.flush_tail()
            raise self._failed(": ".join([f"exit code: {status}", *noticed]), status, _single_id_hint())

    def _tell_limits(self, spec: ExecSpec, ctx: OpContext) -> None:
        """Limits that are lower than the same build has elsewhere: said once in a build that is to be told."""
        builds = ctx.lent(SAID)
        low = limits.lowered(spec.rlimits) if builds else ""
        if not low:
            return
        with _saying:
            if all(low in said for said in builds):
                return
            for said in builds:
                said.add(low)
        text = (
            f"{limits.LOWER}: {low}. Raise the hard limits of the shell that builds, or say with --ulimit what the "
            "steps need"
        )
        ctx.warn(VertexWarning(self._vertex.digest, short=text))

    def _failed(self, reason: str, status: int, hint: str = "") -> ExecError:
        command = quote(" ".join(self._op.meta.args))
        return ExecError(
            f"process {command} did not complete successfully: {reason}",
            exit_status=status,
            vertex=self._vertex.digest,
            hint=hint,
        )

    def _foreign_hint(self) -> str:
        """Why no program of an image for another machine type starts, or ""."""
        from dockc.oci import platform as platforms

        wanted, here = self._vertex.op.platform.Architecture, platforms.default().architecture
        if wanted in ("", here):
            return ""
        return (
            f"The step is for {wanted}, this machine is {here}: its programs start only with an emulator that is "
            "registered with binfmt_misc (package qemu-user-static)."
        )

    def _not_started(self, exc: ExecutorError, ctx: OpContext) -> ExecError:
        if exc.exit_status in (126, 127):
            # As with BuildKit's runc: what is wrong goes to the log, and the status is 1, whatever a shell would give.
            ctx.log(STDERR, f"unable to start container process: {exc.message}\n".encode("utf-8", "surrogateescape"))
            return self._failed("exit code: 1", 1, exc.hint or self._foreign_hint())
        return self._failed(exc.message, exc.exit_status, exc.hint)


def _single_id_hint() -> str:
    """Why programs that change users (apt, su) fail for an ordinary user without subordinate ids."""
    from dockc.runtime.executor import rootless

    namespace = rootless.current()
    if namespace is None or not namespace.single_id:
        return ""
    return (
        f"Only one user id is mapped here ({namespace.reason}): programs that change users or owners fail. "
        "Add ranges with usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER."
    )


def check_load(edges: Iterable[Edge], allowed: frozenset[str]) -> None:
    """Refuse a graph with a step that the user has not allowed, before anything of it runs.

    Raises:
        DockcError: which entitlement is missing.
    """
    for vertex in walk(*edges):
        if vertex.op.WhichOneof("op") == "exec":
            try:
                check_entitlements(vertex.op.exec, allowed)
            except DockcError as exc:
                raise DockcError(f"failed to load LLB: {exc.message}", hint=exc.hint) from exc


def renewed_caches(edges: Iterable[Edge]) -> frozenset[str]:
    """Ids of the cache mounts of steps that run whatever the cache has: they start anew, too."""
    from dockc.llb.modes import MountKind

    return frozenset(
        mount.cacheOpt.ID or mount.dest
        for vertex in walk(*edges)
        if vertex.options.ignore_cache and vertex.op.WhichOneof("op") == "exec"
        for mount in vertex.op.exec.mounts
        if mount.mountType == MountKind.CACHE and mount.HasField("cacheOpt")
    )


def check_entitlements(op: ops_pb2.ExecOp, allowed: frozenset[str]) -> None:
    """Refuse what the user has not allowed.

    Raises:
        DockcError: `security.insecure is not allowed` or `network.host is not allowed`.
    """
    needed = []
    if int(op.network) == NetworkMode.HOST:
        needed.append("network.host")
    if int(op.security) == SecurityMode.INSECURE:
        needed.append("security.insecure")
    for name in needed:
        if name not in allowed:
            raise DockcError(f"{name} is not allowed", hint=f"Allow it with --allow {name}")


def _check_devices(op: ops_pb2.ExecOp, ctx: OpContext) -> None:
    for device in op.cdiDevices:
        if not device.optional:
            raise DockcError(
                f"CDI device {device.name} is not available", hint="This builder has no CDI devices to give."
            )
        ctx.log(STDERR, f"optional CDI device {device.name} is not available\n".encode())


class Collector(Record):
    """Who takes the spans that a step makes itself.

    Attributes:
        socket: speaks OTLP over gRPC.
        parent: the span that they belong below, as `TRACEPARENT` has it.
    """

    socket: Path
    parent: str


COLLECTOR: Key[Collector] = Key("collector of spans")
_COLLECTOR = "/dev/otel-grpc.sock"
"""Where steps find it (BuildKit, executor/oci)."""


def _told_of(spec: ExecSpec, collector: Collector) -> ExecSpec:
    """A process that is told where its spans go, unless the build has said that itself."""
    wanted = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"unix://{_COLLECTOR}",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        "TRACEPARENT": collector.parent,
    }
    given = {entry.partition("=")[0] for entry in spec.env}
    return replace(spec, env=(*spec.env, *(f"{key}={value}" for key, value in wanted.items() if key not in given)))


SAID: Key[set[str]] = Key("what is said once")
"""What a build has been told already."""
_saying = threading.Lock()


def make_spec(op: ops_pb2.ExecOp, ctx: OpContext) -> ExecSpec:
    """The process of an exec operation, with proxies, a default PATH and secret variables in its environment.

    Raises:
        DockcError: a missing secret, an address that cannot be read.
    """
    meta = op.meta
    env = list(meta.env)
    if meta.HasField("proxy_env"):
        for field, name in _PROXIES:
            if value := getattr(meta.proxy_env, field):
                env += [f"{name}={value}", f"{name.lower()}={value}"]
    if not any(entry.startswith("PATH=") for entry in env):
        env.append(f"PATH={DEFAULT_PATH}")
    for secret in op.secretenv:
        if not secret.ID:
            raise DockcError(f"secret ID missing for {quote(secret.name)} environment variable")
        data = get_secret(ctx, secret.ID, optional=secret.optional)
        env.append(f"{secret.name}={(data or b'').decode('utf-8', 'surrogateescape')}")
    return ExecSpec(
        args=tuple(meta.args),
        env=tuple(env),
        cwd=meta.cwd or "/",
        user=meta.user,
        hostname=meta.hostname,
        extra_hosts=tuple(HostEntry(entry.Host, _address(entry.IP)) for entry in meta.extraHosts),
        network=NetworkMode(op.network),
        security=_security(op.security),
        rlimits=tuple(Rlimit(limit.Name, limit.Soft, limit.Hard) for limit in meta.ulimit),
        cgroup_parent=meta.cgroupParent,
        remove_mount_stubs_recursive=meta.removeMountStubsRecursive,
        valid_exit_codes=tuple(meta.validExitCodes) or None,
    )


def _security(number: int) -> SecurityMode:
    try:
        return SecurityMode(number)
    except ValueError:
        raise DockcError(f"invalid security mode {number}") from None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise DockcError(f"failed to parse IP {text}") from exc


def _with_root(spec: ExecSpec, *, readonly: bool) -> ExecSpec:
    return replace(spec, readonly_rootfs=readonly)
