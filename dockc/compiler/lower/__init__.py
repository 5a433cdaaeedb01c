"""AST to IR: every stage that the target needs, instruction by instruction, and the image config beside it.

analyze   which images and files does this file need?      (raises `Unanswered`)
lower     the graph, the image config and the findings of the checks
"""

from __future__ import annotations

from dockc.base.record import fields_of
from dockc.compiler.checks import Linter
from dockc.compiler.ir.module import Builder, Module
from dockc.compiler.ir.ops import ProxyEnv
from dockc.compiler.lower import contexts
from dockc.compiler.lower.context import EPOCH, Lowering
from dockc.compiler.lower.copy import lower_add, lower_copy
from dockc.compiler.lower.env import (
    lower_arg,
    lower_env,
    lower_shell,
    lower_user,
    lower_workdir,
    set_directory,
    set_user,
)
from dockc.compiler.lower.graph import build_table, find_target, link_stages, resolve_stages
from dockc.compiler.lower.meta import (
    lower_cmd,
    lower_entrypoint,
    lower_healthcheck,
    lower_label,
    lower_maintainer,
    lower_onbuild,
    lower_stopsignal,
    lower_volume,
)
from dockc.compiler.lower.run import lower_run
from dockc.compiler.lower.scope import (
    SBOM_SCAN_CONTEXT,
    SBOM_SCAN_STAGE,
    assign,
    default_args,
    located,
    meta_args,
    split_pair,
)
from dockc.compiler.lower.words import Expander
from dockc.compiler.syntax.ast import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from dockc.errors import CompileError, DockcError, Fault
from dockc.golang.numbers import NumberError, parse_bool
from dockc.golang.ospaths import default_path
from dockc.golang.strings import fold
from dockc.golang.text import quote
from dockc.grammar.word import WordError
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from dockc.compiler.image.config import ImageConfig
    from dockc.compiler.ir.ops import Value
    from dockc.compiler.lower.context import Observer
    from dockc.compiler.lower.contexts import MainContext
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, Asking
    from dockc.compiler.syntax.ast import Dockerfile, Instruction
    from dockc.golang.times import Time

    Lowerer = Callable[[Lowering, StageState, Step, Any, Expander], None]


def lower_expose(state: Lowering, stage: StageState, step: Step, expose: Expose, expand: Expander) -> None:
    """`EXPOSE`, whose module is loaded when a file has one."""
    from dockc.compiler.lower.expose import lower_expose as lower_ports

    lower_ports(state, stage, step, expose, expand)


LOWERERS: Mapping[type[Instruction], Lowerer] = {
    Add: lower_add,
    Arg: lower_arg,
    Cmd: lower_cmd,
    Copy: lower_copy,
    Entrypoint: lower_entrypoint,
    Env: lower_env,
    Expose: lower_expose,
    Healthcheck: lower_healthcheck,
    Label: lower_label,
    Maintainer: lower_maintainer,
    Onbuild: lower_onbuild,
    Run: lower_run,
    Shell: lower_shell,
    Stopsignal: lower_stopsignal,
    User: lower_user,
    Volume: lower_volume,
    Workdir: lower_workdir,
}
"""One function for each instruction."""

_RESERVED_NAMES = frozenset(("context", "scratch"))


class Lowered:
    """What a file was lowered to.

    Attributes:
        target: the stage that was asked for.
        module: the graph; its output is the file system of the image.
        image: the image config; base_image: that of the base, or None.
        epoch: the time that everything made gets, or None.
        extras: further file systems to scan for an SBOM, by stage name or `context`.
        ignore_cache: the target or one of the extras runs without the cache.
        stages: all stages, in order.
    """

    __slots__ = (
        "base_image",
        "epoch",
        "extras",
        "ignore_cache",
        "image",
        "invalid",
        "module",
        "stages",
        "target",
    )

    def __init__(self, state: Lowering, target: StageState, module: Module, extras: dict[str, Value | None]) -> None:
        self.target: Final = target
        self.module: Final = module
        self.image: Final[ImageConfig] = target.image
        self.base_image: Final[ImageConfig | None] = target.base_image
        self.epoch: Final[Time | None] = state.epoch
        self.extras: Final = extras
        self.ignore_cache = target.ignore_cache
        self.stages: Final = state.table.stages
        self.invalid: Final = state.invalid


