"""What all parts of lowering share: the file, the options, the answers, the builder, and the variables of the file."""

from __future__ import annotations

from dockc.compiler.image.config import NO_SUCH_YEAR, NO_SUCH_ZONE, ImageConfig
from dockc.compiler.ir.ops import Location, OpMeta, SourceMap
from dockc.compiler.lower.scope import ranges
from dockc.compiler.lower.stages import StageTable
from dockc.compiler.questions import ContextRequest, Unanswered
from dockc.errors import CompileError
from dockc.grammar.word import Lex
from dockc.llb import sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from dockc.compiler.checks import Linter
    from dockc.compiler.ir.module import Builder
    from dockc.compiler.ir.ops import Hole, Op, ProxyEnv, Value
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.notes import ArgInfo
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, Asking, ImageAnswer, ImageRequest, Request
    from dockc.compiler.syntax.ast import Dockerfile
    from dockc.golang.times import Time
    from dockc.grammar.globs import PatternMatcher
    from dockc.oci.platform import Platform

    Lines = tuple[int, int]

EPOCH = "SOURCE_DATE_EPOCH"
DOCKERFILE_LANGUAGE = "Dockerfile"
_FIRST_SECOND = -62167219200
_LAST_SECOND = 253402300799
_DAY = 24 * 60  # minutes


class Observer:
    """Is shown every stage before and after each of its steps; changes nothing. For explanations."""

    def before(self, stage: StageState, step: Step) -> None:
        """A step is about to be lowered."""

    def after(self, stage: StageState, step: Step) -> None:
        """A step has been lowered."""


