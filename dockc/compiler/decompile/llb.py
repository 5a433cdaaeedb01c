"""LLB back to a plain Dockerfile: one stage for every file system that is read elsewhere, one instruction a step.

What a Dockerfile says by options (host names, limits), or cannot say at all, is left as a comment; everything
else compiles back to the same operations wherever the definition came from a Dockerfile.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence

from dockc.compiler.decompile.text import (
    DEFAULT_SHELL,
    CannotWrite,
    assignments,
    command,
    config_lines,
    flag,
    heredoc,
    json_words,
    mount_flag,
    unexpanded,
    word,
)
from dockc.compiler.ir import from_llb
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    MergeOp,
    Mkdir,
    Mkfile,
    Mount,
    Op,
    Owner,
    PassthroughOp,
    Rm,
    SourceOp,
    Symlink,
    Value,
)
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb.definition import Definition
from dockc.oci.platform import Platform

CONTEXT = "context"


def decompile(definition: Definition, *, platform: Platform, config: Mapping[str, object] | None = None) -> str:
    """A Dockerfile that builds what `definition` builds.

    Args:
        definition: a checked definition.
        platform: the target; images for another one are named with `--platform`.
        config: the inner `config` object of the image, for CMD, LABEL and the like.

    Raises:
        CompileError: the definition is empty, or holds operations that the IR has no form for.
    """
    module = from_llb.load(definition, platform)
    result = module.result
    if result is None:
        return "FROM scratch\n"
    writer = _Writer(module.ops(), platform, result)
    return writer.text(config)


class _Stage:
    """A stage that is being written, and what is in effect at its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.env: dict[str, str] = {}
        self.workdir = "/"
        self.user = ""

    def child(self, name: str) -> _Stage:
        """A stage that begins where this one ends."""
        stage = _Stage(name)
        stage.env, stage.workdir, stage.user = dict(self.env), self.workdir, self.user
        return stage

    def comment(self, text: str) -> None:
        self.lines.append("# " + " ".join(text.split()))