def lower(
    dockerfile: Dockerfile,
    options: CompileOptions,
    answers: Answers,
    linter: Linter,
    observer: Observer | None = None,
) -> Asking[Lowered]:
    """Lower a file; an `observer` is told of every step. All questions come before the first instruction.

    Raises:
        CompileError: the file is wrong; with places.
        Unanswered: an answer was left out.
    """
    if not dockerfile.stages:
        last = dockerfile.meta_args[-1].words if dockerfile.meta_args else None
        raise CompileError("dockerfile contains no stages to build", fault=Fault("no-stage/none", last))
    platform = options.target_platform or options.builders[0]
    state = Lowering(dockerfile, options, answers, linter, Builder(platform, options.caps))
    state.observer = observer
    main, target, needed = yield from _prepare(state)
    exclude = contexts.ignore_patterns(state, main)
    if exclude:
        from dockc.grammar.globs import PatternMatcher

        try:
            state.ignore = PatternMatcher(exclude)
        except DockcError as error:
            raise CompileError(error.message, fault=Fault("bad-ignore-file")) from None
    for stage in list(state.table.stages):
        if options.all_stages or (stage in needed and not stage.dispatched):
            _lower_stage(state, stage)
    target.used_paths.add("/")
    return _finish(state, main, exclude, target, needed)


def _prepare(state: Lowering) -> Asking[tuple[MainContext, StageState, set[StageState]]]:
    """Everything before the first instruction, and everything that asks: variables, stages, bases, triggers."""
    _check_stage_names(state)
    _check_casing(state)
    _set_meta_args(state)
    main = yield from contexts.open_main(state)
    state.source_map = main.source_map
    contexts.want_ignore_files(state, main)
    if EPOCH in state.build_args or EPOCH in state.meta_args:
        from dockc.compiler.lower import epoch

        yield from epoch.settle(state, main)
    state.proxy = _proxy(state.build_args)
    build_table(state)
    target = find_target(state)
    link_stages(state)
    needed = yield from resolve_stages(state, target)
    yield from state.barrier()
    return main, target, needed


# --- before the stages --------------------------------------------------------------------------------


def _check_stage_names(state: Lowering) -> None:
    seen: set[str] = set()
    for stage in state.dockerfile.stages:
        if not stage.name:
            continue
        if stage.name in _RESERVED_NAMES:
            message = f"Stage name should not use the same name as reserved stage {quote(stage.name)}"
            state.linter.report("ReservedStageName", message, stage.lines)
        if stage.name in seen:
            message = f"Duplicate stage name {quote(stage.name)}, stage names should be unique"
            state.linter.report("DuplicateStageName", message, stage.lines)
        seen.add(stage.name)


def _check_casing(state: Lowering) -> None:
    """All keywords should be in the case that most of them are in."""
    keywords = []
    for stage in state.dockerfile.stages:
        keywords.append((stage.orig_cmd, stage.lines))
        keywords += [(instruction.name, instruction.lines) for instruction in stage.instructions]
    lower_count = sum(name.islower() for name, _ in keywords)
    upper_count = sum(name.isupper() for name, _ in keywords)
    wanted = "lowercase" if lower_count > upper_count else "uppercase"
    for name, lines in keywords:
        if name != (name.lower() if wanted == "lowercase" else name.upper()):
            message = f"Command '{name}' should match the case of the command majority ({wanted})"
            state.linter.report("ConsistentInstructionCasing", message, lines)


def _set_meta_args(state: Lowering) -> None:
    """The ARGs before the first FROM."""
    dockerfile, options = state.dockerfile, state.options
    defaults = default_args(
        state.build_platforms[0],
        state.target,
        state.build_args,
        options.target or dockerfile.stages[-1].name,
    )
    _check_default_bases(state, defaults)
    state.meta_args, state.global_infos = meta_args(defaults, dockerfile.meta_args, state.build_args, state.lex)


def _check_default_bases(state: Lowering, defaults: dict[str, str]) -> None:
    """A base should be a valid name even when no build arguments are given."""
    try:
        env, _ = meta_args(defaults, state.dockerfile.meta_args, {}, state.lex)
        for stage in state.dockerfile.stages:
            text = stage.base.text
            try:
                references.parse_normalized(state.lex.word(text, env))
            except references.InvalidReference:
                message = f"Default value for ARG {text} results in empty or invalid base image name"
                state.linter.report("InvalidDefaultArgInFrom", message, stage.lines)
    except (CompileError, WordError):
        # The same error comes up again where it counts.
        return


