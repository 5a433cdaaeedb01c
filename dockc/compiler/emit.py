"""IR to LLB: the bytes of each operation, their order, their metadata and the source map."""

from __future__ import annotations

from dockc.compiler.ir.module import walk
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileOp,
    MergeOp,
    Mkdir,
    Mkfile,
    PassthroughOp,
    Rm,
    SourceOp,
    Symlink,
    Value,
)
from dockc.errors import CompileError, Fault
from dockc.llb.assemble import Assembler, caps_of
from dockc.llb.definition import Definition, OpMetadata
from dockc.llb.modes import MountKind
from dockc.llb.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dockc.compiler.ir.module import Module
    from dockc.compiler.ir.ops import FileAction, Mount, Op, Owner, SourceMap

    Inputs = list[tuple[str, int]]


def emit(module: Module, output: str = "") -> Definition:
    """The definition of one output of `module`; an empty one if that output is an empty file system.

    The bytes are those that BuildKit's own client gives for the same graph: operations in depth-first
    post-order, each once; metadata of equal operations joined in the order in which they are visited;
    progress groups numbered `pg-0`, `pg-1`, ... in the order of the operations.

    Raises:
        CompileError: an operation reads a value that was never defined, or holds text that is not Unicode.
    """
    return emit_value(module.outputs[output])


def emit_value(value: Value | None) -> Definition:
    """The definition of a single value; see `emit`."""
    if value is None:
        return Definition()
    assembler = Assembler()
    for op in walk([value]):
        name, data = wire(op)
        assembler.add(name, data, _metadata(op))
        for place in op.meta.locations:
            file = place.source
            number = assembler.file(file, file.filename, file.language, file.data, _origin(file))
            assembler.place(name, number, place.ranges)
    return assembler.finish(wire(value.op)[0], value.index)


def digest(op: Op) -> str:
    """The digest of an operation."""
    for below in walk([Value(op)]):
        wire(below)
    return wire(op)[0]


def _origin(file: SourceMap) -> Callable[[], Definition | None]:
    return lambda: emit_value(file.origin) if file.has_origin else None


def _metadata(op: Op) -> OpMetadata:
    meta = op.meta
    return OpMetadata(
        ignore_cache=meta.ignore_cache,
        description=meta.description,
        export_cache=meta.export_cache,
        caps=caps_of(op.caps),
        progress_group=meta.progress_group,
        resources=meta.resources,
    )


def wire(op: Op) -> tuple[str, bytes]:
    """Digest and canonical bytes of an operation; those that it reads must have been asked before.

    Raises:
        CompileError: it holds text that is not Unicode.
    """
    made = op.wire
    if made is None:
        try:
            data = _MARSHAL[type(op)](op)
        except UnicodeEncodeError:
            raise CompileError("string field contains invalid UTF-8", fault=Fault("not-utf8")) from None
        made = (encode.digest(data), data)
        op.remember(made)
    return made


def _edge(value: Value) -> tuple[str, int]:
    return wire(value.op)[0], value.index


def _position(inputs: Inputs, value: Value | None) -> int:
    """The position of a value among the inputs, where equal ones share one; -1 for an empty file system."""
    if value is None:
        return -1
    wanted = _edge(value)
    if wanted not in inputs:
        inputs.append(wanted)
    return inputs.index(wanted)


def _source(op: SourceOp) -> bytes:
    content = encode.source_op(op.identifier, op.attrs)
    return encode.op((), encode.SOURCE, content, op.platform, op.filters)


def _exec(op: ExecOp) -> bytes:
    proxy = op.proxy
    meta = encode.exec_meta(
        op.args,
        op.env,
        op.cwd,
        op.user,
        proxy=None
        if proxy is None
        else (proxy.http_proxy, proxy.https_proxy, proxy.ftp_proxy, proxy.no_proxy, proxy.all_proxy),
        hosts=op.hosts,
        hostname=op.hostname,
        ulimits=op.ulimits,
        cgroup_parent=op.cgroup_parent,
        remove_mount_stubs=op.remove_mount_stubs,
        exit_codes=op.exit_codes or (),
    )
    inputs: Inputs = []
    mounts = []
    outputs = 0
    for m in op.mounts:
        position = _position(inputs, m.source)
        output = -1
        if m.has_output:
            output = outputs
            outputs += 1
        mounts.append(_mount(m, position, output))
    for s in op.secrets:
        if s.target is not None:
            option = encode.secret(s.id, s.uid, s.gid, s.mode, s.optional)
            mounts.append(encode.mount(-1, s.target, 0, kind=MountKind.SECRET, option=option))
    for agent in op.ssh:
        option = encode.ssh(agent.id, agent.uid, agent.gid, agent.mode, agent.optional)
        mounts.append(encode.mount(-1, agent.target, 0, kind=MountKind.SSH, option=option))
    content = encode.exec_op(
        meta,
        mounts,
        network=op.network,
        security=op.security,
        secret_env=[(s.id, s.env, s.optional) for s in op.secrets if s.env is not None],
        devices=op.devices,
    )
    return encode.op(inputs, encode.EXEC, content, op.platform, op.filters)


