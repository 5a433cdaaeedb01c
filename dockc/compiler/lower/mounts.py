"""`RUN --mount`: bind, cache and tmpfs mounts, secrets and ssh agents."""

from __future__ import annotations

from dockc.compiler.ir.ops import Mkdir, Mount, OpMeta, Owner, Secret, Ssh
from dockc.compiler.lower.context import internal_name
from dockc.compiler.notes import Needed
from dockc.compiler.syntax.mounts import option_part, parse_mount
from dockc.errors import CompileError, Fault
from dockc.golang import ospaths as paths
from dockc.golang.text import quote
from dockc.llb import caps as C  # noqa: N812
from dockc.llb.modes import Sharing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.ir.ops import Value
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import Run, Word
    from dockc.compiler.syntax.mounts import Mount as MountSpec

_SHARING = {"private": Sharing.PRIVATE, "locked": Sharing.LOCKED}
_SECRETS = "/run/secrets/"
_SECRET_MODE = 0o400
_SSH_MODE = 0o600
_CACHE_MODE = 0o755


class Mounts:
    """What a RUN is given besides its root: mounts, secrets and ssh agents, in the order written."""

    __slots__ = ("mounts", "secrets", "ssh")

    def __init__(self) -> None:
        self.mounts: list[Mount] = []
        self.secrets: list[Secret] = []
        self.ssh: list[Ssh] = []

    def masked(self, env: dict[str, str]) -> dict[str, str]:
        """The environment as it may be shown: variables that carry secrets are stars."""
        hidden = {secret.env: "****" for secret in self.secrets if secret.env is not None}
        return {**env, **hidden} if hidden else env


def parse_mounts(run: Run, expand: Expander) -> list[MountSpec]:
    """All mounts of a RUN with their variables expanded.

    Raises:
        CompileError: an option that makes no sense.
    """
    return [parse_mount(word, expand) for word in run.mounts]


def lower_mounts(
    state: Lowering, stage: StageState, step: Step, words: tuple[Word, ...], specs: list[MountSpec]
) -> Mounts:
    """The mounts as operations take them; `words` are what was written of each.

    Raises:
        CompileError: a stage that comes later, or a target that cannot be mounted on.
    """
    out = Mounts()
    for word, spec, source in zip(words, specs, step.sources, strict=True):
        from_ = spec.from_ or (SCRATCH_CACHE if spec.type == "cache" else "")
        value: Value | None = state.context
        if from_:
            value = source.value
            if not source.dispatched:
                raise CompileError(
                    f"cannot mount from stage {quote(from_)} to {quote(spec.target)}, stage needs to be defined "
                    "before current command",
                    fault=Fault("later-stage/mount", word, option_part(word, "from")),
                )
        if spec.type == "secret":
            out.secrets.append(_secret(stage, step, word, spec))
        elif spec.type == "ssh":
            out.ssh.append(_ssh(stage, step, word, spec))
        else:
            out.mounts.append(_mount(state, stage, word, spec, value))
            used = stage.context_paths if not from_ else source.used_paths
            used.add(paths.join("/", spec.source))
    return out


SCRATCH_CACHE = "scratch"


def _mount(state: Lowering, stage: StageState, word: Word, spec: MountSpec, value: Value | None) -> Mount:
    target = spec.target
    if not paths.clean(target).startswith("/"):
        target = paths.join("/", stage.directory, target)
    if target == "/":
        fault = Fault("bad-mount/target", word, option_part(word, "target", "dst", "destination"))
        raise CompileError(f"invalid mount target {quote(target)}", fault=fault)
    tmpfs = spec.type == "tmpfs"
    if tmpfs:
        value = None
    selector = paths.join("/", spec.source)
    if selector == "/":
        selector = ""
        if spec.uid is not None or spec.gid is not None or spec.mode is not None:
            value = _owned_cache(state, spec, value)
            selector = "/cache"
    cache_id = ""
    if spec.type == "cache":
        cache_id = f"{state.options.cache_namespace}/{spec.cache_id or paths.clean(spec.target)}"
    bind = spec.type == "bind"
    return Mount(
        target,
        value,
        selector=selector,
        readonly=spec.readonly,
        no_output=not spec.readonly and bind and C.EXEC_MOUNT_BIND_READ_WRITE_NO_OUTPUT in state.options.caps,
        cache_id=cache_id,
        sharing=_SHARING.get(spec.sharing, Sharing.SHARED),
        tmpfs=tmpfs,
        tmpfs_size=spec.size_limit,
    )


def _owned_cache(state: Lowering, spec: MountSpec, value: Value | None) -> Value:
    """A directory with the owner and mode that the cache is to start with."""
    mode = _CACHE_MODE if spec.mode is None else spec.mode
    action = Mkdir("/cache", mode, owner=Owner(spec.uid or 0, spec.gid or 0))
    meta = OpMeta(internal_name("setting cache mount permissions"))
    return state.builder.file(value, (action,), meta=meta)


def _secret(stage: StageState, step: Step, word: Word, spec: MountSpec) -> Secret:
    name = spec.source or spec.cache_id
    if not name:
        if not spec.target:
            raise CompileError("one of source, target required", fault=Fault("bad-mount/no-id", word))
        name = paths.base(spec.target)
    target = spec.target or None
    if spec.env is None and target is None:
        target = _SECRETS + paths.base(name)
    stage.outline.secrets.setdefault(name, Needed(step.lines, required=spec.required))
    return Secret(
        name,
        target=target,
        env=spec.env,
        uid=spec.uid or 0,
        gid=spec.gid or 0,
        mode=_SECRET_MODE if spec.mode is None else spec.mode,
        optional=not spec.required,
    )


def _ssh(stage: StageState, step: Step, word: Word, spec: MountSpec) -> Ssh:
    if spec.source:
        fault = Fault("bad-mount/ssh-source", word, option_part(word, "source", "src"))
        raise CompileError("ssh does not support source", fault=fault)
    name = spec.cache_id or "default"
    stage.outline.ssh.setdefault(name, Needed(step.lines, required=spec.required))
    return Ssh(
        spec.cache_id,
        target=spec.target,
        uid=spec.uid or 0,
        gid=spec.gid or 0,
        mode=_SSH_MODE if spec.mode is None else spec.mode,
        optional=not spec.required,
    )
