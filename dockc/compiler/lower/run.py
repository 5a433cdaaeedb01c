"""RUN: a process, what it is given, and what history says about it."""

from __future__ import annotations

from dockc.compiler.ir.ops import Mkfile, Mount, OpMeta
from dockc.compiler.lower.context import command_meta, internal_name
from dockc.compiler.lower.meta import with_shell
from dockc.compiler.lower.mounts import lower_mounts, parse_mounts
from dockc.compiler.lower.names import command_text, step_name
from dockc.compiler.lower.scope import pairs
from dockc.errors import CompileError, Fault
from dockc.golang import ospaths as paths
from dockc.grammar.heredoc import chomp, parse_opener
from dockc.grammar.source import encode
from dockc.llb import caps as C  # noqa: N812
from dockc.llb.modes import Network, Security

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import Run

_NETWORKS = {"none": Network.NONE, "host": Network.HOST}
_PIPES = "/dev/pipes/"


def lower_run(state: Lowering, stage: StageState, step: Step, run: Run, expand: Expander) -> None:
    """`RUN`: run a process in the stage's file system."""
    specs = parse_mounts(run, expand)
    # A process may read anything.
    stage.used_paths.add("/")
    args, shown, script = _command(state, stage, run)
    given = lower_mounts(state, stage, step, run.mounts, specs)
    mounts = [*script, *given.mounts]
    options, caps = state.options, state.options.caps
    if options.shm_size > 0 and C.EXEC_MOUNT_TMPFS_SIZE in caps:
        mounts.append(Mount("/dev/shm", tmpfs=True, tmpfs_size=options.shm_size))  # noqa: S108
    text = command_text(shown, state.name_lex, given.masked(stage.env))
    meta = OpMeta(
        step_name(state, stage, text, stage.exec_platform, stage.env),
        description=command_meta(run.code),
        locations=state.locations(step.lines),
        ignore_cache=stage.ignore_cache,
        resources=options.resources if C.EXEC_META_LINUX_RESOURCES in caps else None,
    )
    stage.value = state.builder.exec(
        stage.value,
        args or ("",),
        env=pairs(stage.env),
        cwd=stage.directory,
        user=stage.user,
        hostname=stage.hostname,
        cgroup_parent=options.cgroup_parent if C.EXEC_META_CGROUP_PARENT in caps else "",
        hosts=options.hosts,
        ulimits=options.ulimits if C.EXEC_META_ULIMIT in caps else (),
        network=_NETWORKS.get(run.network, stage.network),
        security=Security.INSECURE if run.security == "insecure" else Security.SANDBOX,
        proxy=state.proxy,
        mounts=mounts,
        secrets=given.secrets,
        ssh=given.ssh,
        devices=_devices(state, run) if C.EXEC_META_CDI in caps else (),
        platform=stage.exec_platform,
        meta=meta,
    )
    if not args and stage.value is not None:
        # Whether anything needs this step is not known yet.
        fault = Fault("empty-command", None if step.on_build else run.words)
        state.invalid[stage.value.op] = CompileError("arguments are required", fault=fault)
    history = _history(args, stage.build_args, stage.env)
    stage.image.commit(f"RUN {history} # buildkit", state.created, layer=True)


def _command(state: Lowering, stage: StageState, run: Run) -> tuple[list[str], str, list[Mount]]:
    """The argument vector, the text that progress shows, and a mount that holds a script of its own."""
    args = list(run.cmdline or ())
    shown = run.code
    script: list[Mount] = []
    if run.files:
        if len(args) != 1 or not run.prepend_shell:
            message = f"parsing produced an invalid run command: [{' '.join(args)}]"
            raise CompileError(message, fault=Fault("empty-command/heredoc", run.words))
        if parse_opener(args[0]) is None:
            # More than a single heredoc: the shell gets the lines as they were written.
            args = [args[0] + "".join(f"\n{file.data}{file.name}" for file in run.files)]
        else:
            file = run.files[0]
            shown += f" ({_summary(file.data)})"
            data = chomp(file.data) if file.chomp else file.data
            if stage.image.os != "windows" and data.startswith("#!"):
                script.append(_script_mount(state, file.name, data))
                args = [paths.join(_PIPES, file.name)]
            else:
                args = [data]
    if run.prepend_shell:
        args = with_shell(stage.image, args)
    return args, shown, script


def _script_mount(state: Lowering, name: str, data: str) -> Mount:
    """A heredoc that begins with `#!` is a file that is run."""
    action = Mkfile(paths.join("/", name), 0o755, encode(data))
    value = state.builder.file(None, (action,), meta=OpMeta(internal_name("preparing inline document")))
    return Mount(_PIPES, value, selector="/", readonly=True)


def _summary(text: str) -> str:
    """The first line of a heredoc, with dots if there is more."""
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _devices(state: Lowering, run: Run) -> list[tuple[str, bool]]:
    return [*state.options.devices, *((device.name, not device.required) for device in run.devices)]


def _history(args: Sequence[str], build_args: Mapping[str, str | None], env: Mapping[str, str]) -> str:
    """The command as history shows it, with the ARGs in force before it."""
    shown = [f"{key}={env.get(key, value or '')}" for key, value in build_args.items()]
    if shown:
        shown.insert(0, f"|{len(shown)}")
    return " ".join((*shown, *args))