class _Writer:
    """Writes the stages of one definition. `_stages` maps a value that ends a stage to that stage."""

    def __init__(self, ops: Sequence[Op], platform: Platform, result: Value) -> None:
        self._platform = platform
        self._result = result
        self._ops = ops
        self._heads = _stage_heads(ops, result, platform)
        self._spelled = _spelled(ops)
        self._stages: dict[tuple[Op, int], _Stage] = {}
        self._written: list[_Stage] = []

    def text(self, config: Mapping[str, object] | None) -> str:
        for op in self._ops:
            for index in sorted(i for o, i in self._heads if o is op):
                self._stage(Value(op, index))
        last = self._stages[self._result.op, self._result.index]
        if config is not None:
            known = {f"env:{k}": v for k, v in last.env.items()} | {"workdir": last.workdir, "user": last.user}
            last.lines += config_lines(config, known)
        return "\n".join("".join(f"{line}\n" for line in stage.lines) for stage in self._written)

    def _stage(self, end: Value) -> None:
        """Write the stage that ends with `end`: down to a base, then the steps upward."""
        steps: list[Value] = []
        value: Value | None = end
        while value is not None and not self._is_base(value, end):
            steps.append(value)
            value = _below(value)
        name = f"s{len(self._written)}"
        stage = self._begin(value, name)
        for step in reversed(steps):
            try:
                self._step(stage, step)
            except CannotWrite as reason:
                stage.comment(f"a step is missing: no Dockerfile can hold {reason}")
        self._stages[end.op, end.index] = stage
        self._written.append(stage)

    def _is_base(self, value: Value, end: Value) -> bool:
        if isinstance(value.op, SourceOp):
            return True
        return (value.op, value.index) != (end.op, end.index) and (value.op, value.index) in self._stages

    def _begin(self, base: Value | None, name: str) -> _Stage:
        if base is None:
            stage = _Stage(name)
            stage.lines.append(f"FROM scratch AS {name}")
            return stage
        parent = self._stages.get((base.op, base.index))
        if parent is not None:
            stage = parent.child(name)
            stage.lines.append(f"FROM {parent.name} AS {name}")
            return stage
        stage = _Stage(name)
        assert isinstance(base.op, SourceOp)
        if base.op.identifier.startswith((A.SCHEME_IMAGE, A.SCHEME_OCI_LAYOUT)):
            stage.lines.append(f"FROM {self._platform_flag(base.op)}{_image_name(base.op)} AS {name}")
            if base.op.identifier.startswith(A.SCHEME_OCI_LAYOUT):
                stage.comment(f"the base is {base.op.identifier}: pass it with --build-context")
            return stage
        stage.lines.append(f"FROM scratch AS {name}")
        try:
            self._copy_from(stage, Copy(base, "/", "/"), [])
        except CannotWrite:
            stage.comment(f"the base is {base.op.identifier}")
        return stage

    def _platform_flag(self, op: SourceOp) -> str:
        return "" if op.platform in (None, self._platform) else f"--platform={op.platform} "

    def _step(self, stage: _Stage, value: Value) -> None:
        op = value.op
        match op:
            case ExecOp():
                self._exec(stage, op)
            case FileOp():
                self._file(stage, op, link=False)
            case MergeOp():
                for layer in op.layers[1:]:
                    if isinstance(layer.op, FileOp) and (layer.op, 0) not in self._stages:
                        self._file(stage, layer.op, link=True)
                    else:
                        self._copy_from(stage, Copy(layer, "/", "/"), ["--link"])
            case DiffOp():
                stage.comment("not exact: what was removed is not removed here")
                if op.upper is not None:
                    self._copy_from(stage, Copy(op.upper, "/", "/"), [])
            case PassthroughOp():
                stage.comment(f"waits for {len(op.values) - 1} other file systems")

    # --- RUN ------------------------------------------------------------------------------------------

    def _exec(self, stage: _Stage, op: ExecOp) -> None:
        self._surroundings(stage, op)
        flags = []
        try:
            flags = [self._mount(m) for m in op.mounts if m.target != "/" and not _script(op, m)]
            flags += [f for s in op.secrets for f in _secret(s.id, s.target, s.env, s.uid, s.gid, s.mode, s.optional)]
            for number, agent in enumerate(op.ssh):
                flags.append(_ssh(number, agent.id, agent.target, agent.uid, agent.gid, agent.mode, agent.optional))
            flags += [flag("device", name if optional else f"{name},required") for name, optional in op.devices]
        except CannotWrite as reason:
            stage.comment(f"no Dockerfile can hold {reason} of this step")
        if op.network:
            flags.append(f"--network={('default', 'host', 'none')[op.network]}")
        if op.security:
            flags.append("--security=insecure")
        made = next((found for m in op.mounts if (found := _script(op, m))), None)
        if made is None:
            stage.lines.append(" ".join(["RUN", *flags, command(op.args)]))
        else:
            shell, usual = json_words(op.args[:-1]), json_words(DEFAULT_SHELL)
            stage.lines += [f"SHELL {shell}"] * (shell != usual)
            stage.lines.append(" ".join(["RUN", *flags, f"<<{made[0]}"]) + f"\n{made[1]}{made[0]}")
            stage.lines += [f"SHELL {usual}"] * (shell != usual)

    def _surroundings(self, stage: _Stage, op: ExecOp) -> None:
        """Environment, directory and user as the command wants them."""
        env = [e.partition("=")[::2] for e in op.env]
        agent = op.ssh[0].target if op.ssh else ""
        env = [(k, v) for k, v in env if (k, v) != ("SSH_AUTH_SOCK", agent)]
        gone = [k for k in stage.env if k not in dict(env)]
        for key in gone:
            stage.comment(f"not exact: {key} is not set in the next step")
        fresh = _fresh(stage.env, env)
        for key, value in fresh:
            try:
                stage.lines.append(f"ENV {assignments([(key, value)])}")
            except CannotWrite as reason:
                stage.comment(f"ENV {key}: no Dockerfile can hold {reason}")
            stage.env.pop(key, None)
            stage.env[key] = value
        if op.cwd != stage.workdir:
            stage.lines.append(f"WORKDIR {_line_word(op.cwd)}")
            stage.workdir = op.cwd
        if op.user != stage.user:
            stage.lines.append(f"USER {_line_word(op.user or '0')}")
            stage.user = op.user
        for name, address in op.hosts:
            stage.comment(f"--add-host {name}:{address}")
        for name, soft, hard in op.ulimits:
            stage.comment(f"--ulimit {name}={soft}:{hard}")
        for option, value in (("hostname", op.hostname), ("cgroup-parent", op.cgroup_parent)):
            if value:
                stage.comment(f"--{option} {value}")
        if op.proxy is not None:
            for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"):
                if value := getattr(op.proxy, name):
                    stage.comment(f"--build-arg {name.upper()}={value}")
        if op.exit_codes is not None:
            stage.comment(f"exit codes {', '.join(map(str, op.exit_codes))} count as success")

    def _mount(self, m: Mount) -> str:
        pairs: list[tuple[str, str | None]] = []
        if m.cache_id:
            shared = ("shared", "private", "locked")[m.sharing]
            pairs = [("type", "cache"), ("target", m.target), ("id", m.cache_id.removeprefix("/"))]
            if m.sharing:
                pairs.append(("sharing", shared))
            if m.readonly:
                pairs.append(("readonly", None))
            if made := _owned_cache(m):
                owner = made.owner or Owner(0, 0)
                pairs += [(k, str(v)) for k, v in (("uid", owner.user), ("gid", owner.group)) if v]
                return mount_flag([*pairs, ("mode", f"0{made.mode:o}")])
            return mount_flag([*pairs, *self._mount_source(m)])
        if m.tmpfs:
            size = [("size", str(m.tmpfs_size))] if m.tmpfs_size else []
            return mount_flag([("type", "tmpfs"), ("target", m.target), *size])
        pairs = [("type", "bind"), ("target", m.target), *self._mount_source(m)]
        if m.source is None:
            pairs.append(("from", "scratch"))
        return mount_flag(pairs if m.readonly else [*pairs, ("rw", None)])

    def _mount_source(self, m: Mount) -> list[tuple[str, str | None]]:
        if m.source is None:
            return []
        origin = self._origin(m.source)
        pairs: list[tuple[str, str | None]] = [("from", origin)] if origin else []
        if m.selector and m.selector != "/":
            pairs.append(("source", m.selector))
        return pairs

    def _origin(self, value: Value) -> str:
        """What `--from` is given for a value; "" for the build context."""
        op = value.op
        if isinstance(op, SourceOp):
            if op.identifier.startswith(A.SCHEME_LOCAL):
                name = op.identifier.removeprefix(A.SCHEME_LOCAL)
                return "" if name == CONTEXT else name
            if op.identifier.startswith((A.SCHEME_IMAGE, A.SCHEME_OCI_LAYOUT)) and op.platform in (
                None,
                self._platform,
            ):
                return _image_name(op)
        stage = self._stages.get((op, value.index))
        if stage is None:
            raise CannotWrite("a file system from nowhere")
        return stage.name

    # --- COPY, ADD, WORKDIR ---------------------------------------------------------------------------

    def _file(self, stage: _Stage, op: FileOp, *, link: bool) -> None:
        actions = list(op.actions)
        while actions:
            same = 1
            while same < len(actions) and _joins(actions[0], actions[same]):
                same += 1
            self._action(stage, actions[:same], link)
            del actions[:same]

    def _action(self, stage: _Stage, group: list[FileAction], link: bool) -> None:
        first = group[0]
        try:
            if isinstance(first, Copy):
                self._copies(stage, [a for a in group if isinstance(a, Copy)], link)
            elif isinstance(first, Mkdir) and first.parents and first.mode == 0o755:
                self._become(stage, first.owner)
                stage.workdir = self._spelled.get(first.path, first.path)
                stage.lines.append(f"WORKDIR {_line_word(stage.workdir)}")
            elif isinstance(first, Mkfile):
                redirect, body = heredoc(first.data, first.path.rpartition("/")[2])
                flags = _owner_flags(first.owner) + [f"--chmod={first.mode:o}"] * (first.mode != 0o644)
                stage.lines.append(" ".join(["COPY", *flags, redirect, word(first.path)]) + f"\n{body[:-1]}")
            elif isinstance(first, Mkdir):
                stage.lines.append(f"RUN {json_words(['mkdir', '-m', f'{first.mode:o}', first.path])}")
            elif isinstance(first, Rm):
                stage.lines.append(f"RUN {json_words(['rm', '-rf', first.path])}")
            elif isinstance(first, Symlink):
                stage.lines.append(f"RUN {json_words(['ln', '-s', first.oldpath, first.newpath])}")
        except CannotWrite as reason:
            stage.comment(f"{first.KIND}: no Dockerfile can hold {reason}")

    def _become(self, stage: _Stage, owner: Owner | None) -> None:
        """WORKDIR gives a new directory to the user in effect."""
        if owner is None or owner.user is None:
            return
        user = f"{owner.user}{'' if owner.group is None else f':{owner.group}'}"
        if stage.user != user and not (user == "0" and stage.user in ("root", "0")):
            stage.user = "root" if user == "0" else user
            stage.lines.append(f"USER {_line_word(stage.user)}")

    def _copies(self, stage: _Stage, copies: list[Copy], link: bool) -> None:
        first = copies[0]
        flags = _owner_flags(first.owner)
        if first.mode_str or first.mode >= 0:
            flags.append(flag("chmod", first.mode_str or f"{first.mode:o}"))
        flags += ["--link"] * link
        flags += [flag("exclude", p) for p in first.exclude]
        if any(len(c.include) > 1 for c in copies):
            stage.comment("not exact: only some paths were copied: " + " ".join(first.include))
        elif first.include:
            flags.append("--parents")
        self._copy_from(stage, first, flags, copies)

    def _copy_from(self, stage: _Stage, c: Copy, flags: list[str], copies: Sequence[Copy] = ()) -> None:
        value = c.source
        if value is None:
            stage.comment(f"copies {c.src} of an empty file system to {c.dest}")
            return
        op = value.op
        if isinstance(op, SourceOp) and (remote := _remote(op)):
            stage.lines.append(" ".join(["ADD", *flags, *_checksum(op), word(remote), word(c.dest)]))
            return
        words: list[str] = []
        bodies: list[str] = []
        origin = ""
        for one in copies or (c,):
            assert one.source is not None
            if self._inline(one.source):
                redirect, body = _written_out(one.source.op)
                words.append(redirect)
                bodies.append(body)
            else:
                origin = self._origin(one.source)
                words.append(_path(one, relative=not origin))
        keyword = "ADD" if c.unpack and not origin else "COPY"
        origin_flag = [f"--from={origin}"] if origin else []
        if not bodies and any(" " in w or w.startswith(("-", "[")) for w in [*words, c.dest]):
            rest = json_words([unexpanded(w) for w in (*words, c.dest)])  # JSON words are expanded, too
        else:
            written = [w if w.startswith("<<") else word(w) for w in words]
            rest = " ".join([*written, word(c.dest)])
        text = "".join(bodies)
        stage.lines.append(" ".join([keyword, *origin_flag, *flags, rest]) + (f"\n{text[:-1]}" if text else ""))

    def _inline(self, value: Value) -> bool:
        """Whether a file system is written out as a heredoc where it is copied from."""
        op = value.op
        return isinstance(op, FileOp) and op.base is None and (op, value.index) not in self._stages


