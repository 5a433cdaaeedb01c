"""The vertices behind `llb.State`: operations that know their bytes once those of their inputs are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from dockc.base.record import Record, replace
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.llb import caps as C  # noqa: N812
from dockc.llb import ops, sources
from dockc.llb.assemble import caps_of
from dockc.llb.attrs import LOCAL_SESSION, LOCAL_UNIQUE, SCHEME_LOCAL, is_platform_specific
from dockc.llb.definition import LinuxResources, OpMetadata, ProgressGroup
from dockc.oci.platform import Platform
from dockc.oci.platform import parse as parse_platform

Range = tuple[int, int, int, int]


class Constraints(TypedDict, total=False):
    """What every operation takes besides its own arguments.

    Attributes:
        name: what progress views show.
        description: further pairs.
        ignore_cache: run it even if its result is cached.
        export_cache: whether its result goes into an exported cache.
        platform: what it runs on, as text or `Platform`.
        filters: worker constraints.
        progress_group: vertices shown as one.
        resources: limits outside the cache key.
        at: places in source files.
    """

    name: str
    description: Mapping[str, str]
    ignore_cache: bool
    export_cache: bool
    platform: Platform | str
    filters: Sequence[str]
    progress_group: ProgressGroup
    resources: LinuxResources
    at: Sequence[Location]


class SourceMap(Record, identity=True):
    """A file that operations are written in; `origin` is the file system it was read from."""

    filename: str
    data: bytes
    language: str = ""
    origin: Surroundings | None = None


class Location(Record):
    """A place in a file: ranges of (start line, start character, end line, end character)."""

    source: SourceMap
    ranges: tuple[Range, ...]


class Base(Record):
    """What `marshal` gives to all operations that do not say otherwise."""

    platform: Platform
    caps: frozenset[str] | None
    unique: str


class Output(Record, identity=True):
    """One output of a vertex; its number may follow from the vertex only when that is complete."""

    vertex: Vertex
    index: Callable[[], int] = lambda: 0
    platform: Platform | None = None


class Vertex(Record, identity=True):
    """An operation before it has bytes."""

    said: Constraints

    def inputs(self) -> list[Output]:
        """What it reads, in visiting order."""
        return []

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """Its bytes, and the capability ids it relies on."""
        raise NotImplementedError

    def metadata(self, caps: set[str]) -> OpMetadata:
        """What is said about it."""
        said = self.said
        description = dict(said.get("description", {}))
        if "name" in said:
            description["llb.customname"] = said["name"]
        return OpMetadata(
            ignore_cache=said.get("ignore_cache", False),
            description=description,
            export_cache=said.get("export_cache"),
            caps=caps_of(sorted(caps)),
            progress_group=said.get("progress_group"),
            resources=said.get("resources"),
        )

    def platform(self) -> Platform | None:
        """The platform it was given."""
        given = self.said.get("platform")
        return parse_platform(given) if isinstance(given, str) else given

    def filters(self) -> tuple[str, ...]:
        """The worker constraints it was given."""
        return tuple(self.said.get("filters", ()))


class Surroundings(Record, identity=True):
    """A file system to be, and what the next command in it sees.

    Attributes:
        output: what makes the file system; None for an empty one.
        environment: variables, in the order of their last assignment.
        directory: working directory; `username`: user; `host`: host name; `cgroup`: parent cgroup.
        hosts: pairs of name and address.
        ulimits: triples of name, soft and hard limit.
        network_mode, security_mode: as in `llb.ops`.
        os_platform: platform of commands, or None for that of `marshal`.
    """

    output: Output | None = None
    environment: tuple[tuple[str, str], ...] = ()
    directory: str = "/"
    username: str = ""
    host: str = ""
    cgroup: str = ""
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    network_mode: int = ops.Network.SANDBOX
    security_mode: int = ops.Security.SANDBOX
    os_platform: Platform | None = None


# --- vertices -------------------------------------------------------------------------------------------


class SourceVertex(Vertex):
    """Content from outside."""

    spec: sources.SourceSpec

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """See `Vertex`."""
        attrs, caps = dict(self.spec.attrs), set(self.spec.caps)
        if self.spec.identifier.startswith(SCHEME_LOCAL) and LOCAL_SESSION not in attrs:
            attrs[LOCAL_UNIQUE] = attrs.get(LOCAL_UNIQUE) or base.unique
            caps.add(C.SOURCE_LOCAL_UNIQUE)
        platform = None
        if is_platform_specific(self.spec.identifier):
            platform = self.platform() or base.platform
        op = ops.Op(op=ops.SourceOp(self.spec.identifier, attrs), platform=platform, filters=self.filters())
        return op.encode(), caps


class Mount(Record):
    """A directory of a command; made by `llb.mount`, `llb.cache` and `llb.tmpfs`."""

    target: str
    state: Surroundings | None = None
    selector: str = ""
    readonly: bool = False
    no_output: bool = False
    cache_id: str = ""
    sharing: int = ops.Sharing.SHARED
    tmpfs: bool = False
    size: int = 0
    content_cache: int = ops.ContentCache.DEFAULT

    @property
    def has_output(self) -> bool:
        """Whether a later operation can read what was written there."""
        return not (self.readonly or self.no_output or self.cache_id or self.tmpfs)


class Secret(Record):
    """A secret for a command, as a file at `target` or as the variable `env`."""

    id: str
    target: str | None = None
    env: str | None = None
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


class Ssh(Record):
    """An agent socket for a command."""

    id: str = ""
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


class ExecVertex(Vertex):
    """A process; `state` is its root and its surroundings."""

    state: Surroundings
    args: tuple[str, ...]
    mounts: tuple[Mount, ...]
    secrets: tuple[Secret, ...]
    ssh: tuple[Ssh, ...]
    devices: tuple[ops.Device, ...]
    proxy: ops.ProxyEnv | None
    exit_codes: tuple[int, ...] | None

    def inputs(self) -> list[Output]:
        """See `Vertex`."""
        return [m.state.output for m in self.mounts if m.state is not None and m.state.output is not None]

    def index_of(self, mount: Mount) -> int:
        """The number of the output that holds what was written to a mount."""
        return [m for m in self.mounts if m.has_output].index(mount)

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """See `Vertex`."""
        state = self.state
        env = dict(state.environment)
        caps = {C.EXEC_META_BASE}
        sockets = [replace(s, target=s.target or f"/run/buildkit/ssh_agent.{i}") for i, s in enumerate(self.ssh)]
        if sockets:
            env.setdefault("SSH_AUTH_SOCK", sockets[0].target)
        if base.caps is not None:
            if C.EXEC_META_SETS_DEFAULT_PATH in base.caps:
                caps.add(C.EXEC_META_SETS_DEFAULT_PATH)
            elif base.platform.os != "windows":
                env.setdefault("PATH", DEFAULT_PATH)
        meta = ops.Meta(
            args=self.args,
            env=tuple(f"{k}={v}" for k, v in env.items()),
            cwd=state.directory,
            user=state.username,
            proxy=self.proxy,
            hosts=tuple(ops.HostIP(h, ip) for h, ip in state.hosts),
            hostname=state.host,
            ulimits=tuple(ops.Ulimit(*u) for u in state.ulimits),
            cgroup_parent=state.cgroup,
            remove_mount_stubs=True,
            exit_codes=self.exit_codes or (),
        )
        inputs: list[ops.Input] = []
        mounts = self._mounts(inputs, edge, caps)
        for s in self.secrets:
            if s.target is not None:
                option = ops.CredentialOpt(s.id, s.uid, s.gid, s.mode, s.optional)
                mounts.append(ops.Mount(input=ops.EMPTY, dest=s.target, kind=ops.MountKind.SECRET, secret=option))
        for agent in sockets:
            option = ops.CredentialOpt(agent.id, agent.uid, agent.gid, agent.mode, agent.optional)
            mounts.append(ops.Mount(input=ops.EMPTY, dest=agent.target, kind=ops.MountKind.SSH, ssh=option))
        for condition, cap in (
            (self.exit_codes is not None, C.EXEC_VALID_EXIT_CODE),
            (bool(state.ulimits), C.EXEC_META_ULIMIT),
            ("resources" in self.said, C.EXEC_META_LINUX_RESOURCES),
            (state.network_mode != ops.Network.SANDBOX, C.EXEC_META_NETWORK),
            (state.security_mode == ops.Security.INSECURE, C.EXEC_META_SECURITY),
            (self.proxy is not None, C.EXEC_META_PROXY),
            (bool(self.secrets), C.EXEC_MOUNT_SECRET),
            (any(s.env is not None for s in self.secrets), C.EXEC_SECRET_ENV),
            (bool(self.ssh), C.EXEC_MOUNT_SSH),
            (bool(self.devices), C.EXEC_META_CDI),
        ):
            if condition:
                caps.add(cap)
        secret_env = tuple(ops.SecretEnv(s.id, s.env, s.optional) for s in self.secrets if s.env is not None)
        op = ops.ExecOp(meta, tuple(mounts), state.network_mode, state.security_mode, secret_env, self.devices)
        platform = self.platform() or state.os_platform or base.platform
        return ops.Op(tuple(inputs), op, platform, self.filters()).encode(), caps

    def _mounts(self, inputs: list[ops.Input], edge: Callable[[Output], ops.Input], caps: set[str]) -> list[ops.Mount]:
        made = []
        for m in self.mounts:
            source = m.state.output if m.state is not None else None
            position = ops.EMPTY
            if source is not None:
                wanted = edge(source)
                if wanted not in inputs:
                    inputs.append(wanted)
                position = inputs.index(wanted)
            kind = ops.MountKind.CACHE if m.cache_id else ops.MountKind.TMPFS if m.tmpfs else ops.MountKind.BIND
            if m.selector:
                caps.add(C.EXEC_MOUNT_SELECTOR)
            if m.content_cache:
                caps.add(C.EXEC_MOUNT_CONTENT_CACHE)
            if m.cache_id:
                caps |= {C.EXEC_MOUNT_CACHE, C.EXEC_MOUNT_CACHE_SHARING}
            elif m.tmpfs:
                caps |= {C.EXEC_MOUNT_TMPFS} | ({C.EXEC_MOUNT_TMPFS_SIZE} if m.size > 0 else set())
            elif source is not None:
                caps.add(C.EXEC_MOUNT_BIND)
            made.append(
                ops.Mount(
                    input=position,
                    selector=m.selector,
                    dest=m.target,
                    output=self.index_of(m) if m.has_output else -1,
                    readonly=m.readonly,
                    kind=kind,
                    tmpfs=ops.TmpfsOpt(m.size) if m.tmpfs and not m.cache_id else None,
                    cache=ops.CacheOpt(m.cache_id, m.sharing) if m.cache_id else None,
                    content_cache=m.content_cache,
                )
            )
        return made


class FileAction(Record):
    """A step of `State.file`; made by `llb.copy`, `mkdir`, `mkfile`, `rm` and `symlink`."""

    make: Callable[
        [str, Callable[[str | int | None], ops.User | None]], ops.Copy | ops.Mkfile | ops.Mkdir | ops.Rm | ops.Symlink
    ]
    source: Surroundings | None = None


class FileVertex(Vertex):
    """File actions on `state`."""

    state: Surroundings
    actions: tuple[FileAction, ...]

    def inputs(self) -> list[Output]:
        """See `Vertex`."""
        found = [self.state.output]
        found += [a.source.output for a in reversed(self.actions) if a.source is not None]
        return [o for o in found if o is not None]

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """See `Vertex`."""
        inputs: list[ops.Input] = []

        def position(state: Surroundings | None) -> int:
            if state is None or state.output is None:
                return ops.EMPTY
            wanted = edge(state.output)
            if wanted not in inputs:
                inputs.append(wanted)
            return inputs.index(wanted)

        start = position(self.state)
        copied = [position(a.source) for a in self.actions]

        def who(user: str | int | None) -> ops.User | None:
            if user is None:
                return None
            return ops.User(by_id=user) if isinstance(user, int) else ops.User(ops.NamedUser(user, start))

        steps = []
        last = len(self.actions) - 1
        for at, (action, source) in enumerate(zip(self.actions, copied, strict=True)):
            before = start if at == 0 else len(inputs) + at - 1
            made = action.make(self.state.directory, who)
            steps.append(ops.FileAction(before, source, 0 if at == last else -1, made))
        op = ops.Op(tuple(inputs), ops.FileOp(tuple(steps)), None, self.filters())
        return op.encode(), {C.FILE_BASE}


class LayersVertex(Vertex):
    """A merge, a difference, or a passthrough."""

    states: tuple[Surroundings | None, ...]
    kind: str
    label: str = ""

    def inputs(self) -> list[Output]:
        """See `Vertex`."""
        return [s.output for s in self.states if s is not None and s.output is not None]

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """See `Vertex`."""
        inputs = tuple(edge(o) for o in self.inputs())
        op: ops.AnyOp
        if self.kind == C.MERGE_OP:
            op = ops.MergeOp(tuple(range(len(inputs))))
        elif self.kind == C.DIFF_OP:
            sides: list[int] = []
            for s in self.states:
                present = s is not None and s.output is not None
                sides.append(sum(side >= 0 for side in sides) if present else ops.EMPTY)
            op = ops.DiffOp(*sides)
        else:
            op = ops.PassthroughOp(self.label, (0,))
        return ops.Op(inputs, op, None, self.filters()).encode(), {self.kind}


class MadeVertex(Vertex):
    """An operation of a definition that exists already."""

    data: bytes
    reads: list[Output]
    existing: OpMetadata

    def inputs(self) -> list[Output]:
        """See `Vertex`."""
        return self.reads

    def encode(self, base: Base, edge: Callable[[Output], ops.Input]) -> tuple[bytes, set[str]]:
        """See `Vertex`."""
        return self.data, set()

    def metadata(self, caps: set[str]) -> OpMetadata:
        """See `Vertex`."""
        return self.existing


# --- order ------------------------------------------------------------------------------------------


def walk(root: Vertex) -> list[Vertex]:
    """All vertices below `root`, each after those it reads."""
    order: list[Vertex] = []
    done: set[int] = set()
    stack = [(root, False)]
    while stack:
        vertex, leaving = stack.pop()
        if id(vertex) in done:
            continue
        if leaving:
            done.add(id(vertex))
            order.append(vertex)
        else:
            stack.append((vertex, True))
            stack += [(o.vertex, False) for o in reversed(vertex.inputs())]
    return order
