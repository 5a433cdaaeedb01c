"""What one line of a Dockerfile does: the instruction's page, its values, and what lowering made of it.

Everything is data; `console.explain` puts it into words.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.compiler.explain.instructions import INSTRUCTIONS, InstructionDoc
from dockc.compiler.explain.trace import Lines, Origin, Trace, Traced, op_lines, stage_index
from dockc.compiler.ir import ops as ir
from dockc.compiler.lower.scope import default_args
from dockc.compiler.lower.stages import SCRATCH
from dockc.compiler.syntax.ast import Add, Arg, Copy, Env, From, Run, SourcesAndDest
from dockc.grammar.word import Lex, WordError
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb.modes import Network, Security

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockc.compiler.lower.stages import StageState
    from dockc.compiler.syntax.ast import Instruction

_IMAGES = ("docker-image://", "oci-layout://")
_SHELL_VARIABLE = pattern(r"\$(?:\{#?)?([A-Za-z_][A-Za-z0-9_]*)")


class Variable(Record):
    """A variable that the instruction uses: its value here (None: not set) and where that comes from."""

    name: str
    value: str | None
    origin: Origin | None


class Key(Record):
    """One thing that decides the cache key (`counts`), or that one might think does.

    Attributes:
        what: `files`, `stage`, `image`, `command`, `env`, `arg`, `user`, `directory`, `mount`, `network`, `platform`,
            `url`.
        detail: in words: paths, values.
        counts: whether a change gives another key.
        source: name of the local directory that `paths` are of, or "".
        paths: patterns in that directory.
        exclude: patterns in that directory that are left out, as its ignore file says.
        without: patterns of `--exclude`: below what each of `paths` names, or in the directory where `rooted`.
    """

    what: str
    detail: str
    counts: bool = True
    source: str = ""
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    rooted: bool = False


class ConfigChange(Record):
    """A field of the image config: what it was and what it is (None: absent)."""

    field: str
    old: Any
    new: Any


class Vertex(Record):
    """An LLB operation."""

    digest: str
    kind: str
    name: str
    detail: tuple[str, ...]


class LineReport(Record, kw_only=True):
    """Everything about one instruction.

    Attributes:
        lines: first and last line; text: as written, on one line.
        doc: the instruction's page.
        trigger: it is an ONBUILD trigger of the base image.
        stage: name or number of the stage, "" before the first FROM; needed: the target needs it.
        expanded: the instruction's words with their values put in, where that differs from the text.
        variables: the variables it uses.
        depends: stages and images that it stands on or reads, in words.
        keys: what decides its cache key.
        affects: instructions whose keys it is part of, for one that sets variables.
        history: text of the history entry, or None; layer: whether that has a layer.
        changes: of the image config.
        vertices: LLB operations that are written here.
    """

    lines: Lines
    text: str
    doc: InstructionDoc | None
    trigger: bool
    stage: str
    needed: bool
    expanded: tuple[tuple[str, str], ...]
    variables: tuple[Variable, ...]
    depends: tuple[str, ...]
    keys: tuple[Key, ...]
    history: str | None
    layer: bool
    changes: tuple[ConfigChange, ...]
    vertices: tuple[Vertex, ...]
    affects: tuple[str, ...] = ()


def explain_line(found: Trace, line: int, digest: Callable[[ir.Op], str]) -> tuple[LineReport, ...]:
    """All about the instruction that covers a line; several where triggers of a base image run there; none for a
    comment.

    Args:
        found: a compilation that watched this line.
        line: from 1.
        digest: of an operation.
    """
    dockerfile = found.dockerfile
    for arg in dockerfile.meta_args:
        if arg.lines[0] <= line <= arg.lines[1]:
            return (_meta_arg(found, arg),)
    index = stage_index(dockerfile, line)
    if index < 0:
        return ()
    stage = found.lowered.stages[index]
    reports = []
    written = dockerfile.stages[index]
    if written.lines[0] <= line <= written.lines[1]:
        reports.append(_from(found, index, stage, digest))
    reports += [_step(found, one, index, digest) for one in found.steps]
    return tuple(reports)


# --- the three kinds of places --------------------------------------------------------------------------


def _meta_arg(found: Trace, arg: Instruction) -> LineReport:
    env = found.lowered.target.outline.args
    names = [word.text.partition("=")[0] for word in arg.args]
    variables = tuple(
        Variable(n, env[n].value if n in env else None, Origin("arg", arg.lines[0], n in found.options.build_args))
        for n in names
    )
    users = [
        f"line {stage.lines[0]}: {stage.code}"
        for stage in found.dockerfile.stages
        if any(re.search(rf"\$\{{?{re.escape(n)}\b", stage.code) for n in names)
    ]
    return LineReport(
        lines=arg.lines, text=arg.code, doc=INSTRUCTIONS.get("ARG"), trigger=False, stage="", needed=True, expanded=(),
        variables=variables, depends=tuple(f"read by {user}" for user in users), keys=(), history=None, layer=False,
        changes=(), vertices=(),
    )  # fmt: skip


def _from(found: Trace, index: int, stage: StageState, digest: Callable[[ir.Op], str]) -> LineReport:
    written: From = found.dockerfile.stages[index].from_
    depends = []
    keys = []
    ops = found.ops_of(written.lines)
    if stage.base is not None:
        depends.append(f"stage {_called(found, stage.base)} (line {stage.base.lines[0]})")
        keys.append(Key("stage", f"everything that stage {_called(found, stage.base)} is made of"))
    elif stage.base_name and stage.base_name != SCRATCH:
        name = stage.base_name if "@" in written.base.text else stage.base_name.partition("@")[0]
        depends.append(f"base image {name}")
        keys.append(Key("image", f"the digest that {name} resolves to, for the stage's platform"))
    words = (("base", written.base.text), ("--platform", written.platform.text))
    shown = tuple((text, stage.base_name.partition("@")[0]) for what, text in words if what == "base" and "$" in text)
    lex = Lex(found.dockerfile.escape)
    used = sorted({name for _, text in words if text for name in _names(lex, text)})
    variables = tuple(_global(found, stage, name) for name in used)
    return LineReport(
        lines=written.lines, text=written.code, doc=INSTRUCTIONS["FROM"], trigger=False, stage=_called(found, stage),
        needed=found.complete, expanded=shown, variables=variables, depends=tuple(depends), keys=tuple(keys), history=None,
        layer=False, changes=(), vertices=tuple(_vertex(op, digest) for op in ops),
    )  # fmt: skip


def _global(found: Trace, stage: StageState, name: str) -> Variable:
    """A variable of a FROM line."""
    options = found.options
    info = stage.outline.args.get(name)
    if info is not None:
        return Variable(name, info.value, Origin("arg", info.lines[0], name in options.build_args))
    build = options.builders[0]
    given = default_args(build, options.target_platform or build, options.build_args, options.target)
    return Variable(name, given.get(name), Origin("builder") if name in given else None)


def _step(found: Trace, one: Traced, index: int, digest: Callable[[ir.Op], str]) -> LineReport:
    instruction = one.instruction
    before, after = one.before, one.after
    ops = [op for op in found.ops_of(one.step.lines) if _made_between(op, one)]
    new = after.history[len(before.history) :]
    return LineReport(
        lines=one.step.lines,
        text=instruction.code,
        doc=INSTRUCTIONS.get(instruction.keyword),
        trigger=one.step.on_build,
        stage=_called(found, one.stage),
        needed=found.complete,
        expanded=_expanded(found, one),
        variables=_variables(found, one),
        depends=tuple(_depends(found, one, ops)),
        keys=tuple(key for op in ops for key in _keys(found, op, one)),
        affects=tuple(_affects(found, one, index)),
        history=new[-1][0] if new else None,
        layer=bool(new) and new[-1][1],
        changes=tuple(_changes(before.config, after.config)),
        vertices=tuple(_vertex(op, digest) for op in ops),
    )


def _made_between(op: ir.Op, one: Traced) -> bool:
    """Whether an operation on a trigger's lines is this trigger's: the others of that FROM have the same lines."""
    if not one.step.on_build:
        return not isinstance(op, ir.SourceOp) or not isinstance(one.instruction, From)
    return one.after.value is not None and one.after.value is not one.before.value and op is one.after.value.op


def _called(found: Trace, stage: StageState) -> str:
    if stage.name:
        return stage.name
    try:
        return str(found.lowered.stages.index(stage))
    except ValueError:
        return stage.base_name


# --- values ---------------------------------------------------------------------------------------------


def _words(instruction: Instruction) -> Iterator[str]:
    """The words of an instruction in which the builder itself expands variables."""
    for flag in instruction.flags:
        if flag.value:
            yield flag.value
    if isinstance(instruction, SourcesAndDest):
        yield from (word.text for word in (*instruction.sources, instruction.dest))
        yield from (content.data for content in instruction.contents if content.expand)
    elif instruction.keyword in {"ENV", "LABEL", "ARG", "WORKDIR", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL"}:
        yield from (word.text for word in instruction.args)


def _names(lex: Lex, text: str) -> frozenset[str]:
    try:
        expanded = lex.expand(text, {})
    except WordError as error:
        return error.matched.union(error.unmatched)
    return expanded.matched.union(expanded.unmatched)


def _variables(found: Trace, one: Traced) -> tuple[Variable, ...]:
    lex = Lex(found.dockerfile.escape)
    names = {name for text in _words(one.instruction) for name in _names(lex, text)}
    env = one.before.env
    if isinstance(one.instruction, Arg):
        after = one.after
        declared = dict.fromkeys(pair.key.text for pair in one.instruction.pairs)
        set_here = tuple(Variable(n, after.env.get(n), _declared(found, one, n)) for n in declared)
        return (
            *set_here,
            *(Variable(n, env.get(n), one.before.origins.get(n)) for n in sorted(names - declared.keys())),
        )
    if isinstance(one.instruction, Run):
        scripts = [*(one.instruction.cmdline or ()), *(f.data for f in one.instruction.files)]
        names |= {n for text in scripts for n in _SHELL_VARIABLE.findall(text) if n in env}
    return tuple(Variable(name, env.get(name), one.before.origins.get(name)) for name in sorted(names))


def _declared(found: Trace, one: Traced, name: str) -> Origin:
    """Where an ARG's value comes from: outside, the ARG before the first FROM, or its own default."""
    origin = one.after.origins.get(name)
    if origin is not None and origin.above:
        return Origin("arg", origin.above)
    if origin is not None and origin.automatic:
        return Origin("builder")
    return Origin("arg", one.step.lines[0], name in found.options.build_args)