def _written_out(op: Op) -> tuple[str, str]:
    made = op.actions[0] if isinstance(op, FileOp) and len(op.actions) == 1 else None
    if not isinstance(made, Mkfile):
        raise CannotWrite("files made on the way")
    return heredoc(made.data, made.path.lstrip("/"))


def _path(c: Copy, *, relative: bool) -> str:
    """The source word of COPY; with `--parents`, `/./` stands before the part that is kept."""
    path = c.src
    if len(c.include) == 1:
        path = c.include[0] if path == "/" else f"{path}/./{c.include[0]}"
    return _relative(path) if relative else path


# --- the shape of the graph -----------------------------------------------------------------------------


def _stage_heads(ops: Sequence[Op], result: Value, platform: Platform) -> set[tuple[Op, int]]:
    """The values that end a stage: the result, what is copied or mounted from, what has several children."""
    heads = {(result.op, result.index)}
    children: Counter[tuple[Op, int]] = Counter()
    for op in ops:
        below: Value | None = None
        for index in range(_outputs(op)):
            below = _below(Value(op, index))
            if below is not None:
                break
        if below is not None:
            children[below.op, below.index] += 1
        skipped = False
        for value in op.inputs():
            if below is not None and not skipped and (value.op, value.index) == (below.op, below.index):
                skipped = True
                continue
            if not _is_inline(op, value):
                heads.add((value.op, value.index))
    heads |= {key for key, count in children.items() if count > 1}
    return {
        (op, index)
        for op, index in heads
        if op is result.op or not isinstance(op, SourceOp) or op.platform not in (None, platform)
    }


