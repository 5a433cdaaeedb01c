"""From the stages as written to a graph: bases and platforms expanded, instructions tied to the stages they read."""

from __future__ import annotations

from dockc.compiler.checks import NOWHERE
from dockc.compiler.lower import contexts
from dockc.compiler.lower.bases import resolve
from dockc.compiler.lower.scope import located, ranges, word_fault
from dockc.compiler.lower.stages import SCRATCH, StageState, Step, check_cycles, reachable
from dockc.compiler.suggest import nearest
from dockc.compiler.syntax.ast import Add, Copy, Onbuild, Run, Workdir
from dockc.compiler.syntax.build_ast import parse_trigger
from dockc.compiler.syntax.mounts import option_part, parse_mount
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.text import quote
from dockc.grammar.word import WordError
from dockc.oci import platform as platforms
from dockc.oci.platform import InvalidPlatform, Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from dockc.compiler.checks import Linter
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.questions import Asking
    from dockc.compiler.syntax.ast import Instruction, Stage, Word
    from dockc.grammar.word import Expanded

    Lines = tuple[int, int]

_COUNTED = (Add, Copy, Run, Workdir)

_TRIGGER_IMAGES = 1000


# --- the table of stages ------------------------------------------------------------------------------


def build_table(state: Lowering) -> None:
    """Register all stages of the file, with base names and platforms expanded.

    Raises:
        CompileError: a base or platform that cannot be expanded, is empty or is no platform.
    """
    for index, stage in enumerate(state.dockerfile.stages):
        linter = state.linter.within(stage.comments)
        base, used = _base_name(state, stage, linter)
        entry = StageState(base, stage.lines, stage, stage.base)
        entry.outline.args = state.global_infos.copy()
        if stage.platform.text:
            entry.platform, names = _platform(state, stage, linter)
            used |= names
        if stage.name:
            entry.named_context = contexts.find(state, stage.name, entry.platform)
            if entry.named_context is not None:
                state.table.add(entry)
                entry.base = None
                continue
        else:
            entry.shown_name = f"stage-{index}"
        state.table.add(entry)
        for name in sorted(used):
            entry.outline.used[name] = None
        entry.step_total = sum(isinstance(instruction, _COUNTED) for instruction in stage.instructions)
        if base != SCRATCH and entry.base is None:
            entry.step_total += 1
        entry.ignore_cache = state.options.ignores_cache(stage.name)


def _base_name(state: Lowering, stage: Stage, linter: Linter) -> tuple[str, set[str]]:
    text = stage.base.text
    try:
        match = state.lex.expand(text, state.meta_args)
    except WordError as error:
        _report_undeclared(state, error.unmatched, stage, linter)
        problem = CompileError(error.message, fault=word_fault(error, state.lex, stage.base))
        raise located(problem, stage.lines) from None
    _report_undeclared(state, match.unmatched, stage, linter)
    if not match.result:
        problem = CompileError(f"base name ({text}) should not be blank", fault=Fault("blank-base", stage.base))
        raise located(problem, stage.lines)
    return match.result, set(match.matched)


def _platform(state: Lowering, stage: Stage, linter: Linter) -> tuple[Platform, set[str]]:
    text = stage.platform.text
    try:
        match = state.lex.expand(text, state.meta_args)
    except WordError as error:
        _report_undeclared(state, error.unmatched, stage, linter)
        problem = CompileError(
            f"failed to process arguments for platform : {error.message}",
            fault=word_fault(error, state.lex, stage.platform),
        )
        raise located(problem, stage.lines) from None
    _report_undeclared(state, match.unmatched, stage, linter)
    _report_redundant(state, text, match, stage, linter)
    _report_constant(match, stage, linter)
    if not match.result:
        problem = CompileError(
            f"empty platform value from expression {text}", fault=Fault("blank-platform", stage.platform)
        )
        raise _with_suggestion(state, located(problem, stage.lines), match.unmatched)
    try:
        platform = platforms.parse(match.result)
    except InvalidPlatform as error:
        problem = CompileError(
            f"failed to parse platform {text}: {error.message}", fault=Fault("bad-platform", stage.platform)
        )
        located(located(problem, stage.lines), stage.lines)
        raise _with_suggestion(state, problem, match.unmatched) from None
    return platform, set(match.matched)


def _with_suggestion(state: Lowering, error: CompileError, names: Iterable[str]) -> CompileError:
    """The error with the ARG that was probably meant by the first name that is near to one."""
    for name in names:
        suggestion = nearest(name, state.meta_args)
        if suggestion:
            return CompileError(
                f"{error.message} (did you mean {suggestion}?)",
                fault=error.fault,
                locations=error.locations,
                suggestion=suggestion,
            )
    return error


def _report_undeclared(state: Lowering, names: Collection[str], stage: Stage, linter: Linter) -> None:
    if not names:
        return
    known = dict.fromkeys((*state.global_infos, *state.meta_args))
    for name in names:
        if name in known:
            continue
        message = f"FROM argument '{name}' is not declared"
        match = nearest(name, known)
        if match:
            message += f" (did you mean {match}?)"
        linter.report("UndefinedArgInFrom", message, stage.lines)


def _report_redundant(state: Lowering, text: str, match: Expanded, stage: Stage, linter: Linter) -> None:
    if match.unmatched or match.matched != {"TARGETPLATFORM"}:
        return
    if match.result == state.meta_args.get("TARGETPLATFORM", ""):
        message = f"Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
        linter.report("RedundantTargetPlatform", message, stage.lines)


