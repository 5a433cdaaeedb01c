"""The compiler's own river: text, CST, AST, IR, and on request LLB and image config.

    front = read(source)                              # text -> CST -> AST, findings and errors as data
    compiled = compile(front, options, answers)       # AST -> IR -> (lazily) LLB, image config
    lint(front, options, answers)                     # what the checks say, whether it compiles or not
    outline(front, options, answers)                  # what can be set
    targets(front)                                    # what can be built

`compile`, `lint` and `outline` raise `questions.Unanswered` where something is not known. `compiling`, `linting` and
`outlining` are the conversations behind them, which ask instead; see `questions`.
"""

from __future__ import annotations

from dockc.compiler.checks import Linter, check_directive, parse_check_options
from dockc.compiler.lower import lower
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, converse
from dockc.compiler.syntax.build_ast import build_ast
from dockc.errors import CompileError, Fault
from dockc.grammar.parser import parse
from dockc.grammar.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from dockc.compiler.checks import Warning
    from dockc.compiler.image.config import ImageConfig
    from dockc.compiler.ir.module import Module
    from dockc.compiler.ir.ops import Value
    from dockc.compiler.lower import Lowered
    from dockc.compiler.questions import Asking
    from dockc.compiler.syntax.ast import Dockerfile
    from dockc.compiler.syntax.build_ast import AstResult
    from dockc.golang.times import Time
    from dockc.grammar.parser import Lines, Parsed
    from dockc.llb.definition import Definition
    from dockc.oci.platform import Platform

EMPTY_FILE = "the Dockerfile cannot be empty"


class Front:
    """A file that is read: its lossless tree and, if it is right, its abstract one, each made when first asked for.

    Formatting needs no abstract tree, and hadolint's profile neither, unless hadolint could not read the file.
    """

    __slots__ = ("_parsed", "_result", "source")

    def __init__(self, source: Source, parsed: Parsed | None = None, result: AstResult | None = None) -> None:
        self.source: Final = source
        self._parsed = parsed
        self._result = result

    @property
    def parsed(self) -> Parsed:
        """CST and diagnostics."""
        if self._parsed is None:
            self._parsed = parse(self.source)
        return self._parsed

    @property
    def result(self) -> AstResult:
        """AST, the facts found on the way, and the first error."""
        if self._result is None:
            self._result = build_ast(self.parsed)
        return self._result


def read(source: Source | Front, lines: Lines | None = None) -> Front:
    """A file to be parsed. Bad input is data here, not an error. `lines` has what an earlier run has read."""
    if isinstance(source, Front):
        return source
    return Front(source, None if lines is None else parse(source, lines))


class Compiled:
    """A compiled file; every form on the way can be looked at.

    Attributes:
        front: text, CST and AST.
        module: the IR; a pass pipeline may put another one in its place (`with_module`).
        image: the image config; base_image: that of the base image, or None.
        warnings: what the checks found, in order.
        epoch: the time that everything made gets, or None.
        platform: what was built for.
        extras: further file systems to scan for an SBOM.
        ignore_cache: the target runs without the cache.
        target: name of the target stage, or "".
    """

    __slots__ = (
        "_definition",
        "base_image",
        "epoch",
        "extras",
        "front",
        "ignore_cache",
        "image",
        "module",
        "platform",
        "target",
        "warnings",
    )

    def __init__(self, front: Front, module: Module, lowered: Lowered, warnings: tuple[Warning, ...]) -> None:
        self.front: Final = front
        self.module: Final = module
        self.image: Final[ImageConfig] = lowered.image
        self.base_image: Final[ImageConfig | None] = lowered.base_image
        self.warnings: Final = warnings
        self.epoch: Final[Time | None] = lowered.epoch
        self.platform: Final[Platform] = module.platform
        self.extras: Final[dict[str, Value | None]] = lowered.extras
        self.ignore_cache: Final = lowered.ignore_cache
        self.target: Final = lowered.target.name
        self._definition: Definition | None = None

    def __repr__(self) -> str:
        return f"<Compiled {self.front.source.name} for {self.platform}>"

    @property
    def dockerfile(self) -> Dockerfile:
        """The AST."""
        dockerfile = self.front.result.dockerfile
        if dockerfile is None:
            raise CompileError(EMPTY_FILE, fault=Fault("empty-file"))
        return dockerfile

    @property
    def definition(self) -> Definition:
        """The LLB, made when first asked for.

        Raises:
            CompileError: a name or value holds bytes that are no UTF-8, which the wire format has no place for.
        """
        if self._definition is None:
            from dockc.compiler.emit import emit

            self._definition = _writable(emit(self.module))
        return self._definition

    @property
    def image_json(self) -> bytes:
        """The exact bytes of the image config."""
        return self.image.marshal()

    def extra_definition(self, name: str) -> Definition:
        """The LLB of one of `extras`."""
        from dockc.compiler.emit import emit
        from dockc.compiler.ir.module import Module

        return emit(Module({"": self.extras[name]}, self.platform))

    def with_module(self, module: Module) -> Compiled:
        """The same with another graph, as passes leave it."""
        other = Compiled.__new__(Compiled)
        for slot in Compiled.__slots__:
            object.__setattr__(other, slot, getattr(self, slot))
        other.module = module  # type: ignore[misc]
        other._definition = None  # noqa: SLF001  one of us
        return other