def _spelled(ops: Sequence[Op]) -> dict[str, str]:
    """Directories as commands name them, where all commands spell them alike: `WORKDIR /app/` makes `/app` and works in
    `/app/`.
    """
    found: dict[str, set[str]] = {}
    for op in ops:
        if isinstance(op, ExecOp):
            found.setdefault(posixpath.normpath(op.cwd), set()).add(op.cwd)
    return {path: next(iter(names)) for path, names in found.items() if len(names) == 1}


def _outputs(op: Op) -> int:
    return sum(m.has_output for m in op.mounts) if isinstance(op, ExecOp) else 1


def _is_inline(reader: Op, value: Value) -> bool:
    """A file system that is written out where it is read: a heredoc, a linked copy."""
    op = value.op
    if not isinstance(op, FileOp) or op.base is not None:
        return False
    if isinstance(reader, MergeOp):
        return all(isinstance(a, Copy | Mkdir) for a in op.actions)
    if isinstance(reader, ExecOp):
        mounts = [m for m in reader.mounts if m.source is not None and m.source.op is op]
        return all(_owned_cache(m) is not None or _script(reader, m) is not None for m in mounts)
    return isinstance(reader, FileOp) and _is_heredoc(op)


def _below(value: Value) -> Value | None:
    """The file system that a step changed to make `value`."""
    match value.op:
        case FileOp(base=base):
            return base
        case MergeOp(layers=layers):
            return layers[0]
        case DiffOp(lower=lower):
            return lower
        case PassthroughOp(values=values, forwarded=forwarded):
            return values[forwarded[value.index]]
        case ExecOp() as op:
            for mount in op.mounts:
                if mount.has_output and op.output_index(mount) == value.index:
                    return mount.source
    return None


