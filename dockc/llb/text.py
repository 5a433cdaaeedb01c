"""A definition as text: a listing for people, JSON lines as `buildctl debug dump-llb` prints them, and dot."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping

from dockc.base.pattern import pattern
from dockc.llb import ops
from dockc.llb.definition import Definition, OpMetadata
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HTML = pattern("[&<>\u2028\u2029]")


# --- for people -----------------------------------------------------------------------------------------


def tree(definition: Definition) -> str:
    """Every operation in order: number, digest, name, what it does, and which operations it reads."""
    numbers = {name: number for number, (name, _) in enumerate(definition.ops)}
    lines = []
    for number, (name, data) in enumerate(definition.ops):
        op = ops.parse(data)
        said = definition.metadata.get(name, OpMetadata())
        inputs = [_edge(numbers, i) for i in op.inputs]
        if op.op is None:
            lines.append(f"result {' '.join(inputs)}  {name}")
            continue
        lines.append(f"#{number} {name}{f'  {said.name}' if said.name else ''}")
        body = _body(op, inputs)
        if op.platform is not None:
            body.append(f"platform {op.platform}")
        body += [f"worker {f}" for f in op.filters]
        if said.ignore_cache:
            body.append("ignore cache")
        if said.progress_group is not None:
            body.append(f"group {said.progress_group.id} {said.progress_group.name}")
        body += _places(definition, name)
        lines += [f"    {line}" for line in body]
    return "".join(f"{line}\n" for line in lines)


def _edge(numbers: Mapping[str, int], edge: ops.Input) -> str:
    number = f"#{numbers[edge.digest]}" if edge.digest in numbers else edge.digest
    return f"{number}.{edge.index}" if edge.index else number


def _at(inputs: list[str], position: int) -> str:
    if position < 0:
        return "scratch"
    return inputs[position] if position < len(inputs) else f"step {position - len(inputs)}"


def _body(op: ops.Op, inputs: list[str]) -> list[str]:
    match op.op:
        case ops.SourceOp(identifier, attrs):
            return [f"source {identifier}", *(f"  {k} = {v}" for k, v in sorted(attrs.items()))]
        case ops.ExecOp():
            return _exec(op.op, inputs)
        case ops.FileOp(actions):
            base = _at(inputs, actions[0].input) if actions else "scratch"
            return [f"file on {base}", *(f"  {_action(a, inputs)}" for a in actions)]
        case ops.MergeOp(positions):
            return [f"merge {' '.join(_at(inputs, p) for p in positions)}"]
        case ops.DiffOp(lower, upper):
            sides = [_at(inputs, -1 if p is None else p) for p in (lower, upper)]
            return [f"diff {sides[0]} -> {sides[1]}"]
        case ops.PassthroughOp(label, outputs):
            kept = " ".join(_at(inputs, o) for o in outputs)
            return [f"passthrough {label}: {kept} after {' '.join(inputs)}"]
        case ops.BuildOp():
            return [f"build {_at(inputs, op.op.builder)}"]
    return []


def _exec(op: ops.ExecOp, inputs: list[str]) -> list[str]:
    meta = op.meta or ops.Meta()
    lines = [f"exec {json.dumps(list(meta.args), ensure_ascii=False)}", f"  in {meta.cwd}"]
    if meta.user:
        lines[-1] += f" as {meta.user}"
    lines += [f"  env {e}" for e in meta.env]
    if op.network:
        lines.append(f"  network {('sandbox', 'host', 'none')[op.network] if op.network < 3 else op.network}")
    if op.security:
        lines.append("  security insecure")
    lines += [f"  mount {m.dest} = {_mount(m, inputs)}" for m in op.mounts]
    lines += [f"  secret {s.name} = {s.id}" for s in op.secret_env]
    lines += [f"  device {d.name}" for d in op.devices]
    return lines


def _mount(m: ops.Mount, inputs: list[str]) -> str:
    words = [_at(inputs, m.input)] if m.kind in (ops.MountKind.BIND, ops.MountKind.CACHE) else []
    if m.selector:
        words.append(m.selector)
    if m.cache is not None:
        words.append(f"cache {m.cache.id} ({ops.Sharing.NAMES[m.cache.sharing] if m.cache.sharing < 3 else '?'})")
    if m.tmpfs is not None:
        words.append(f"tmpfs {m.tmpfs.size}" if m.tmpfs.size else "tmpfs")
    if m.secret is not None:
        words.append(f"secret {m.secret.id}")
    if m.ssh is not None:
        words.append(f"ssh {m.ssh.id or 'default'}")
    if m.readonly:
        words.append("read-only")
    return " ".join(words)


def _action(step: ops.FileAction, inputs: list[str]) -> str:
    match step.action:
        case ops.Copy() as c:
            filters = [f"include {p}" for p in c.include] + [f"exclude {p}" for p in c.exclude]
            words = [f"copy {_at(inputs, step.secondary)}:{c.src} -> {c.dest}", *filters]
            return " ".join(words)
        case ops.Mkfile(path, mode, data):
            return f"mkfile {path} {mode:04o} {len(data)} bytes"
        case ops.Mkdir(path, mode):
            return f"mkdir {path} {mode:04o}"
        case ops.Rm(path):
            return f"rm {path}"
        case ops.Symlink(oldpath, newpath):
            return f"symlink {newpath} -> {oldpath}"
    return "nothing known"


def _places(definition: Definition, name: str) -> list[str]:
    source = definition.source
    if source is None:
        return []
    places = []
    for location in source.locations.get(name, ()):
        first, last = location.lines
        info = source.file(location)
        filename = info.filename if info is not None else "?"
        places.append(f"at {filename}:{first}" + (f"-{last}" if last != first else ""))
    return places


# --- JSON -----------------------------------------------------------------------------------------------


def json_lines(definition: Definition) -> str:
    """One JSON object a line: `Op`, `Digest`, `OpMetadata`."""
    lines = []
    for name, data in definition.ops:
        said = definition.metadata.get(name, OpMetadata())
        entry = {"Op": op_json(ops.parse(data)), "Digest": name, "OpMetadata": metadata_json(said)}
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        lines.append(_HTML.sub(lambda m: f"\\u{ord(m.group()):04x}", text) + "\n")
    return "".join(lines)


def _present(**fields: Any) -> dict[str, Any]:
    """The fields that are not empty; a present message stays even if it is."""
    return {k: v for k, v in fields.items() if v or isinstance(v, dict)}


def op_json(op: ops.Op) -> dict[str, Any]:
    """An operation with the field names of the wire format."""
    out = _present(inputs=[_present(digest=i.digest, index=i.index) for i in op.inputs])
    out["Op"] = {} if op.op is None else _kind_json(op.op)
    if op.platform is not None:
        out["platform"] = _platform_json(op.platform)
    if op.op is not None:
        out["constraints"] = _present(filter=list(op.filters))
    return out


def _platform_json(p: Platform) -> dict[str, Any]:
    return _present(
        Architecture=p.architecture,
        OS=p.os,
        Variant=p.variant,
        OSVersion=p.os_version,
        OSFeatures=list(p.os_features),
    )


def _kind_json(op: ops.AnyOp) -> dict[str, Any]:
    match op:
        case ops.ExecOp():
            return {"exec": _exec_json(op)}
        case ops.SourceOp(identifier, attrs):
            return {"source": _present(identifier=identifier, attrs=dict(sorted(attrs.items())) if attrs else None)}
        case ops.FileOp(actions):
            return {"file": _present(actions=[_action_json(a) for a in actions])}
        case ops.MergeOp(positions):
            return {"merge": _present(inputs=[_present(input=p) for p in positions])}
        case ops.DiffOp(lower, upper):
            sides = {"lower": lower, "upper": upper}
            return {"diff": {k: _present(input=v) for k, v in sides.items() if v is not None}}
        case ops.PassthroughOp(label, outputs):
            return {"passthrough": _present(id=label, outputs=list(outputs))}
        case ops.BuildOp():
            fields = _present(
                builder=op.builder,
                inputs={k: _present(input=v) for k, v in sorted(op.inputs.items())} or None,
                attrs=dict(sorted(op.attrs.items())) or None,
            )
            if op.definition is not None:
                fields["def"] = binascii.b2a_base64(op.definition, newline=False).decode()
            return {"build": fields}


def _exec_json(op: ops.ExecOp) -> dict[str, Any]:
    meta = None
    if m := op.meta:
        proxy = None
        if p := m.proxy:
            names = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
            proxy = _present(**{n: getattr(p, n) for n in names})
        meta = _present(
            args=list(m.args),
            env=list(m.env),
            cwd=m.cwd,
            user=m.user,
            proxy_env=proxy,
            extraHosts=[_present(Host=h.host, IP=h.ip) for h in m.hosts],
            hostname=m.hostname,
            ulimit=[_present(Name=u.name, Soft=u.soft, Hard=u.hard) for u in m.ulimits],
            cgroupParent=m.cgroup_parent,
            removeMountStubsRecursive=m.remove_mount_stubs,
            validExitCodes=list(m.exit_codes),
        )
    return _present(
        meta=meta,
        mounts=[_mount_json(m) for m in op.mounts],
        network=op.network,
        security=op.security,
        secretenv=[_present(ID=s.id, name=s.name, optional=s.optional) for s in op.secret_env],
        cdiDevices=[_present(name=d.name, optional=d.optional) for d in op.devices],
    )


def _mount_json(m: ops.Mount) -> dict[str, Any]:
    return _present(
        input=m.input,
        selector=m.selector,
        dest=m.dest,
        output=m.output,
        readonly=m.readonly,
        mountType=m.kind,
        TmpfsOpt=None if m.tmpfs is None else _present(size=m.tmpfs.size),
        cacheOpt=None if m.cache is None else _present(ID=m.cache.id, sharing=m.cache.sharing),
        secretOpt=_credential_json(m.secret),
        SSHOpt=_credential_json(m.ssh),
        resultID=m.result_id,
        contentCache=m.content_cache,
    )


def _credential_json(c: ops.CredentialOpt | None) -> dict[str, Any] | None:
    if c is None:
        return None
    return _present(ID=c.id, uid=c.uid, gid=c.gid, mode=c.mode, optional=c.optional)


def _action_json(step: ops.FileAction) -> dict[str, Any]:
    action: dict[str, Any] = {}
    match step.action:
        case ops.Copy() as c:
            action["copy"] = _present(
                src=c.src,
                dest=c.dest,
                owner=_chown_json(c.owner),
                mode=c.mode,
                followSymlink=c.follow_symlinks,
                dirCopyContents=c.dir_contents,
                attemptUnpackDockerCompatibility=c.unpack,
                createDestPath=c.create_dest,
                allowWildcard=c.wildcard,
                allowEmptyWildcard=c.empty_wildcard,
                timestamp=c.timestamp,
                include_patterns=list(c.include),
                exclude_patterns=list(c.exclude),
                alwaysReplaceExistingDestPaths=c.replace_existing,
                modeStr=c.mode_str,
                required_paths=list(c.required),
            )
        case ops.Mkfile(path, mode, data, owner, timestamp):
            text = binascii.b2a_base64(data, newline=False).decode()
            action["mkfile"] = _present(path=path, mode=mode, data=text, owner=_chown_json(owner), timestamp=timestamp)
        case ops.Mkdir(path, mode, parents, owner, timestamp):
            action["mkdir"] = _present(
                path=path, mode=mode, makeParents=parents, owner=_chown_json(owner), timestamp=timestamp
            )
        case ops.Rm(path, missing, wildcard):
            action["rm"] = _present(path=path, allowNotFound=missing, allowWildcard=wildcard)
        case ops.Symlink(oldpath, newpath, owner, timestamp):
            action["symlink"] = _present(
                oldpath=oldpath, newpath=newpath, owner=_chown_json(owner), timestamp=timestamp
            )
    return {"input": step.input, "secondaryInput": step.secondary, "output": step.output, "Action": action}


def _chown_json(owner: ops.Chown | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    return _present(user=_user_json(owner.user), group=_user_json(owner.group))


def _user_json(user: ops.User | None) -> dict[str, Any] | None:
    if user is None:
        return None
    if user.by_name is not None:
        return {"User": {"byName": _present(name=user.by_name.name, input=user.by_name.input)}}
    return {"User": _present(byId=user.by_id)}


def metadata_json(said: OpMetadata) -> dict[str, Any]:
    """What is said about an operation, with the field names of the wire format."""
    group, limits = said.progress_group, said.resources
    return _present(
        ignore_cache=said.ignore_cache,
        description=dict(sorted(said.description.items())) or None,
        export_cache=None if said.export_cache is None else _present(Value=said.export_cache),
        caps=dict(sorted(said.caps.items())) or None,
        progress_group=None if group is None else _present(id=group.id, name=group.name, weak=group.weak),
        linux_resources=None
        if limits is None
        else _present(
            memory=limits.memory,
            memorySwap=limits.memory_swap,
            cpuShares=limits.cpu_shares,
            cpuPeriod=limits.cpu_period,
            cpuQuota=limits.cpu_quota,
            cpusetCpus=limits.cpuset_cpus,
            cpusetMems=limits.cpuset_mems,
        ),
    )


# --- dot ------------------------------------------------------------------------------------------------

_SHAPES = {
    ops.SourceOp: "ellipse",
    ops.ExecOp: "box",
    ops.FileOp: "note",
    ops.MergeOp: "invtriangle",
    ops.DiffOp: "doublecircle",
    ops.PassthroughOp: "cds",
    ops.BuildOp: "box3d",
}


def dot(definition: Definition) -> str:
    """The graph in the language of Graphviz; edges carry the mount point where it is not the root."""
    lines = ["digraph {", "  rankdir=BT;"]
    edges = []
    for name, data in definition.ops:
        op = ops.parse(data)
        said = definition.metadata.get(name, OpMetadata())
        if op.op is None:
            lines.append(f'  {_dot(name)} [label="result" shape="plaintext"];')
        else:
            label = said.name or _body(op, ["" for _ in op.inputs])[0]
            lines.append(f'  {_dot(name)} [label={_dot(label)} shape="{_SHAPES[type(op.op)]}"];')
        for at, edge in enumerate(op.inputs):
            mounts = op.op.mounts if isinstance(op.op, ops.ExecOp) else ()
            label = " ".join(m.dest for m in mounts if m.input == at and m.dest != "/")
            attribute = f" [label={_dot(label)}]" if label else ""
            edges.append(f"  {_dot(edge.digest)} -> {_dot(name)}{attribute};")
    return "".join(f"{line}\n" for line in [*lines, *edges, "}"])


def _dot(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
