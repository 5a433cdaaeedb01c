"""A compilation that is watched: what an instruction saw and what it left behind.

The trace is the ground of all explanations: nothing here computes again what lowering has decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record, replace
from dockc.compiler.checks import LintConfig, Linter
from dockc.compiler.compile import EMPTY_FILE, Front, compiling
from dockc.compiler.ir.module import Module
from dockc.compiler.lower import lower
from dockc.compiler.lower.context import Observer
from dockc.compiler.lower.scope import AUTOMATIC
from dockc.compiler.questions import Memory
from dockc.compiler.syntax.ast import Arg, Env
from dockc.errors import CompileError, Fault

if TYPE_CHECKING:
    from dockc.compiler.ir.ops import Op, Value
    from dockc.compiler.lower import Lowered
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, Asking
    from dockc.compiler.syntax.ast import Dockerfile, Instruction

Lines = tuple[int, int]


class Origin(Record):
    """Where a variable's value comes from.

    Attributes:
        kind: `arg`, `env` or `base` (the base image's own).
        line: of the instruction that set it, 0 for `base`.
        given: the value was given from outside (`--build-arg`).
        above: the line of the ARG before the first FROM whose value an ARG took, or 0.
        automatic: an ARG that took a value which every build has (`TARGETARCH` and the like).
    """

    kind: str
    line: int = 0
    given: bool = False
    above: int = 0
    automatic: bool = False


class Snapshot(Record, kw_only=True):
    """A stage at one moment.

    Attributes:
        env: variables that an instruction sees.
        origins: where they come from.
        config: the image config's `config` object.
        history: the history's entries as (text, whether it makes a layer).
        directory, user: what a process would start with.
        value: the file system.
    """

    env: Mapping[str, str]
    origins: Mapping[str, Origin]
    config: Mapping[str, Any]
    history: tuple[tuple[str, bool], ...]
    directory: str
    user: str
    value: Value | None


class Traced(Record):
    """One lowered instruction."""

    stage: StageState
    step: Step
    before: Snapshot
    after: Snapshot

    @property
    def instruction(self) -> Instruction:
        """What was written."""
        return self.step.instruction


class Trace(Record):
    """A watched compilation.

    Attributes:
        dockerfile: the AST.
        module: the graph that was looked at.
        lowered: all stages.
        steps: the instruction of the line that was asked for, its triggers before it.
        complete: the line belongs to what the target needs.
        options: what was compiled with.
    """

    dockerfile: Dockerfile
    module: Module
    lowered: Lowered
    steps: tuple[Traced, ...]
    complete: bool
    options: CompileOptions

    def ops_of(self, lines: Lines) -> tuple[Op, ...]:
        """Operations that are written on those lines."""
        return tuple(op for op in self.module.ops() if op_lines(op) == lines)


def op_lines(op: Op) -> Lines | None:
    """First and last line of the instruction that an operation comes from; None for what nobody wrote."""
    ranges = [r for location in op.meta.locations for r in location.ranges]
    return (min(r[0] for r in ranges), max(r[2] for r in ranges)) if ranges else None


def stage_index(dockerfile: Dockerfile, line: int) -> int:
    """The stage that a line stands in, -1 before the first FROM."""
    return sum(stage.lines[0] <= line for stage in dockerfile.stages) - 1


def trace(front: Front, options: CompileOptions, line: int = 0, answers: Answers | None = None) -> Asking[Trace]:
    """Compile a file for its target and watch the instruction on a line.

    A line of a stage that the target does not need is watched in a compilation of that stage.

    Args:
        front: the file.
        options: what to compile with; one target platform.
        line: the line to watch; 0 for none.
        answers: what is known already; the rest is asked for.

    Raises:
        CompileError: the file is wrong.
        Unanswered: an answer was left out.
    """
    memory = Memory(answers)
    yield from memory.heard(compiling(front, options, memory.answers))
    dockerfile = front.result.dockerfile
    if dockerfile is None:
        raise CompileError(EMPTY_FILE, fault=Fault("empty-file"))
    first = yield from _watch(dockerfile, options, memory, line)
    index = stage_index(dockerfile, line) if line else -1
    if index < 0 or first.lowered.stages[index].dispatched:
        return first
    other = replace(options, target="", all_stages=True)
    yield from memory.heard(compiling(front, other, memory.answers))
    second = yield from _watch(dockerfile, other, memory, line)
    value = second.lowered.stages[index].value
    return replace(second, module=Module({"": value}, second.module.platform), complete=False)


def _watch(dockerfile: Dockerfile, options: CompileOptions, memory: Memory, line: int) -> Asking[Trace]:
    above = {pair.key.text: arg.lines[0] for arg in dockerfile.meta_args for pair in arg.pairs}
    watcher = _Watcher(options.build_args, above, line)
    lowered = yield from lower(dockerfile, options, memory.answers, Linter(LintConfig(), None), watcher)
    return Trace(dockerfile, lowered.module, lowered, tuple(watcher.steps), True, options)


class _Watcher(Observer):
    """Follows the variables of all stages, and takes snapshots around the instruction on one line.

    Mutable: `steps`, and by stage the origins of its variables so far.
    """

    def __init__(self, given: Mapping[str, str], above: Mapping[str, int], line: int) -> None:
        self.given = given
        self.above = above
        self.line = line
        self.steps: list[Traced] = []
        self._origins: dict[StageState, dict[str, Origin]] = {}
        self._before: Snapshot | None = None

    def before(self, stage: StageState, step: Step) -> None:
        """Remember what the step sees."""
        self._before = self._snapshot(stage) if self._wanted(step) else None

    def after(self, stage: StageState, step: Step) -> None:
        """Note what it has set, and what it left behind."""
        instruction = step.instruction
        known = self._known(stage)
        if isinstance(instruction, Arg):
            for pair in instruction.pairs:
                name = pair.key.text
                given = name in self.given
                taken = not given and pair.value is None
                above = self.above.get(name, 0) if taken else 0
                known[name] = Origin("arg", step.lines[0], given, above, taken and not above and name in AUTOMATIC)
        elif isinstance(instruction, Env):
            count = len(instruction.pairs)
            for name in list(stage.env)[-count:]:  # the variables that were set last are last
                known[name] = Origin("env", step.lines[0])
        if self._before is not None:
            self.steps.append(Traced(stage, step, self._before, self._snapshot(stage)))

    def _wanted(self, step: Step) -> bool:
        return step.lines[0] <= self.line <= step.lines[1]

    def _known(self, stage: StageState) -> dict[str, Origin]:
        found = self._origins.get(stage)
        if found is None:
            below = self._origins.get(stage.base) if stage.base is not None else None
            found = self._origins[stage] = dict(below or {})
        return found

    def _snapshot(self, stage: StageState) -> Snapshot:
        image = stage.image
        known = self._known(stage)
        return Snapshot(
            env=dict(stage.env),
            origins={name: known.get(name, Origin("base")) for name in stage.env},
            config=deepcopy(image.to_json()["config"]),
            history=tuple((entry.created_by, not entry.empty_layer) for entry in image.history),
            directory=stage.directory,
            user=stage.user,
            value=stage.value,
        )