def _affects(found: Trace, one: Traced, index: int) -> Iterator[str]:
    """Later instructions that see what an ARG or ENV sets."""
    if not isinstance(one.instruction, Arg | Env):
        return
    names = {pair.key.text for pair in one.instruction.pairs}
    lex = Lex(found.dockerfile.escape)
    heirs = [one.stage]
    for number, written in enumerate(found.dockerfile.stages):
        stage = found.lowered.stages[number]
        if stage is not one.stage and stage.base not in heirs:
            continue
        heirs.append(stage)
        for later in written.instructions:
            if number == index and later.lines[0] <= one.step.lines[0]:
                continue
            if isinstance(later, Run) or any(
                not names.isdisjoint(_names(lex, text)) for text in _words(later) if "$" in text
            ):
                yield f"line {later.lines[0]}: {later.code}"


def _expanded(found: Trace, one: Traced) -> tuple[tuple[str, str], ...]:
    """Words and their values, where these differ."""
    lex = Lex(found.dockerfile.escape)
    pairs = {}
    for text in _words(one.instruction):
        if "$" not in text or "\n" in text:
            continue
        try:
            value = lex.word(text, one.before.env)
        except WordError:
            continue
        if value != text:
            pairs[text] = value
    return tuple(pairs.items())


# --- dependencies and keys ------------------------------------------------------------------------------


