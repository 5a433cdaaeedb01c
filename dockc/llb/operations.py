"""Typed views of marshalled operations: what the solver and the tools read.

Each class is one message of `proto/ops.proto`; `llb.ops.parse` reads the bytes of an operation, `Op.encode` writes the
canonical ones. Positions and indexes are as on the wire: -1 is an empty file system or no output.
"""

from __future__ import annotations

from collections.abc import Mapping

from dockc.base.record import Record
from dockc.errors import InvalidDefinition
from dockc.llb.modes import ContentCache as ContentCache
from dockc.llb.modes import MountKind as MountKind
from dockc.llb.modes import Network as Network
from dockc.llb.modes import Security as Security
from dockc.llb.modes import Sharing as Sharing
from dockc.llb.wire import encode
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EMPTY = -1
_NOTHING: Mapping[str, Any] = {}


class Input(Record):
    """One output of another operation."""

    digest: str = ""
    index: int = 0


class ProxyEnv(Record):
    """Proxy variables of a process, outside its cache key."""

    http_proxy: str = ""
    https_proxy: str = ""
    ftp_proxy: str = ""
    no_proxy: str = ""
    all_proxy: str = ""


class HostIP(Record):
    """A line of `/etc/hosts`."""

    host: str = ""
    ip: str = ""


class Ulimit(Record):
    """A resource limit; -1 is unlimited."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class Meta(Record):
    """The process of an exec. `env` holds `KEY=value` strings; no `exit_codes` means just 0."""

    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    proxy: ProxyEnv | None = None
    hosts: tuple[HostIP, ...] = ()
    hostname: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""
    remove_mount_stubs: bool = False
    exit_codes: tuple[int, ...] = ()


class SecretEnv(Record):
    """A variable that holds a secret."""

    id: str = ""
    name: str = ""
    optional: bool = False


class Device(Record):
    """A device by its CDI name."""

    name: str = ""
    optional: bool = False


class TmpfsOpt(Record):
    """Size limit in bytes, 0 for none."""

    size: int = 0


class CacheOpt(Record):
    """Name and sharing (`SHARED`, `PRIVATE`, `LOCKED`) of a cache directory."""

    id: str = ""
    sharing: int = Sharing.SHARED


class CredentialOpt(Record):
    """A secret file or an agent socket, and who may read it."""

    id: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0
    optional: bool = False


class Mount(Record):
    """A directory of an exec.

    Attributes:
        input: position in `Op.inputs`, or `EMPTY`.
        selector: path inside the input.
        dest: absolute path in the container.
        output: number of the output that holds what was written, or -1.
        kind: `BIND`, `SECRET`, `SSH`, `CACHE` or `TMPFS`.
    """

    input: int = 0
    selector: str = ""
    dest: str = ""
    output: int = 0
    readonly: bool = False
    kind: int = MountKind.BIND
    tmpfs: TmpfsOpt | None = None
    cache: CacheOpt | None = None
    secret: CredentialOpt | None = None
    ssh: CredentialOpt | None = None
    result_id: str = ""
    content_cache: int = ContentCache.DEFAULT


class ExecOp(Record):
    """A process in a container."""

    meta: Meta | None = None
    mounts: tuple[Mount, ...] = ()
    network: int = Network.SANDBOX
    security: int = Security.SANDBOX
    secret_env: tuple[SecretEnv, ...] = ()
    devices: tuple[Device, ...] = ()


class SourceOp(Record):
    """Content from outside; see `llb.attrs`."""

    identifier: str = ""
    attrs: Mapping[str, str] = _NOTHING


class NamedUser(Record):
    """A user or group name, looked up in the file system at position `input`."""

    name: str = ""
    input: int = 0


class User(Record):
    """A user or group, by name or by number (neither is number 0)."""

    by_name: NamedUser | None = None
    by_id: int = 0


class Chown(Record):
    """Owner and group of new files; None leaves one as it is."""

    user: User | None = None
    group: User | None = None


class Copy(Record):
    """Copy `src` of the secondary input to `dest`; `mode` -1 and `timestamp` -1 keep those of the source."""

    src: str = ""
    dest: str = ""
    owner: Chown | None = None
    mode: int = 0
    follow_symlinks: bool = False
    dir_contents: bool = False
    unpack: bool = False
    create_dest: bool = False
    wildcard: bool = False
    empty_wildcard: bool = False
    timestamp: int = 0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    replace_existing: bool = False
    mode_str: str = ""
    required: tuple[str, ...] = ()


class Mkfile(Record):
    """Write a file."""

    path: str = ""
    mode: int = 0
    data: bytes = b""
    owner: Chown | None = None
    timestamp: int = 0


class Mkdir(Record):
    """Make a directory."""

    path: str = ""
    mode: int = 0
    parents: bool = False
    owner: Chown | None = None
    timestamp: int = 0


class Rm(Record):
    """Remove a path."""

    path: str = ""
    allow_missing: bool = False
    wildcard: bool = False


class Symlink(Record):
    """Make a symbolic link at `newpath` that holds `oldpath`."""

    oldpath: str = ""
    newpath: str = ""
    owner: Chown | None = None
    timestamp: int = 0


class FileAction(Record):
    """One step of a file operation.

    Positions below the number of `Op.inputs` name those; from there on, results of earlier actions.
    `output` is -1 for a result that nobody outside reads.
    """

    input: int = 0
    secondary: int = 0
    output: int = 0
    action: Copy | Mkfile | Mkdir | Rm | Symlink | None = None


class FileOp(Record):
    """A sequence of file actions."""

    actions: tuple[FileAction, ...] = ()


class MergeOp(Record):
    """File systems laid over each other, by position of the input."""

    inputs: tuple[int, ...] = ()


class DiffOp(Record):
    """What `upper` changed against `lower`; positions of inputs or `EMPTY`, None if the field is absent."""

    lower: int | None = None
    upper: int | None = None


class PassthroughOp(Record):
    """Output `n` is input `outputs[n]`, once all inputs are there."""

    id: str = ""
    outputs: tuple[int, ...] = ()


class BuildOp(Record):
    """A build inside a build. `definition` is its marshalled graph, not read here."""

    builder: int = 0
    inputs: Mapping[str, int] = _NOTHING
    definition: bytes | None = None
    attrs: Mapping[str, str] = _NOTHING


AnyOp = ExecOp | SourceOp | FileOp | BuildOp | MergeOp | DiffOp | PassthroughOp


class Op(Record):
    """One vertex. The terminal of a definition has one input and no `op`."""

    inputs: tuple[Input, ...] = ()
    op: AnyOp | None = None
    platform: Platform | None = None
    filters: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The canonical bytes."""
        inputs = [(i.digest, i.index) for i in self.inputs]
        if self.op is None:
            return encode.op_inputs(inputs)
        number, content = _content(self.op)
        return encode.op(inputs, number, content, self.platform, self.filters)

    @property
    def digest(self) -> str:
        """Digest of the canonical bytes."""
        return encode.digest(self.encode())