class Lowering:
    """The state of one compilation.

    Mutable: `answers` until all stages have their bases, `meta_args` and `build_args` until the epoch is known,
    `table` until all triggers are read, `linter`'s findings, and `pending` (holes with the stage that says which
    paths are used).

    Attributes:
        target: platform to build for; build_platforms: those of the builder.
        implicit_target: no platform was asked for: the base image may decide.
        lex: expands words of this file.
        meta_args: ARGs before the first FROM.
        global_infos: what an outline says about them.
        epoch: the time that everything made gets, or None; `created` is the same as text.
        proxy: proxy settings for every RUN, or None.
        context: the build context; known in full after all stages are lowered.
        ignore: patterns of .dockerignore, or None.
        invalid: operations that cannot be written out, and the error: raised only if something needs them.
        groups: number of progress groups so far.
        trigger_images: number of images that triggers of other images read.
        observer: is told of every step, or None.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        options: CompileOptions,
        answers: Answers,
        linter: Linter,
        builder: Builder,
    ) -> None:
        self.dockerfile: Final = dockerfile
        self.options: Final = options
        self.answers = answers
        self.linter: Final = linter
        self.builder: Final = builder
        self.target: Platform = builder.platform
        self.build_platforms = options.builders
        self.implicit_target = options.target_platform is None
        self.lex = Lex(dockerfile.escape)
        self.heredoc_lex = Lex("\\", skip_process_quotes=True)
        self.name_lex = Lex(dockerfile.escape, raw_quotes=True, skip_unset_env=True)
        self.build_args = dict(options.build_args)
        self.meta_args: dict[str, str] = {}
        self.global_infos: dict[str, ArgInfo] = {}
        self.epoch: Time | None = None
        self._created = ""
        self.proxy: ProxyEnv | None = None
        self.table = StageTable()
        self.context: Hole = builder.hole("build context")
        self.ignore: PatternMatcher | None = None
        self.source_map: SourceMap | None = None
        self.pending: list[tuple[Hole, StageState, LocalSource]] = []
        self.invalid: dict[Op, CompileError] = {}
        self.groups = 0
        self.trigger_images = 0
        self.observer: Observer | None = None
        self._wanted: list[Request] = []
        self._images: dict[bytes, ImageConfig] = {}

    @property
    def created(self) -> str:
        """The epoch as history entries carry it, "" without one."""
        return self._created

    def set_epoch(self, epoch: Time | None) -> None:
        """Say which time everything made gets; one that an image config cannot hold matters once a step is written."""
        self.epoch = epoch
        self._created = ""
        if epoch is not None:
            if not _FIRST_SECOND <= epoch.seconds + epoch.offset * 60 <= _LAST_SECOND:
                self._created = NO_SUCH_YEAR
            elif abs(epoch.offset) >= _DAY:
                self._created = NO_SUCH_ZONE
            else:
                self._created = str(epoch)

    @property
    def timestamp(self) -> int:
        """The epoch in nanoseconds, -1 without one; 64 bits, as the wire has it."""
        if self.epoch is None:
            return -1
        nanoseconds = self.epoch.seconds * 1_000_000_000 + self.epoch.nanos
        return (nanoseconds + (1 << 63)) % (1 << 64) - (1 << 63)

    # --- answers --------------------------------------------------------------------------------------

    def want(self, request: Request) -> bool:
        """Whether the request is answered; if not, `barrier` will ask for it."""
        if self.answers.has(request):
            return True
        self._wanted.append(request)
        return False

    def barrier(self) -> Asking[bool]:
        """Ask for everything that was wanted so far, all at once, and go on when it is answered.

        Returns:
            Whether there was anything to ask.

        Raises:
            Unanswered: an answer was left out.
        """
        if not self._wanted:
            return False
        requests = tuple(dict.fromkeys(self._wanted))
        self._wanted = []
        self.answers = self.answers.merged((yield requests))
        if left := [request for request in requests if not self.answers.has(request)]:
            raise Unanswered(left)
        return True

    def image(self, request: ImageRequest) -> ImageAnswer:
        """The answer for an image that was asked for.

        Raises:
            Unanswered: it was not.
        """
        if request.key not in self.answers.images:
            raise Unanswered([request])
        return self.answers.images[request.key]

    def image_config(self, data: bytes) -> ImageConfig:
        """A config of its own, read from `data`.

        Raises:
            CompileError: the config is broken.
        """
        found = self._images.get(data)
        if found is None:
            found = self._images[data] = ImageConfig.parse(data)
        return found.clone()

    def file(self, name: str, path: str) -> bytes | None:
        """A file of a local source, None if it is not there.

        Raises:
            Unanswered: it was not asked for.
        """
        if (name, path) not in self.answers.files:
            raise Unanswered([ContextRequest(name, (path,))])
        return self.answers.files[name, path]

    # --- places ---------------------------------------------------------------------------------------

    def locations(self, lines: Lines) -> tuple[Location, ...]:
        """Where an operation is written, each line a range of its own."""
        if self.source_map is None:
            return ()
        return (Location(self.source_map, tuple((first, 0, last, 0) for first, last in ranges(lines))),)


class LocalSource:
    """A local source whose wanted paths are not known yet."""

    __slots__ = ("exclude", "name", "session", "shared_key_hint", "shown_name")

    def __init__(self, name: str, session: str, shared_key_hint: str, exclude: list[str], shown_name: str) -> None:
        self.name: Final = name
        self.session: Final = session
        self.shared_key_hint: Final = shared_key_hint
        self.exclude: Final = exclude
        self.shown_name: Final = shown_name

    def value(self, builder: Builder, used: set[str]) -> Value:
        """The source, cut down to the paths that are used."""
        spec = sources.local(
            self.name,
            session=self.session,
            exclude=self.exclude,
            follow=follow_paths(used),
            shared_key_hint=self.shared_key_hint,
        )
        return builder.source(spec, meta=OpMeta(self.shown_name))


def follow_paths(used: set[str]) -> list[str]:
    """The paths as a local source wants them; the whole source is []."""
    if "/" in used:
        return []
    return sorted(path.removeprefix("/") for path in used)


def command_meta(code: str) -> dict[str, str]:
    """The description that carries the instruction as written."""
    return {"com.docker.dockerfile.v1.command": code}


def internal_name(text: str) -> str:
    """The name of a step that the user did not write."""
    return f"[internal] {text}"