def _depends(found: Trace, one: Traced, ops: Sequence[ir.Op]) -> Iterator[str]:
    instruction = one.instruction
    below = one.before.value
    if ops and below is not None:
        lines = op_lines(below.op)
        text = _name(below.op)
        yield f"the stage so far: {text}" + (f" (line {lines[0]})" if lines else "")
    if isinstance(instruction, Copy | Run):
        for source in dict.fromkeys(one.step.sources):
            if source.registered:
                yield f"stage {_called(found, source)} (line {source.lines[0]})"
            elif source.base_name not in {"", SCRATCH}:
                yield f"image {source.base_name}"
    if isinstance(instruction, Add | Copy):
        read = [value.op for op in ops for value in op.inputs()]
        if any(_local(op) for op in read):
            yield "the build context"
        elsewhere = [
            op
            for op in read
            if isinstance(op, ir.SourceOp) and not _local(op) and not op.identifier.startswith(_IMAGES)
        ]
        yield from dict.fromkeys(op.identifier for op in elsewhere)
    for variable in _variables(found, one):
        if variable.origin is not None and variable.origin.line not in {0, one.step.lines[0]}:
            yield f"{variable.origin.kind.upper()} {variable.name} (line {variable.origin.line})"


def _local(op: ir.Op) -> str:
    """Name of the local directory that an operation reads, or ""."""
    if isinstance(op, ir.SourceOp) and op.identifier.startswith("local://"):
        return op.identifier.removeprefix("local://")
    return ""


