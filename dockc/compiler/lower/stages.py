"""The table of stages: what is known of each while a file is lowered, who needs whom, and what can be reached.

Besides the stages of the file, the table holds one entry for every image that is read without a FROM (`COPY
--from=image`, `RUN --mount=from=image`).
"""

from __future__ import annotations

from dockc.compiler.image.config import ImageConfig
from dockc.compiler.lower.scope import located
from dockc.compiler.notes import Capture
from dockc.errors import CompileError, Fault
from dockc.golang.strings import lower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from dockc.compiler.ir.ops import Value
    from dockc.compiler.syntax.ast import Instruction, Stage, Word
    from dockc.oci.platform import Platform

    Lines = tuple[int, int]

SCRATCH = "scratch"


class NamedContext:
    """A `context:NAME` option that was asked for.

    Attributes:
        spec: its value, `docker-image://alpine` and the like.
        name: the name in short form; full_name: with `::platform` where the option has it.
        platform: the platform it was asked for, or None.
    """

    __slots__ = ("full_name", "name", "platform", "spec")

    def __init__(self, spec: str, name: str, full_name: str, platform: Platform | None) -> None:
        self.spec: Final = spec
        self.name: Final = name
        self.full_name: Final = full_name
        self.platform: Final = platform


class Step:
    """An instruction of a stage, with the stages it reads from.

    Attributes:
        instruction: what was written.
        lines: where errors about it are reported; a trigger has the lines of its FROM.
        sources: for COPY --from one stage; for RUN one per mount.
        on_build: it came out of an ONBUILD trigger.
    """

    __slots__ = ("instruction", "lines", "on_build", "sources")

    def __init__(
        self,
        instruction: Instruction,
        lines: Lines,
        sources: tuple[StageState, ...] = (),
        *,
        on_build: bool = False,
    ) -> None:
        self.instruction: Final = instruction
        self.lines: Final = lines
        self.sources: Final = sources
        self.on_build: Final = on_build


class StageState:
    """One stage while it is lowered. The fields are filled in the order in which they stand here.

    Attributes:
        name: name given by AS, lower case, or "".
        shown_name: what progress names show, `stage-0` for a stage without a name, "" for the only stage.
        description: doc comment of the stage.
        base_name: the base, variables expanded; later the full reference.
        words, part: what names the base or image in the file, and which part of these words; None for all of them.
        lines: lines of FROM, or of the instruction that reads an image; `NOWHERE` where the reference has none.
        instructions: as written; none for an image.
        registered: False for an image that is read without FROM.
        lineage: for such an image, the names by which triggers of one image led to the next, its own last.
        platform: the platform it is for, None until known.
        named_context: the named context that takes the stage's place, or None.
        base: the stage it is built on, or None.
        image: its config so far; base_image: the config it started with, or None.
        value: its file system so far; None is empty.
        env, directory, user, hostname, exec_platform, network: what a process started now would see.
        depends: stages it reads, with the instruction that does.
        steps: the instructions, triggers first.
        build_args: ARGs declared so far: name, value.
        scan_args: values of the ARGs that ask for an SBOM scan.
        context_paths: paths used of the build context.
        used_paths: paths used of this stage by others; stages built on each other share one set.
        step_index, step_total: for progress names.
    """

    __slots__ = (
        "base",
        "base_image",
        "base_name",
        "build_args",
        "cmd_lines",
        "context_paths",
        "depends",
        "description",
        "directory",
        "dispatched",
        "entrypoint_lines",
        "env",
        "exec_platform",
        "from_code",
        "healthcheck_lines",
        "hostname",
        "ignore_cache",
        "image",
        "instructions",
        "lineage",
        "lines",
        "name",
        "named_context",
        "network",
        "on_build",
        "outline",
        "part",
        "platform",
        "registered",
        "resolved",
        "scan_args",
        "scan_context",
        "scan_stage",
        "shown_name",
        "step_index",
        "step_total",
        "steps",
        "triggers_read",
        "used_paths",
        "user",
        "value",
        "words",
        "workdir_set",
    )

    def __init__(
        self,
        base_name: str,
        lines: Lines,
        stage: Stage | None = None,
        words: Word | None = None,
        part: tuple[int, int] | None = None,
    ) -> None:
        self.name = stage.name if stage else ""
        self.shown_name = self.name
        self.description = stage.doc_comment if stage else ""
        self.from_code = stage.code if stage else ""
        self.base_name = base_name
        self.lines = lines
        self.words = words
        self.part = part
        self.instructions: tuple[Instruction, ...] = stage.instructions if stage else ()
        self.registered = stage is not None
        self.lineage: tuple[str, ...] = ()
        self.platform: Platform | None = None
        self.named_context: NamedContext | None = None
        self.base: StageState | None = None
        self.image = ImageConfig()
        self.base_image: ImageConfig | None = None
        self.value: Value | None = None
        self.env: dict[str, str] = {}
        self.directory = "/"
        self.user = ""
        self.hostname = ""
        self.exec_platform: Platform | None = None
        self.network = 0
        self.depends: dict[StageState, Instruction] = {}
        self.steps: list[Step] = []
        self.build_args: dict[str, str | None] = {}
        self.scan_args: dict[str, str] = {}
        self.context_paths: set[str] = set()
        self.used_paths: set[str] = set()
        self.step_index = 0
        self.step_total = 0
        self.on_build = False
        self.ignore_cache = False
        self.resolved = False
        self.dispatched = False
        self.triggers_read = False
        self.scan_stage = False
        self.scan_context = False
        self.workdir_set = False
        self.cmd_lines: Lines | None = None
        self.entrypoint_lines: Lines | None = None
        self.healthcheck_lines: Lines | None = None
        self.outline = Capture()

    def inherit(self) -> None:
        """Start from what the base has become; a stage with a base of its own stays as it is."""
        base = self.base
        if base is None:
            return
        self.value = base.value
        self.env = base.env.copy()
        self.directory = base.directory
        self.user = base.user
        self.hostname = base.hostname
        self.exec_platform = base.exec_platform
        self.network = base.network
        self.platform = base.platform
        self.image = base.image.clone()
        # Triggers fire in the next build only, not in the one after that.
        self.image.on_build = []
        self.base_image = base.base_image
        self.used_paths = base.used_paths
        self.workdir_set = base.workdir_set
        self.build_args = self.build_args | base.build_args
        self.scan_args = base.scan_args.copy()

    @property
    def system(self) -> str:
        """The operating system it is for, "" where nothing says so."""
        return self.platform.os if self.platform is not None else ""