def validate(op: Op) -> None:
    """Check that an operation is complete enough to run.

    Raises:
        InvalidDefinition: naming what is missing or out of range.
    """
    count = len(op.inputs)
    for i, wanted in enumerate(op.inputs):
        if wanted.index < 0:
            raise InvalidDefinition(f"invalid input {i} output index {wanted.index}")
    match op.op:
        case ExecOp():
            _validate_exec(op.op, count)
        case FileOp():
            _validate_file(op.op, count)
        case MergeOp(inputs=positions):
            _positions("merge", positions, 0, count)
        case DiffOp(lower=lower, upper=upper):
            if lower is None or upper is None:
                raise InvalidDefinition("invalid diff op with nil lower or upper input")
            _positions("diff", (lower, upper), EMPTY, count)
        case PassthroughOp():
            if not op.op.id:
                raise InvalidDefinition("invalid passthrough op with no id")
            if not op.op.outputs:
                raise InvalidDefinition("invalid passthrough op with no outputs")
            _positions("passthrough", op.op.outputs, 0, count)
        case BuildOp():
            _positions("build", (op.op.builder, *op.op.inputs.values()), EMPTY, count)
        case _:
            pass


def _validate_exec(op: ExecOp, count: int) -> None:
    if op.meta is None:
        raise InvalidDefinition("invalid exec op with no meta")
    if not op.meta.args:
        raise InvalidDefinition("invalid exec op with no args")
    if not op.mounts:
        raise InvalidDefinition("invalid exec op with no mounts")
    if not any(m.dest == "/" for m in op.mounts):
        raise InvalidDefinition("invalid exec op with no rootfs")
    _positions("mount", [m.input for m in op.mounts], EMPTY, count)


def _validate_file(op: FileOp, count: int) -> None:
    if not op.actions:
        raise InvalidDefinition("invalid file op with no actions")
    for done, action in enumerate(op.actions):
        if action.action is None:
            raise InvalidDefinition(f"invalid file op: action {done} does nothing known")
        _positions("file action", (action.input, action.secondary), EMPTY, count + done)
        owner = None if isinstance(action.action, Rm) else action.action.owner
        for who in (owner.user, owner.group) if owner else ():
            if who is not None and who.by_name is not None:
                _positions("owner", (who.by_name.input,), EMPTY, count + done)