def _writable(definition: Definition) -> Definition:
    """The definition, once it is sure that what is said about its operations can be written."""
    for metadata in definition.metadata.values():
        for text in metadata.description.values():
            if not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise CompileError("string field contains invalid UTF-8", fault=Fault("not-utf8")) from None
    return definition


def compile(  # noqa: A001 - the word for it
    source: Source | Front,
    options: CompileOptions | None = None,
    answers: Answers | None = None,
    *,
    warnings: list[Warning] | None = None,
) -> Compiled:
    """Compile a file for one platform.

    Args:
        source: the file, read or not.
        options: everything else that decides the result.
        answers: what is known about the world.
        warnings: findings of the checks are added here too, also when compiling fails.

    Raises:
        CompileError: the file is wrong (`SyntaxFailure` if it does not parse).
        Unanswered: something must be known first.
    """
    return converse(compiling(source, options, answers, warnings=warnings))


def compiling(
    source: Source | Front,
    options: CompileOptions | None = None,
    answers: Answers | None = None,
    *,
    warnings: list[Warning] | None = None,
) -> Asking[Compiled]:
    """`compile` as a conversation: what `answers` lack is asked for.

    Raises:
        CompileError: the file is wrong (`SyntaxFailure` if it does not parse).
        Unanswered: an answer was left out.
    """
    front = read(source)
    found: list[Warning] = [] if warnings is None else warnings
    lowered = yield from _lower(front, options or CompileOptions(), answers or Answers(), found)
    module = lowered.module
    if lowered.invalid:
        for op in module.ops():
            if op in lowered.invalid:
                raise lowered.invalid[op]
    lowered.image.check("failed to marshal image config: ")
    if lowered.base_image is not None:
        lowered.base_image.check()
    return Compiled(front, module, lowered, tuple(found))


class LintResult:
    """What the checks say about a file, and the error that would end its compilation, if any."""

    __slots__ = ("error", "warnings")

    def __init__(self, warnings: tuple[Warning, ...], error: CompileError | None) -> None:
        self.warnings: Final = warnings
        self.error: Final = error


def lint(source: Source | Front, options: CompileOptions | None = None, answers: Answers | None = None) -> LintResult:
    """Run the checks, over all stages where no target is asked for.

    Raises:
        Unanswered: something must be known first.
    """
    return converse(linting(source, options, answers))


def linting(
    source: Source | Front, options: CompileOptions | None = None, answers: Answers | None = None
) -> Asking[LintResult]:
    """`lint` as a conversation: what `answers` lack is asked for.

    Raises:
        Unanswered: an answer was left out.
    """
    options = (options or CompileOptions()).with_all_stages()
    warnings: list[Warning] = []
    try:
        yield from _lower(read(source), options, answers or Answers(), warnings)
    except CompileError as error:
        return LintResult(tuple(warnings), error)
    return LintResult(tuple(warnings), None)


def outline(
    source: Source | Front, options: CompileOptions | None = None, answers: Answers | None = None
) -> dict[str, Any]:
    """ARGs, secrets and ssh agents that the target knows, in the form of a `frontend.outline` result.

    Raises:
        CompileError: the file is wrong.
        Unanswered: something must be known first.
    """
    return converse(outlining(source, options, answers))


def outlining(
    source: Source | Front, options: CompileOptions | None = None, answers: Answers | None = None
) -> Asking[dict[str, Any]]:
    """`outline` as a conversation: what `answers` lack is asked for.

    Raises:
        CompileError: the file is wrong.
        Unanswered: an answer was left out.
    """
    lowered = yield from _lower(read(source), options or CompileOptions(), answers or Answers(), None)
    from dockc.compiler import outline as outlines

    return outlines.outline(lowered.target)


def targets(source: Source | Front) -> list[dict[str, Any]] | None:
    """All stages that can be built, in the form of a `frontend.targets` result.

    Raises:
        CompileError: the file is wrong.
    """
    from dockc.compiler import outline as outlines

    return outlines.targets(_dockerfile(read(source)))


def _dockerfile(front: Front) -> Dockerfile:
    result = front.result
    if result.dockerfile is None:
        raise result.error or CompileError(EMPTY_FILE, fault=Fault("empty-file"))
    return result.dockerfile


def _lower(front: Front, options: CompileOptions, answers: Answers, warnings: list[Warning] | None) -> Asking[Lowered]:
    """From the AST to the IR; without a list for them the checks are off."""
    if not front.source.data:
        raise CompileError(EMPTY_FILE, fault=Fault("empty-file"))
    directive = None if options.lint else check_directive(front.source.text)
    try:
        config = options.lint or parse_check_options("" if directive is None else directive.text, directive)
    except CompileError as error:
        raise CompileError(f"failed to parse check options: {error.message}", fault=error.fault) from None
    linter = Linter(config, warnings, directive)
    for fact in front.result.warnings:
        linter.within(fact.comments).report(fact.rule, fact.message, fact.lines)
    return (yield from lower(_dockerfile(front), options, answers, linter))