def _keys(found: Trace, op: ir.Op, one: Traced) -> Iterator[Key]:
    match op:
        case ir.FileOp():
            yield from _file_keys(found, op, one)
        case ir.ExecOp():
            yield from _exec_keys(found, op, one)
        case ir.SourceOp():
            yield Key("url" if op.identifier.startswith("http") else "source", op.identifier)
        case ir.MergeOp():
            yield Key("layers", "the stage so far, and these files laid over it")


def _file_keys(found: Trace, op: ir.FileOp, one: Traced) -> Iterator[Key]:
    for action in op.actions:
        match action:
            case ir.Copy():
                yield copied_key(action)
                options = [f"to {action.dest}"]
                if action.owner is not None:
                    options.append(f"owner {_owner(action.owner)}")
                if action.mode >= 0 or action.mode_str:
                    options.append(f"mode {action.mode_str or oct(action.mode)[2:]}")
                if action.exclude:
                    options.append(f"without {', '.join(action.exclude)}")
                yield Key("flags", ", ".join(options))
            case ir.Mkdir():
                yield Key("directory", f"{action.path}, owner {_owner(action.owner)}, mode {action.mode:o}")
            case ir.Mkfile():
                yield Key("content", f"{action.path}: {len(action.data)} bytes written in the Dockerfile")
            case _:
                yield Key("flags", action.KIND)
    if op.base is not None:
        yield Key("stage", "the stage so far")


def copied_key(action: ir.Copy) -> Key:
    """What a copy takes, as part of its cache key."""
    source = action.source.op if action.source is not None else None
    paths = tuple(posixpath.join(action.src, path) for path in action.include) or (action.src,)
    shown = ", ".join(paths)
    if source is None:
        return Key("files", f"{shown} of an empty file system")
    if name := _local(source):
        assert isinstance(source, ir.SourceOp)
        return Key(
            "files",
            f"content, names, modes of {shown}",
            True,
            name,
            paths,
            _excluded(source),
            action.exclude,
            bool(action.include),
        )
    if isinstance(source, ir.SourceOp) and not source.identifier.startswith(_IMAGES):
        return Key("url", f"what {source.identifier} serves")
    return Key("files", f"content, names, modes and owners of {shown} in {_name(source)}")