def _proxy(build_args: Mapping[str, str]) -> ProxyEnv | None:
    """Proxy settings among the build arguments, in either case; of two spellings the lower case one wins."""
    found: dict[str, str] = {}
    for key in sorted(build_args):
        name = fold(key)
        if name in fields_of(ProxyEnv):
            found[name] = build_args[key]
    return ProxyEnv(**found) if found else None


# --- the stages ---------------------------------------------------------------------------------------


def _lower_stage(state: Lowering, stage: StageState) -> None:
    stage.inherit()
    stage.dispatched = True
    if stage.platform is None:
        # A context without an image says nothing about platforms.
        stage.platform = Platform("", "")
    image = stage.image
    if stage.system != "windows" and not any(split_pair(entry)[0] == "PATH" for entry in image.env):
        image.set_env("PATH", default_path(stage.system))
    for entry in image.env:
        assign(stage.env, *split_pair(entry))
    if state.options.hostname:
        stage.hostname = state.options.hostname
    if image.working_dir:
        try:
            set_directory(stage, image.working_dir)
        except CompileError as error:
            raise located(error, stage.lines) from None
    if image.user:
        set_user(stage, image.user)
    stage.network = state.options.network
    for step in stage.steps:
        _lower_step(state, stage, step)
    _mark_scans(state, stage)


def _lower_step(state: Lowering, stage: StageState, step: Step) -> None:
    instruction = step.instruction
    stage.on_build = step.on_build
    expand = Expander(state.lex, stage, step, state.linter.within(instruction.comments))
    if state.observer is not None:
        state.observer.before(stage, step)
    try:
        LOWERERS[type(instruction)](state, stage, step, instruction, expand)
    except CompileError as error:
        if step.on_build:  # the words of a trigger stand in no file
            error.fault = error.fault.at(stage.words, stage.part)
        raise located(error, step.lines) from None
    if state.observer is not None:
        state.observer.after(stage, step)


def _mark_scans(state: Lowering, stage: StageState) -> None:
    for name in (SBOM_SCAN_CONTEXT, SBOM_SCAN_STAGE):
        value = stage.scan_args.get(name, state.meta_args.get(name))
        if value is not None and _includes(value, stage.shown_name):
            if name == SBOM_SCAN_CONTEXT:
                stage.scan_context = True
            else:
                stage.scan_stage = True


def _includes(value: str, stage: str) -> bool:
    """Whether a setting is on for a stage: a truth value for all, or a list of names."""
    try:
        return parse_bool(value)
    except NumberError:
        return stage in value.split(",")


# --- after the stages ---------------------------------------------------------------------------------


def _finish(
    state: Lowering, main: MainContext, exclude: list[str], target: StageState, needed: set[StageState]
) -> Lowered:
    image, options = target.image, state.options
    image.labels.update(options.labels)
    error = state.linter.error()
    if error is not None:
        raise error
    used = set().union(*(stage.context_paths for stage in state.table.stages))
    state.builder.fill(state.context, contexts.close_main(state, main, exclude, used))
    for hole, stage, source in state.pending:
        state.builder.fill(hole, source.value(state.builder, stage.used_paths))
    if not state.implicit_target:
        _set_target_platform(image, state.target)
    image.set_platform(platforms.normalize(image.platform))
    extras: dict[str, Value | None] = {}
    if target.scan_context:
        extras["context"] = state.context
    lowered = Lowered(state, target, Module({"": target.value}, state.target), extras)
    for stage in state.table.stages:
        if stage is not target and stage.scan_stage and stage in needed:
            extras[stage.shown_name] = stage.value
            lowered.ignore_cache |= stage.ignore_cache
    return lowered


def _set_target_platform(image: ImageConfig, target: Platform) -> None:
    """What was asked for wins over what the base image says; where they differ, nothing of the base's is kept."""
    same = (image.os, image.architecture) == (target.os, target.architecture)
    image.os, image.architecture = target.os, target.architecture
    if target.variant or not same:
        image.variant = target.variant
    if target.os_version or not same:
        image.os_version = target.os_version
    if target.os_features:
        image.os_features = target.os_features