def _joins(first: FileAction, second: FileAction) -> bool:
    """Whether two copies are sources of one instruction: files of one origin, then heredocs."""
    if not isinstance(first, Copy) or not isinstance(second, Copy) or first.source is None or second.source is None:
        return False
    if any(isinstance(c.source.op, SourceOp) and _remote(c.source.op) for c in (first, second) if c.source):
        return False
    same = (first.source.op, first.source.index) == (second.source.op, second.source.index)
    if not same and not (_is_heredoc(second.source.op) and (_is_heredoc(first.source.op) or _is_context(first))):
        return False
    names = ("dest", "mode", "mode_str", "exclude", "unpack", "timestamp")
    if not all(getattr(first, n) == getattr(second, n) for n in names):
        return False
    return bool(first.include) == bool(second.include) and _owner_flags(first.owner) == _owner_flags(second.owner)


def _is_heredoc(op: Op) -> bool:
    return isinstance(op, FileOp) and op.base is None and len(op.actions) == 1 and isinstance(op.actions[0], Mkfile)


def _owned_cache(m: Mount) -> Mkdir | None:
    """The directory that a cache with an owner or a mode begins with."""
    op = m.source.op if m.source is not None else None
    if not m.cache_id or m.selector != "/cache" or not isinstance(op, FileOp) or op.base is not None:
        return None
    made = op.actions[0] if len(op.actions) == 1 else None
    if not isinstance(made, Mkdir) or made.path != "/cache" or made.parents:
        return None
    owner = made.owner
    return made if owner is None or not (isinstance(owner.user, str) or isinstance(owner.group, str)) else None


def _script(op: ExecOp, m: Mount) -> tuple[str, str] | None:
    """Name and text of the heredoc with a program line that a RUN consists of."""
    source = m.source.op if m.source is not None else None
    if (
        m.target.rstrip("/") != "/dev/pipes"
        or source is None
        or not _is_heredoc(source)
        or not isinstance(source, FileOp)
    ):
        return None
    made = source.actions[0]
    if (
        not isinstance(made, Mkfile)
        or made.mode != 0o755
        or len(op.args) < 2
        or op.args[-1] != f"/dev/pipes{made.path}"
    ):
        return None
    name = made.path.removeprefix("/")
    try:
        redirect, body = heredoc(made.data, name)
    except CannotWrite:
        return None
    whole = body.startswith("#!") and redirect == f'<<"{name}"'
    return (name, body.removesuffix(f"{name}\n")) if whole else None