def _excluded(op: ir.SourceOp) -> tuple[str, ...]:
    import json

    text = dict(op.attrs).get(A.LOCAL_EXCLUDE, "")
    return tuple(json.loads(text)) if text else ()


def _owner(owner: ir.Owner | None) -> str:
    if owner is None:
        return "root"
    user = "0" if owner.user is None else str(owner.user)
    return user if owner.group is None else f"{user}:{owner.group}"


def _exec_keys(found: Trace, op: ir.ExecOp, one: Traced) -> Iterator[Key]:
    yield Key("command", " ".join(op.args))
    args: list[str] = []
    env: list[str] = []
    for entry in op.env:
        name = entry.partition("=")[0]
        origin = one.before.origins.get(name)
        (args if origin is not None and origin.kind == "arg" else env).append(entry)
    if args:
        yield Key("arg", ", ".join(args))
    if env:
        yield Key("env", ", ".join(env))
    yield Key("directory", op.cwd)
    if op.user:
        yield Key("user", op.user)
    for mount in op.mounts:
        yield from _mount_keys(mount)
    for secret in op.secrets:
        yield Key("secret", f"{secret.id}: its value does not count", False)
    for agent in op.ssh:
        yield Key("ssh", f"{agent.id or 'default'}: the agent does not count", False)
    if op.network != Network.SANDBOX:
        yield Key("network", "host" if op.network == Network.HOST else "none")
    if op.security != Security.SANDBOX:
        yield Key("security", "insecure")
    if op.proxy is not None:
        yield Key("proxy", "proxy settings do not count", False)


def _mount_keys(mount: ir.Mount) -> Iterator[Key]:
    if mount.target == "/":
        if mount.source is not None:
            yield Key("stage", "the stage so far")
    elif mount.cache_id:
        yield Key("mount", f"cache {mount.cache_id} at {mount.target}: its content does not count", False)
    elif mount.tmpfs:
        yield Key("mount", f"tmpfs at {mount.target}")
    elif mount.source is not None:
        source = mount.source.op
        inside = mount.selector or "/"
        if name := _local(source):
            assert isinstance(source, ir.SourceOp)
            yield Key(
                "files", f"content of {inside}, mounted at {mount.target}", True, name, (inside,), _excluded(source)
            )
        else:
            yield Key("files", f"content of {inside} in {_name(source)}, mounted at {mount.target}")


# --- results --------------------------------------------------------------------------------------------


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ConfigChange]:
    for field in dict.fromkeys((*old, *new)):
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        if field == "Env":
            yield from _pairs("Env", _as_map(before or ()), _as_map(after or ()))
        elif isinstance(before or after, Mapping) and field != "Healthcheck":
            yield from _pairs(field, before or {}, after or {})
        else:
            yield ConfigChange(field, before, after)


def _as_map(entries: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def _pairs(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ConfigChange]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield ConfigChange(f"{field}.{name}", old.get(name), new.get(name))


def _name(op: ir.Op) -> str:
    if isinstance(op, ir.SourceOp) and not op.meta.name:
        return op.identifier
    return op.meta.name or op.KIND


def _vertex(op: ir.Op, digest: Callable[[ir.Op], str]) -> Vertex:
    match op:
        case ir.ExecOp():
            detail: tuple[str, ...] = (" ".join(op.args),)
        case ir.FileOp():
            detail = tuple(_action(action) for action in op.actions)
        case ir.SourceOp():
            detail = (op.identifier,)
        case _:
            detail = ()
    return Vertex(digest(op), op.KIND, op.meta.name, detail)


def _action(action: ir.FileAction) -> str:
    match action:
        case ir.Copy():
            return f"copy {', '.join(action.include) or action.src} to {action.dest}"
        case ir.Mkdir() | ir.Mkfile() | ir.Rm():
            return f"{action.KIND} {action.path}"
        case ir.Symlink():
            return f"symlink {action.newpath} -> {action.oldpath}"
    return action.KIND