def _report_constant(match: Expanded, stage: Stage, linter: Linter) -> None:
    """A stage named after a platform may say which one."""
    if match.matched or match.unmatched:
        return
    try:
        platform = platforms.parse(match.result)
    except InvalidPlatform:
        return
    if platform.os in stage.name or platform.architecture in stage.name:
        return
    message = f"FROM --platform flag should not use constant value {quote(match.result)}"
    linter.report("FromPlatformFlagConstDisallowed", message, stage.lines)


def find_target(state: Lowering) -> StageState:
    """The stage to build.

    Raises:
        CompileError: no stage has the name that was asked for.
    """
    name = state.options.target
    if not name:
        return state.table.stages[-1]
    stage = state.table.by_name(name)
    if stage is None:
        message = f"target stage {quote(name)} could not be found"
        suggestion = nearest(name, state.table.names())
        if suggestion:
            message += f" (did you mean {suggestion}?)"
        raise CompileError(message, fault=Fault("unknown-target"), suggestion=suggestion)
    return stage


# --- who reads whom -----------------------------------------------------------------------------------


def link_stages(state: Lowering) -> None:
    """Tie every instruction to the stages it reads, and refuse circles.

    Raises:
        CompileError: a stage number that does not exist, variables in `--from`, a circle.
    """
    for stage in list(state.table.stages):
        for instruction in stage.instructions:
            _add_step(state, stage, _step(state, instruction, instruction.lines), stage.steps)
    check_cycles(state.table.stages)
    if len(state.table.stages) == 1:
        state.table.stages[0].shown_name = ""


def _add_step(state: Lowering, stage: StageState, step: Step, steps: list[Step]) -> None:
    steps.append(step)
    for source in step.sources:
        stage.depends[source] = step.instruction
        if not source.registered:
            state.table.add(source)


def _step(state: Lowering, instruction: Instruction, lines: Lines, *, on_build: bool = False) -> Step:
    sources: tuple[StageState, ...] = ()
    if isinstance(instruction, Copy) and instruction.from_.text:
        sources = (_copy_source(state, instruction.from_, lines),)
    elif isinstance(instruction, Run) and instruction.mounts:
        sources = tuple(_mount_source(state, mount) for mount in instruction.mounts)
    return Step(instruction, lines, sources, on_build=on_build)


def _copy_source(state: Lowering, word: Word, lines: Lines) -> StageState:
    name = word.text
    try:
        fixed = state.lex.word(name, {}) == name
    except WordError as error:
        raise CompileError(error.message, fault=word_fault(error, state.lex, word)) from None
    if not fixed:
        raise CompileError(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global "
            "scope as a workaround",
            fault=Fault("variable-in-from/copy", word),
        )
    try:
        index = parse_int(name)
    except NumberError:
        return state.table.by_name(name) or StageState(name, lines, words=word)
    return state.table.by_index(index, word)


def _mount_source(state: Lowering, mount: Word) -> StageState:
    name = parse_mount(mount, None).from_ or SCRATCH
    return state.table.by_name(name) or StageState(name, NOWHERE, words=mount, part=option_part(mount, "from"))


# --- bases and triggers -------------------------------------------------------------------------------


def resolve_stages(state: Lowering, target: StageState) -> Asking[set[StageState]]:
    """Find the bases of all stages that the target needs, and read the triggers that come with them.

    Triggers may read further stages and images, so this goes on until nothing new turns up.

    Raises:
        CompileError: a base that cannot be used, a trigger that is wrong.
        Unanswered: images that are not known yet.
    """
    while True:
        needed = reachable(target)
        yield from resolve(state, set(state.table.stages) if state.options.all_stages else set(needed))
        for stage in state.table.stages:
            if stage in needed:
                stage.inherit()
        # The reference goes through a map; this is the order in which it was filled.
        found = [_read_triggers(state, stage) for stage in needed]
        if not any(found):
            return set(needed)


def _follow(state: Lowering, stage: StageState, step: Step) -> None:
    """Refuse images whose triggers lead back to them, or to ever more images: the reference never ends there.

    Raises:
        CompileError: such an image.
    """
    for source in step.sources:
        if source.registered or source.base_name == SCRATCH:
            continue
        if source.base_name in stage.lineage:
            raise CompileError(
                f"ONBUILD triggers of image {source.base_name} lead back to it", fault=Fault("endless-triggers")
            )
        source.lineage = (*stage.lineage, source.base_name)
        state.trigger_images += len(source.lineage) > 1
        if state.trigger_images > _TRIGGER_IMAGES:
            raise CompileError(
                f"ONBUILD triggers lead to more than {_TRIGGER_IMAGES} further images", fault=Fault("endless-triggers")
            )


def _read_triggers(state: Lowering, stage: StageState) -> bool:
    """Put the triggers of the base before the stage's own steps; whether they read other stages."""
    triggers = list(stage.image.on_build)
    if stage.base is not None and not stage.triggers_read:
        instructions = [step.instruction for step in stage.base.steps]
        triggers += [each.expression for each in instructions if isinstance(each, Onbuild)]
        stage.triggers_read = True
    if not triggers:
        return False
    steps: list[Step] = []
    # The reference gives triggers of an image that is only mounted the line 0.
    lines = (0, 0) if stage.lines == NOWHERE else stage.lines
    try:
        for text in triggers:
            step = _step(state, parse_trigger(text), lines, on_build=True)
            for source in step.sources:
                if not source.registered:
                    source.words, source.part = stage.words, stage.part
            _follow(state, stage, step)
            _add_step(state, stage, step, steps)
    except CompileError as error:
        error.locations = (ranges(stage.lines),)
        error.fault = error.fault.at(stage.words, stage.part)  # the words of a trigger stand in no file
        raise
    stage.steps = steps + stage.steps
    stage.step_total += len(steps)
    stage.image.on_build = []
    return any(step.sources for step in steps)