class StageTable:
    """All stages, by number and by name."""

    def __init__(self) -> None:
        self.stages: list[StageState] = []
        self._by_name: dict[str, StageState] = {}

    def add(self, stage: StageState) -> None:
        """Register a stage; its base is an earlier stage of that name, if there is one."""
        self.stages.append(stage)
        base = self._by_name.get(stage.base_name)
        if base is not None:
            stage.base = base
            stage.outline = base.outline.clone()
        if stage.name:
            self._by_name[stage.name] = stage

    def by_name(self, name: str) -> StageState | None:
        """The last stage of that name, in any case."""
        return self._by_name.get(lower(name))

    def by_index(self, index: int, word: Word) -> StageState:
        """The stage of that number, which `word` asks for.

        Raises:
            CompileError: there is none.
        """
        if not 0 <= index < len(self.stages):
            raise CompileError(f"invalid stage index {index}", fault=Fault("unknown-stage", word))
        return self.stages[index]

    def names(self) -> list[str]:
        """The names that progress shows."""
        return [stage.shown_name for stage in self.stages if stage.shown_name]


def reachable(target: StageState) -> dict[StageState, None]:
    """The stages that the target needs: itself first, and after each stage its base and what it reads."""
    found: dict[StageState, None] = {}
    pending = [target]
    while pending:
        stage = pending.pop()
        if stage not in found:
            found[stage] = None
            pending += reversed(stage.depends)
            if stage.base is not None:
                pending.append(stage.base)
    return found


def reading_words(instruction: Instruction, name: str) -> tuple[Word, tuple[int, int] | None]:
    """The words by which an instruction reads a stage, and which part of them; else the whole instruction."""
    from dockc.compiler.syntax.ast import Copy, Run
    from dockc.compiler.syntax.mounts import option_part

    if isinstance(instruction, Copy) and instruction.from_.text:
        return instruction.from_, None
    for mount in instruction.mounts if isinstance(instruction, Run) else ():
        part = option_part(mount, "from")
        if part is not None and mount.text[part[0] : part[1]] == name:
            return mount, part
    return instruction.words, None


def check_cycles(stages: list[StageState]) -> None:
    """Refuse stages that read each other.

    Raises:
        CompileError: naming the stage at which the search began, at the instructions that close the circle.
    """
    visited: set[StageState] = set()
    for root in stages:
        if root in visited or not root.depends:
            continue
        visited.add(root)
        path = [(root, iter(root.depends.items()))]
        trail: list[Instruction] = []
        on_path = {root}
        while path:
            stage, edges = path[-1]
            edge = next(edges, None)
            if edge is None:
                path.pop()
                on_path.discard(stage)
                if trail:
                    trail.pop()
                continue
            other, instruction = edge
            if other in on_path:
                steps = (*trail, instruction)
                message = f"circular dependency detected on stage: {root.shown_name}"
                error = CompileError(message, fault=Fault("circular-stages", *reading_words(steps[0], root.shown_name)))
                for step in steps:
                    located(error, step.lines)
                raise error
            if other not in visited:
                visited.add(other)
                on_path.add(other)
                trail.append(instruction)
                path.append((other, iter(other.depends.items())))