def _positions(what: str, positions: tuple[int, ...] | list[int], low: int, high: int) -> None:
    for position in positions:
        if not low <= position < high:
            raise InvalidDefinition(f"invalid {what} input {position}: there are {high}")


# --- to bytes -------------------------------------------------------------------------------------------


def _content(op: AnyOp) -> tuple[int, bytes]:
    match op:
        case ExecOp():
            return encode.EXEC, _exec(op)
        case SourceOp():
            return encode.SOURCE, encode.source_op(op.identifier, sorted(op.attrs.items()))
        case FileOp():
            return encode.FILE, encode.file_op(_action(a) for a in op.actions)
        case MergeOp():
            return encode.MERGE, encode.merge_op(op.inputs)
        case DiffOp():
            return encode.DIFF, encode.diff_op(op.lower, op.upper)
        case PassthroughOp():
            return encode.PASSTHROUGH, encode.passthrough_op(op.id, op.outputs)
        case BuildOp():
            return encode.BUILD, encode.build_op(op.builder, op.inputs, op.definition, op.attrs)


def _exec(op: ExecOp) -> bytes:
    meta = None
    if m := op.meta:
        p = m.proxy
        meta = encode.exec_meta(
            m.args,
            m.env,
            m.cwd,
            m.user,
            proxy=None if p is None else (p.http_proxy, p.https_proxy, p.ftp_proxy, p.no_proxy, p.all_proxy),
            hosts=[(h.host, h.ip) for h in m.hosts],
            hostname=m.hostname,
            ulimits=[(u.name, u.soft, u.hard) for u in m.ulimits],
            cgroup_parent=m.cgroup_parent,
            remove_mount_stubs=m.remove_mount_stubs,
            exit_codes=m.exit_codes,
        )
    return encode.exec_op(
        meta,
        [_mount(m) for m in op.mounts],
        network=op.network,
        security=op.security,
        secret_env=[(s.id, s.name, s.optional) for s in op.secret_env],
        devices=[(d.name, d.optional) for d in op.devices],
    )


def _mount(m: Mount) -> bytes:
    option = b""
    if m.tmpfs:
        option += encode.tmpfs(m.tmpfs.size)
    if m.cache:
        option += encode.cache(m.cache.id, m.cache.sharing)
    if m.secret:
        option += encode.secret(m.secret.id, m.secret.uid, m.secret.gid, m.secret.mode, m.secret.optional)
    if m.ssh:
        option += encode.ssh(m.ssh.id, m.ssh.uid, m.ssh.gid, m.ssh.mode, m.ssh.optional)
    return encode.mount(
        m.input,
        m.dest,
        m.output,
        selector=m.selector,
        readonly=m.readonly,
        kind=m.kind,
        option=option,
        result_id=m.result_id,
        content_cache=m.content_cache,
    )


def _action(a: FileAction) -> bytes:
    if a.action is None:
        raise InvalidDefinition("a file action without an action has no canonical form")
    number, content = _action_content(a.action)
    return encode.file_action(a.input, a.secondary, a.output, number, content)


def _action_content(action: Copy | Mkfile | Mkdir | Rm | Symlink) -> tuple[int, bytes]:
    match action:
        case Copy() as c:
            content = encode.copy(
                c.src,
                c.dest,
                owner=_chown(c.owner),
                mode=c.mode,
                follow_symlinks=c.follow_symlinks,
                dir_contents=c.dir_contents,
                unpack=c.unpack,
                create_dest=c.create_dest,
                wildcard=c.wildcard,
                empty_wildcard=c.empty_wildcard,
                timestamp=c.timestamp,
                include=c.include,
                exclude=c.exclude,
                replace_existing=c.replace_existing,
                mode_str=c.mode_str,
                required=c.required,
            )
            return encode.COPY, content
        case Mkfile(path, mode, data, owner, timestamp):
            return encode.MKFILE, encode.mkfile(path, mode, data, owner=_chown(owner), timestamp=timestamp)
        case Mkdir(path, mode, parents, owner, timestamp):
            return encode.MKDIR, encode.mkdir(path, mode, parents, owner=_chown(owner), timestamp=timestamp)
        case Rm(path, allow_missing, wildcard):
            return encode.RM, encode.rm(path, allow_missing, wildcard)
        case Symlink(oldpath, newpath, owner, timestamp):
            return encode.SYMLINK, encode.symlink(oldpath, newpath, owner=_chown(owner), timestamp=timestamp)


def _chown(owner: Chown | None) -> bytes | None:
    if owner is None:
        return None
    return encode.chown(_who(owner.user), _who(owner.group))


def _who(user: User | None) -> tuple[str, int] | int | None:
    if user is None:
        return None
    return user.by_id if user.by_name is None else (user.by_name.name, user.by_name.input)