def _mount(m: Mount, position: int, output: int) -> bytes:
    kind, option = MountKind.BIND, b""
    if m.cache_id:
        kind, option = MountKind.CACHE, encode.cache(m.cache_id, m.sharing)
    elif m.tmpfs:
        kind, option = MountKind.TMPFS, encode.tmpfs(m.tmpfs_size)
    return encode.mount(
        position,
        m.target,
        output,
        selector=m.selector,
        readonly=m.readonly,
        kind=kind,
        option=option,
        content_cache=m.content_cache,
    )


def _file(op: FileOp) -> bytes:
    inputs: Inputs = []
    base = _position(inputs, op.base)
    sources = [_position(inputs, a.source) if isinstance(a, Copy) else -1 for a in op.actions]
    actions = []
    last = len(op.actions) - 1
    for i, (action, source) in enumerate(zip(op.actions, sources, strict=True)):
        before = base if i == 0 else len(inputs) + i - 1
        number, content = _action(action, base)
        actions.append(encode.file_action(before, source, 0 if i == last else -1, number, content))
    return encode.op(inputs, encode.FILE, encode.file_op(actions), None, op.filters)


def _action(action: FileAction, base: int) -> tuple[int, bytes]:
    match action:
        case Copy() as c:
            content = encode.copy(
                c.src,
                c.dest,
                owner=_owner(c.owner, base),
                mode=0 if c.mode_str else c.mode,
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
        case Mkfile() as f:
            owner = _owner(f.owner, base)
            return encode.MKFILE, encode.mkfile(f.path, f.mode, f.data, owner=owner, timestamp=f.timestamp)
        case Mkdir() as d:
            owner = _owner(d.owner, base)
            return encode.MKDIR, encode.mkdir(d.path, d.mode, d.parents, owner=owner, timestamp=d.timestamp)
        case Rm() as r:
            return encode.RM, encode.rm(r.path, r.allow_missing, r.wildcard)
        case Symlink() as s:
            owner = _owner(s.owner, base)
            return encode.SYMLINK, encode.symlink(s.oldpath, s.newpath, owner=owner, timestamp=s.timestamp)
    raise CompileError(f"unknown file action {type(action).__name__}", fault=Fault("not-utf8"))


def _owner(owner: Owner | None, base: int) -> bytes | None:
    if owner is None:
        return None
    user, group = owner.user, owner.group
    return encode.chown(
        (user, base) if isinstance(user, str) else user, (group, base) if isinstance(group, str) else group
    )


def _merge(op: MergeOp) -> bytes:
    inputs = [_edge(v) for v in op.layers]
    content = encode.merge_op(range(len(inputs)))
    return encode.op(inputs, encode.MERGE, content, None, op.filters)


def _diff(op: DiffOp) -> bytes:
    inputs: Inputs = []
    positions = []
    for value in (op.lower, op.upper):
        positions.append(-1 if value is None else len(inputs))
        if value is not None:
            inputs.append(_edge(value))
    return encode.op(inputs, encode.DIFF, encode.diff_op(*positions), None, op.filters)


def _passthrough(op: PassthroughOp) -> bytes:
    inputs = [_edge(v) for v in op.values]
    content = encode.passthrough_op(op.id, op.forwarded)
    return encode.op(inputs, encode.PASSTHROUGH, content, None, op.filters)


_MARSHAL: dict[type, Callable[..., bytes]] = {
    SourceOp: _source,
    ExecOp: _exec,
    FileOp: _file,
    MergeOp: _merge,
    DiffOp: _diff,
    PassthroughOp: _passthrough,
}