def _is_context(c: Copy) -> bool:
    op = c.source.op if c.source else None
    return isinstance(op, SourceOp) and op.identifier == A.SCHEME_LOCAL + CONTEXT


# --- words ----------------------------------------------------------------------------------------------


def _fresh(present: Mapping[str, str], wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The assignments that bring `present` to `wanted`, order included."""
    keys = [k for k in present if k in dict(wanted)]
    kept = 0
    while kept < len(keys) and kept < len(wanted) and wanted[kept] == (keys[kept], present[keys[kept]]):
        kept += 1
    return list(wanted[kept:])


def _image_name(op: SourceOp) -> str:
    from dockc.oci.reference import InvalidReference, parse_normalized

    name = op.identifier.partition("://")[2]
    try:
        return parse_normalized(name).familiar()
    except InvalidReference:
        return name


def _remote(op: SourceOp) -> str:
    """The URL that ADD fetches this source from, or ""."""
    attrs = dict(op.attrs)
    if op.identifier.startswith(A.SCHEME_GIT):
        fragment = op.identifier.partition("#")[2]
        url = attrs.get(A.GIT_FULL_URL) or "https://" + op.identifier.removeprefix(A.SCHEME_GIT).partition("#")[0]
        if not attrs.keys() & {A.GIT_SKIP_SUBMODULES, A.GIT_FETCH_BY_COMMIT, A.GIT_MTIME}:
            return f"{url}#{fragment}" if fragment else url
        ref, _, subdir = fragment.partition(":")
        query = [("ref", ref), ("subdir", subdir), ("checksum", attrs.get(A.GIT_CHECKSUM, ""))]
        query += [("submodules", "false")] * (A.GIT_SKIP_SUBMODULES in attrs)
        query += [("keep-git-dir", "true")] * (A.GIT_KEEP_DIR in attrs)
        query += [("mtime", attrs.get(A.GIT_MTIME, ""))]
        query += [("fetch-by-commit", "true")] * (A.GIT_FETCH_BY_COMMIT in attrs)
        return url + "?" + "&".join(f"{k}={v}" for k, v in query if v)
    return op.identifier if op.identifier.startswith((A.SCHEME_HTTP, A.SCHEME_HTTPS)) else ""


def _checksum(op: SourceOp) -> list[str]:
    attrs = dict(op.attrs)
    if "?" in _remote(op) and op.identifier.startswith(A.SCHEME_GIT):
        return []
    flags = [f"--checksum={attrs[k]}" for k in (A.HTTP_CHECKSUM, A.GIT_CHECKSUM) if k in attrs]
    return flags + ["--keep-git-dir=true"] * (A.GIT_KEEP_DIR in attrs)


def _owner_flags(owner: Owner | None) -> list[str]:
    if owner is None or owner.user is None:
        return []
    group = "" if owner.group is None else f":{owner.group}"
    return [flag("chown", unexpanded(f"{owner.user}{group}"))]


def _relative(path: str) -> str:
    return path.lstrip("/") or "."


def _line_word(text: str) -> str:
    try:
        return word(text)
    except CannotWrite:
        return "/"


def _secret(name: str, target: str | None, env: str | None, uid: int, gid: int, mode: int, optional: bool) -> list[str]:
    pairs: list[tuple[str, str | None]] = [("type", "secret"), ("id", name)]
    if target is not None and target != f"/run/secrets/{name}":
        pairs.append(("target", target))
    if env is not None:
        pairs.append(("env", env))
    pairs += [("uid", str(uid))] * bool(uid) + [("gid", str(gid))] * bool(gid)
    if target is not None and mode != 0o400:
        pairs.append(("mode", f"0{mode:o}"))
    return [mount_flag(pairs if optional else [*pairs, ("required", None)])]


def _ssh(number: int, name: str, target: str, uid: int, gid: int, mode: int, optional: bool) -> str:
    pairs: list[tuple[str, str | None]] = [("type", "ssh")]
    if name:
        pairs.append(("id", name))
    if target != f"/run/buildkit/ssh_agent.{number}":
        pairs.append(("target", target))
    pairs += [("uid", str(uid))] * bool(uid) + [("gid", str(gid))] * bool(gid)
    if mode != 0o600:
        pairs.append(("mode", f"0{mode:o}"))
    return mount_flag(pairs if optional else [*pairs, ("required", None)])
