"""`Builder` makes the nodes of the IR, `Module` holds a finished graph."""

from __future__ import annotations

from dockc.base.record import fields_of
from dockc.compiler.ir.ops import (
    NO_META,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    Hole,
    MergeOp,
    Mount,
    Node,
    Op,
    OpMeta,
    Owner,
    PassthroughOp,
    ProxyEnv,
    Secret,
    SourceOp,
    Ssh,
    Value,
    replaced,
)
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import caps as C  # noqa: N812
from dockc.llb import sources
from dockc.llb.definition import LinuxResources
from dockc.llb.definition import ProgressGroup as ProgressGroup
from dockc.llb.modes import Network, Security

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from dockc.oci.platform import Platform


class Module:
    """A finished graph.

    Attributes:
        outputs: the results, by name; `""` is the image's root file system, None an empty one.
        platform: the target platform: what operations that name none run on.
    """

    __slots__ = ("outputs", "platform")

    def __init__(self, outputs: Mapping[str, Value | None], platform: Platform) -> None:
        self.outputs: Final = dict(outputs)
        self.platform: Final = platform

    @property
    def result(self) -> Value | None:
        """The main output."""
        return self.outputs.get("")

    def ops(self) -> list[Op]:
        """All operations, each after those it reads: the order of the definition."""
        return walk(v for v in self.outputs.values() if v is not None)

    @property
    def meta(self) -> dict[Op, OpMeta]:
        """What is said about each operation."""
        return {op: op.meta for op in self.ops()}


def walk(roots: Iterable[Value]) -> list[Op]:
    """The operations below `roots` in depth-first post-order, each once. Iterative: chains may be long.

    Raises:
        CompileError: a hole was never filled, or was filled with something that reads it.
    """
    order: list[Op] = []
    done: set[Op] = set()
    entered: set[Op] = set()
    for root in roots:
        stack: list[tuple[Op, bool]] = [(root.op, False)]
        while stack:
            op, leaving = stack.pop()
            if leaving:
                done.add(op)
                order.append(op)
            elif op not in done:
                if op in entered:
                    raise CompileError("the build graph has a cycle", fault=Fault("bad-ir"))
                entered.add(op)
                stack.append((op, True))
                for value in reversed(op.inputs()):
                    if isinstance(value, Hole) and not value.filled:
                        raise CompileError(f"value {value.name!r} was never defined", fault=Fault("bad-ir"))
                    if value.op not in done:
                        stack.append((value.op, False))
    return order


