"""LLB to IR: the way back from a definition, for tools that read and rewrite graphs of any origin."""

from __future__ import annotations

from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    Location,
    MergeOp,
    Mkdir,
    Mkfile,
    Mount,
    Op,
    OpMeta,
    Owner,
    PassthroughOp,
    ProxyEnv,
    Rm,
    Secret,
    SourceMap,
    SourceOp,
    Ssh,
    Symlink,
    Value,
)
from dockc.errors import CompileError, Fault
from dockc.llb import ops as llb
from dockc.llb.definition import Definition
from dockc.oci.platform import Platform


def load(definition: Definition, platform: Platform) -> Module:
    """The graph of a definition; `emit` of the result gives the same bytes.

    Args:
        definition: a checked definition (`Definition.parse`).
        platform: what operations that name no platform run on.

    Raises:
        CompileError: an operation that the IR has no form for: a build inside a build, or a file operation
            whose actions are not one chain.
    """
    return Module({"": _Loader(definition).result()}, platform)


class _Loader:
    """One pass over a definition. Operations may stand in any order, so each is made when first asked for."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._parsed = {name: llb.parse(data) for name, data in definition.ops}
        self._made: dict[str, Op] = {}
        source = definition.source
        self._files = [
            SourceMap(
                info.filename,
                info.language,
                info.data,
                _Loader(info.definition).result() if info.definition is not None else None,
                has_origin=info.definition is not None,
            )
            for info in (source.infos if source else ())
        ]

    def result(self) -> Value | None:
        head = self._definition.head
        if head is None:
            return None
        stack = [head[0]]
        while stack:
            name = stack[-1]
            if name in self._made:
                stack.pop()
                continue
            missing = [i.digest for i in self._parsed[name].inputs if i.digest not in self._made]
            if missing:
                stack += missing
            else:
                self._made[name] = self._op(name, self._parsed[name])
                stack.pop()
        return Value(self._made[head[0]], head[1])

    def _meta(self, name: str) -> tuple[OpMeta, tuple[str, ...]]:
        said = self._definition.metadata.get(name)
        source = self._definition.source
        places = source.locations.get(name, ()) if source else ()
        locations = [Location(self._files[p.index], p.ranges) for p in places if p.index < len(self._files)]
        if said is None:
            return OpMeta(locations=locations), ()
        meta = OpMeta(
            description=said.description,
            locations=locations,
            ignore_cache=said.ignore_cache,
            export_cache=said.export_cache,
            progress_group=said.progress_group,
            resources=said.resources,
        )
        return meta, tuple(sorted(said.caps))

    def _op(self, name: str, op: llb.Op) -> Op:
        meta, caps = self._meta(name)
        values = [Value(self._made[i.digest], i.index) for i in op.inputs]
        match op.op:
            case llb.SourceOp(identifier, attrs):
                pairs = tuple(sorted(attrs.items()))
                return SourceOp(identifier, pairs, meta=meta, platform=op.platform, filters=op.filters, caps=caps)
            case llb.ExecOp():
                return _exec(op.op, values, meta, op.platform, op.filters, caps)
            case llb.FileOp():
                return _file(name, op.op, values, meta, op.filters, caps)
            case llb.MergeOp(inputs=positions):
                layers = tuple(values[p] for p in positions)
                return MergeOp(layers, meta=meta, filters=op.filters, caps=caps)
            case llb.DiffOp(lower, upper):
                sides = [None if p is None or p < 0 else values[p] for p in (lower, upper)]
                return DiffOp(sides[0], sides[1], meta=meta, filters=op.filters, caps=caps)
            case llb.PassthroughOp(id=label, outputs=forwarded):
                return PassthroughOp(label, tuple(values), forwarded, meta=meta, filters=op.filters, caps=caps)
            case other:
                kind = "nothing" if other is None else type(other).__name__
                raise CompileError(f"operation {name}: the IR has no form for {kind}", fault=Fault("bad-ir"))


def _at(values: list[Value], position: int) -> Value | None:
    return None if position < 0 else values[position]


def _exec(
    op: llb.ExecOp,
    values: list[Value],
    meta: OpMeta,
    platform: Platform | None,
    filters: tuple[str, ...],
    caps: tuple[str, ...],
) -> ExecOp:
    process = op.meta or llb.Meta()
    mounts = []
    secrets = [Secret(s.id, env=s.name, optional=s.optional) for s in op.secret_env]
    agents = []
    for m in op.mounts:
        if m.kind == llb.MountKind.SECRET:
            s = m.secret or llb.CredentialOpt()
            secrets.append(Secret(s.id, target=m.dest, uid=s.uid, gid=s.gid, mode=s.mode, optional=s.optional))
        elif m.kind == llb.MountKind.SSH:
            s = m.ssh or llb.CredentialOpt()
            agents.append(Ssh(s.id, target=m.dest, uid=s.uid, gid=s.gid, mode=s.mode, optional=s.optional))
        else:
            mounts.append(_mount(m, values))
    proxy = process.proxy
    return ExecOp(
        args=process.args,
        env=process.env,
        cwd=process.cwd,
        user=process.user,
        hostname=process.hostname,
        cgroup_parent=process.cgroup_parent,
        hosts=tuple((h.host, h.ip) for h in process.hosts),
        ulimits=tuple((u.name, u.soft, u.hard) for u in process.ulimits),
        exit_codes=process.exit_codes or None,
        network=op.network,
        security=op.security,
        proxy=None
        if proxy is None
        else ProxyEnv(
            http_proxy=proxy.http_proxy,
            https_proxy=proxy.https_proxy,
            ftp_proxy=proxy.ftp_proxy,
            no_proxy=proxy.no_proxy,
            all_proxy=proxy.all_proxy,
        ),
        mounts=tuple(mounts),
        secrets=tuple(secrets),
        ssh=tuple(agents),
        devices=tuple((d.name, d.optional) for d in op.devices),
        meta=meta,
        platform=platform,
        filters=filters,
        caps=caps,
        remove_mount_stubs=process.remove_mount_stubs,
    )


def _mount(m: llb.Mount, values: list[Value]) -> Mount:
    cache = m.cache or llb.CacheOpt()
    return Mount(
        m.dest,
        _at(values, m.input),
        selector=m.selector,
        readonly=m.readonly,
        no_output=m.output < 0 and not m.readonly and m.kind == llb.MountKind.BIND,
        cache_id=(cache.id or m.dest) if m.kind == llb.MountKind.CACHE else "",
        sharing=cache.sharing,
        tmpfs=m.kind == llb.MountKind.TMPFS,
        tmpfs_size=m.tmpfs.size if m.tmpfs else 0,
        content_cache=m.content_cache,
    )


def _file(
    name: str,
    op: llb.FileOp,
    values: list[Value],
    meta: OpMeta,
    filters: tuple[str, ...],
    caps: tuple[str, ...],
) -> FileOp:
    actions: list[FileAction] = []
    for i, step in enumerate(op.actions):
        last = i == len(op.actions) - 1
        if (i > 0 and step.input != len(values) + i - 1) or step.output != (0 if last else -1):
            raise CompileError(
                f"operation {name}: the IR has no form for file actions that branch", fault=Fault("bad-ir")
            )
        if step.secondary >= len(values):
            raise CompileError(
                f"operation {name}: the IR has no form for copies between file actions", fault=Fault("bad-ir")
            )
        actions.append(_action(name, step, values))
    return FileOp(_at(values, op.actions[0].input), tuple(actions), meta=meta, filters=filters, caps=caps)


def _action(name: str, step: llb.FileAction, values: list[Value]) -> FileAction:
    match step.action:
        case llb.Copy() as c:
            return Copy(
                _at(values, step.secondary),
                c.src,
                c.dest,
                owner=_owner(c.owner),
                mode=c.mode,
                mode_str=c.mode_str,
                follow_symlinks=c.follow_symlinks,
                dir_contents=c.dir_contents,
                unpack=c.unpack,
                create_dest=c.create_dest,
                wildcard=c.wildcard,
                empty_wildcard=c.empty_wildcard,
                timestamp=c.timestamp,
                include=c.include,
                exclude=c.exclude,
                required=c.required,
                replace_existing=c.replace_existing,
            )
        case llb.Mkfile(path, mode, data, owner, timestamp):
            return Mkfile(path, mode, data, owner=_owner(owner), timestamp=timestamp)
        case llb.Mkdir(path, mode, parents, owner, timestamp):
            return Mkdir(path, mode, parents=parents, owner=_owner(owner), timestamp=timestamp)
        case llb.Rm(path, allow_missing, wildcard):
            return Rm(path, allow_missing=allow_missing, wildcard=wildcard)
        case llb.Symlink(oldpath, newpath, owner, timestamp):
            return Symlink(oldpath, newpath, owner=_owner(owner), timestamp=timestamp)
        case None:
            raise CompileError(
                f"operation {name}: the IR has no form for an unknown file action", fault=Fault("bad-ir")
            )


def _owner(owner: llb.Chown | None) -> Owner | None:
    if owner is None:
        return None
    return Owner(_who(owner.user), _who(owner.group))


def _who(user: llb.User | None) -> str | int | None:
    if user is None:
        return None
    return user.by_name.name if user.by_name is not None else user.by_id