class Builder:
    """Makes operations; equal ones (same fields, inputs and meta, and no place in the source) are one object.

    An operation that has a place in the source stays itself even if it equals another: the definition has
    them once, with the places of both.

    Args:
        platform: the target platform; operations that name none run on it.
        caps: what the daemon understands, or None if that is unknown.
    """

    def __init__(self, platform: Platform, caps: frozenset[str] | None = None) -> None:
        self.platform = platform
        self.caps = caps
        self._interned: dict[object, Value] = {}

    # --- values that come later -----------------------------------------------------------------------

    def hole(self, name: str) -> Hole:
        """A value to be told later with `fill`; `name` is for error messages."""
        return Hole(name)

    def fill(self, hole: Hole, value: Value) -> None:
        """Say what `hole` is. All readers see it.

        Raises:
            CompileError: it was filled before.
        """
        if hole.filled:
            raise CompileError(f"value {hole.name!r} is defined twice", fault=Fault("bad-ir"))
        hole.op = value.op
        hole.index = value.index

    # --- sources --------------------------------------------------------------------------------------

    def source(
        self,
        spec: sources.SourceSpec,
        *,
        platform: Platform | None = None,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """A source, as the functions of `llb.sources` describe it."""
        op = SourceOp(
            spec.identifier,
            tuple(sorted(spec.attrs.items())),
            platform=(platform or self.platform) if A.is_platform_specific(spec.identifier) else None,
            meta=meta,
            filters=filters,
            caps=spec.caps,
        )
        return self._intern(op)

    # --- operations -----------------------------------------------------------------------------------

    def exec(
        self,
        root: Value | None,
        args: Sequence[str],
        *,
        env: Sequence[str] = (),
        cwd: str = "/",
        user: str = "",
        hostname: str = "",
        cgroup_parent: str = "",
        hosts: Sequence[tuple[str, str]] = (),
        ulimits: Sequence[tuple[str, int, int]] = (),
        exit_codes: Sequence[int] | None = None,
        network: int = Network.SANDBOX,
        security: int = Security.SANDBOX,
        proxy: ProxyEnv | None = None,
        mounts: Iterable[Mount] = (),
        secrets: Sequence[Secret] = (),
        ssh: Sequence[Ssh] = (),
        devices: Sequence[tuple[str, bool]] = (),
        readonly_root: bool = False,
        platform: Platform | None = None,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value | None:
        """Run `args` in `root`; returns the root as the process leaves it (`root` itself if it is read-only).

        `env` holds `KEY=value` strings in order. `SSH_AUTH_SOCK` is added for `ssh`, and `PATH` if the daemon
        does not set it by itself. Other writable mounts are read with `mount_output`.

        Raises:
            CompileError: no arguments, no working directory, or a tmpfs mount of something.
        """
        if not args:
            raise CompileError("arguments are required", fault=Fault("bad-ir"))
        if not cwd:
            raise CompileError("working directory is required", fault=Fault("bad-ir"))
        root_mount = Mount("/", root, readonly=readonly_root)
        all_mounts = tuple(sorted((root_mount, *mounts), key=lambda m: m.target))
        if any(m.tmpfs and m.source is not None for m in all_mounts):
            raise CompileError("tmpfs mounts must use scratch", fault=Fault("bad-ir"))
        sockets = tuple(_with_target(s, f"/run/buildkit/ssh_agent.{i}") for i, s in enumerate(ssh))
        op = ExecOp(
            args=tuple(args),
            env=self._exec_env(env, sockets),
            cwd=cwd,
            user=user,
            hostname=hostname,
            cgroup_parent=cgroup_parent,
            hosts=tuple(hosts),
            ulimits=tuple(ulimits),
            exit_codes=None if exit_codes is None else tuple(exit_codes),
            network=network,
            security=security,
            proxy=proxy,
            mounts=all_mounts,
            secrets=tuple(secrets),
            ssh=sockets,
            devices=tuple(devices),
            meta=meta,
            platform=platform or self.platform,
            filters=filters,
            caps=(),
        )
        knows_path = self.caps is not None and C.EXEC_META_SETS_DEFAULT_PATH in self.caps
        op = replaced(op, caps=exec_caps(op, sets_default_path=knows_path))
        made = self._intern(op)
        return root if readonly_root else Value(made.op, op.output_index(root_mount))

    def mount_output(self, op: ExecOp, target: str) -> Value:
        """What an exec left in its writable mount at `target`.

        Raises:
            CompileError: there is no such mount, or it has no output.
        """
        for mount in op.mounts:
            if mount.target == target and mount.has_output:
                return Value(op, op.output_index(mount))
        raise CompileError(f"the mount at {target} has no output", fault=Fault("bad-ir"))

    def _exec_env(self, env: Sequence[str], ssh: Sequence[Ssh]) -> tuple[str, ...]:
        environment = list(env)
        if ssh and not _has(environment, "SSH_AUTH_SOCK"):
            environment.append(f"SSH_AUTH_SOCK={ssh[0].target}")
        lacks_path = self.caps is not None and C.EXEC_META_SETS_DEFAULT_PATH not in self.caps
        if lacks_path and self.platform.os != "windows" and not _has(environment, "PATH"):
            environment.append(f"PATH={DEFAULT_PATH}")
        return tuple(environment)

    def file(
        self,
        base: Value | None,
        actions: Sequence[FileAction],
        *,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """Change files of `base`. Paths of the actions are absolute and clean (see `llb.paths`).

        Raises:
            CompileError: no actions.
        """
        if not actions:
            raise CompileError("action is required", fault=Fault("bad-ir"))
        return self._intern(FileOp(base, tuple(actions), meta=meta, filters=filters, caps=(C.FILE_BASE,)))

    def merge(
        self, layers: Iterable[Value | None], *, filters: tuple[str, ...] = (), meta: OpMeta = NO_META
    ) -> Value | None:
        """Lay file systems over each other. Empty ones drop out; a single one is returned as it is."""
        present = tuple(v for v in layers if v is not None)
        if len(present) < 2:
            return present[0] if present else None
        op = MergeOp(present, meta=meta, filters=filters, caps=(C.MERGE_OP,))
        return self._intern(op)

    def diff(
        self,
        lower: Value | None,
        upper: Value | None,
        *,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value | None:
        """What `upper` changed against `lower`; `upper` itself if there is no lower."""
        if lower is None:
            return upper
        op = DiffOp(lower, upper, meta=meta, filters=filters, caps=(C.DIFF_OP,))
        return self._intern(op)

    def passthrough(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        value: Value,
        after: Sequence[Value],
        *,
        meta: OpMeta = NO_META,
    ) -> Value:
        """`value`, once everything in `after` has run too."""
        op = PassthroughOp(id, (value, *after), (0,), meta=meta, caps=(C.PASSTHROUGH_OP,))
        return self._intern(op)

    def _intern(self, op: Op) -> Value:
        """The value of an equal operation made before, or of this one."""
        meta = op.meta
        if meta.locations or any(isinstance(v, Hole) for v in op.inputs()):
            return Value(op)
        value = Value(op)
        return self._interned.setdefault(_identity(op), value)


_PLAIN = frozenset((str, int, bool, bytes, float))


def _identity(thing: object) -> object:
    """What decides whether two fields are equal: hashable, with nodes and metadata taken apart."""
    if thing is None or type(thing) in _PLAIN:
        return thing
    if isinstance(thing, Value):
        return (thing.op, thing.index)
    if isinstance(thing, tuple):
        return tuple(_identity(t) for t in thing)
    if isinstance(thing, dict):
        return tuple(sorted(thing.items()))
    if isinstance(thing, OpMeta):
        names: tuple[str, ...] = OpMeta.__slots__
    elif isinstance(thing, Node):
        names = fields_of(thing)
    else:
        return thing
    return (type(thing), *(_identity(getattr(thing, name)) for name in names))


def parse_owner(text: str) -> Owner:
    """`user[:group]`; decimal numbers become ids, `root` and "" id 0, all else is a name to look up."""
    user, colon, group = text.partition(":")
    return Owner(_id_or_name(user), _id_or_name(group) if colon else None)


def _id_or_name(text: str) -> str | int:
    if text in ("root", ""):
        return 0
    try:
        return parse_int(text, bits=32)
    except NumberError:
        return text


def _has(env: Sequence[str], key: str) -> bool:
    return any(e.startswith(key + "=") for e in env)


def _with_target(agent: Ssh, target: str) -> Ssh:
    return agent if agent.target else replaced(agent, target=target)


def exec_caps(op: ExecOp, *, sets_default_path: bool) -> tuple[str, ...]:
    """The capability ids that follow from the fields of an exec.

    `sets_default_path`: the daemon is known to set `PATH` by itself.
    """
    caps = {C.EXEC_META_BASE}
    for m in op.mounts:
        if m.selector:
            caps.add(C.EXEC_MOUNT_SELECTOR)
        if m.cache_id:
            caps |= {C.EXEC_MOUNT_CACHE, C.EXEC_MOUNT_CACHE_SHARING}
        elif m.tmpfs:
            caps.add(C.EXEC_MOUNT_TMPFS)
            if m.tmpfs_size > 0:
                caps.add(C.EXEC_MOUNT_TMPFS_SIZE)
        elif m.source is not None:
            caps.add(C.EXEC_MOUNT_BIND)
        if m.content_cache:
            caps.add(C.EXEC_MOUNT_CONTENT_CACHE)
    for condition, cap in (
        (sets_default_path, C.EXEC_META_SETS_DEFAULT_PATH),
        (op.exit_codes is not None, C.EXEC_VALID_EXIT_CODE),
        (bool(op.ulimits), C.EXEC_META_ULIMIT),
        (op.meta.resources is not None, C.EXEC_META_LINUX_RESOURCES),
        (op.network != Network.SANDBOX, C.EXEC_META_NETWORK),
        (op.security == Security.INSECURE, C.EXEC_META_SECURITY),
        (op.proxy is not None, C.EXEC_META_PROXY),
        (bool(op.secrets), C.EXEC_MOUNT_SECRET),
        (any(s.env is not None for s in op.secrets), C.EXEC_SECRET_ENV),
        (bool(op.ssh), C.EXEC_MOUNT_SSH),
        (bool(op.devices), C.EXEC_META_CDI),
    ):
        if condition:
            caps.add(cap)
    return tuple(sorted(caps))


def default_caps(op: Op) -> tuple[str, ...]:
    """The capability ids that the `Builder` gives to such an operation when the daemon knows all of them."""
    if isinstance(op, SourceOp):
        return tuple(sorted(set(sources.caps(op.identifier, dict(op.attrs)))))
    if isinstance(op, ExecOp):
        return exec_caps(op, sets_default_path=True)
    return _KIND_CAPS[type(op)]


_KIND_CAPS: dict[type[Op], tuple[str, ...]] = {
    FileOp: (C.FILE_BASE,),
    MergeOp: (C.MERGE_OP,),
    DiffOp: (C.DIFF_OP,),
    PassthroughOp: (C.PASSTHROUGH_OP,),
}

Resources = LinuxResources
