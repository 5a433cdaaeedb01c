"""The library: stable names for programs that parse, lint, compile and explain Dockerfiles themselves.

>>> import dockc
>>> dockc.parse("FROM scratch\\nCOPY a /a\\n").stages[0].instructions[0].name
'COPY'
>>> compiled = dockc.compile("FROM scratch\\nCOPY a /a\\n")
>>> [meta.name for meta in compiled.definition.metadata.values() if meta.name]
['[internal] load build context', '[1/1] COPY a /a']
>>> [finding.code for finding in dockc.lint("from scratch as A\\n")]
['StageNameCasing']
>>> dockc.fix("FROM scratch AS A\\nCOPY a /a\\n").text
'FROM scratch AS a\\nCOPY a /a\\n'
>>> dockc.explain("FROM alpine:3\\nRUN make\\n", 2).reports[0].doc.keyword
'RUN'
>>> [node.label for node in dockc.graph("FROM alpine:3\\nRUN make\\n").nodes]
['FROM docker.io/library/alpine:3@sha256:9e42819a0aa0…', 'RUN make']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from dockc.base.record import Record

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from dockc.compiler.compile import Compiled
    from dockc.compiler.explain.context import Copied
    from dockc.compiler.explain.graph import Graph, Lane, Node
    from dockc.compiler.explain.line import Key, LineReport
    from dockc.compiler.explain.trace import Trace
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers as Answers
    from dockc.compiler.questions import Request
    from dockc.compiler.syntax.ast import Dockerfile
    from dockc.engine.engine import Engine as Engine
    from dockc.engine.engine import EngineOptions as EngineOptions
    from dockc.engine.request import Asked, BuildRequest
    from dockc.engine.request import Built as Built
    from dockc.grammar.source import Source
    from dockc.linter.finding import Finding
    from dockc.linter.fixes import Fixed
    from dockc.linter.options import LintOptions as LintOptions
    from dockc.runtime.session.base import Session
    from dockc.solver.progress import SolveStatus

    Text: TypeAlias = str | bytes | Source
    Known: TypeAlias = Answers | Literal["made-up"] | None

__all__ = [
    "BuildGraph", "Explanation", "build", "compile", "copies", "emit", "explain", "fix", "format", "graph", "lint", "optimize", "parse", "request",
]  # fmt: skip

MADE_UP: Literal["made-up"] = "made-up"
_IGNORE_FILE = ("context", ".dockerignore")


def __getattr__(name: str) -> object:
    if name == "Answers":
        from dockc.compiler.questions import Answers

        return Answers
    if name == "LintOptions":
        from dockc.linter.options import LintOptions

        return LintOptions
    if name in {"Engine", "EngineOptions"}:
        from dockc.engine import engine

        return getattr(engine, name)
    if name == "Built":
        from dockc.engine.request import Built

        return Built
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _source(text: Text, name: str) -> Source:
    from dockc.grammar.source import Source

    if isinstance(text, Source):
        return text
    if isinstance(text, str):
        return Source.from_text(text, name)
    if not isinstance(text, bytes | bytearray):  # a path or an open file, which people try first
        raise TypeError(
            f"the content of a Dockerfile is str or bytes, not {type(text).__name__}; Path.read_text() reads it"
        )
    return Source(name, bytes(text))


def parse(text: Text, *, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile to its AST.

    Args:
        text: the file.
        name: what messages call it.

    Raises:
        SyntaxFailure: it does not parse; the message and lines are BuildKit's.
    """
    from dockc.compiler.syntax.build_ast import build_ast_or_raise
    from dockc.grammar.parser import parse as parse_source

    return build_ast_or_raise(parse_source(_source(text, name)))


_SUPPLY = 'Give them as `answers`: what `dockc lock` wrote, by `dockc.Answers.load(text)`, or "made-up".'


def _asker(known: Known, ignore_file: bytes | None) -> tuple[Answers | None, Callable[[tuple[Request, ...]], Answers]]:
    """The answers there are, and who answers the rest: an ignore file that nobody spoke of is not there."""
    from dockc.compiler.questions import Answers, ContextRequest, Unanswered

    if isinstance(known, str) and known != MADE_UP:
        from dockc.errors import UsageError

        raise UsageError(f"answers are an Answers, {MADE_UP!r} or None, not {known!r}")

    def ask(requests: tuple[Request, ...]) -> Answers:
        files = [r for r in requests if isinstance(r, ContextRequest)]
        told = Answers(
            files={
                (r.name, file): ignore_file if (r.name, file) == _IGNORE_FILE else None
                for r in files
                for file in r.files
            }
        )
        if known != MADE_UP:
            if missing := [r for r in requests if not isinstance(r, ContextRequest)]:
                raise Unanswered(missing, hint=_SUPPLY)
            return told
        from dockc.compiler.imagine import made_up

        return told.merged(made_up(r for r in requests if not isinstance(r, ContextRequest)))

    return (None if isinstance(known, str) else known), ask


def _options(name: str, attrs: Mapping[str, str] | None) -> CompileOptions:
    from dockc.compiler.options import CompileOptions

    return CompileOptions.from_attrs({"filename": name, **(attrs or {})})


def compile(  # noqa: A001  the word for it
    text: Text,
    *,
    name: str = "Dockerfile",
    attrs: Mapping[str, str] | None = None,
    answers: Known = None,
    ignore_file: bytes | None = None,
) -> Compiled:
    """Compile a Dockerfile to LLB and an image config; no I/O.

    Args:
        text: the file.
        name: what messages and the source map call it.
        attrs: frontend options as BuildKit takes them (`target`, `build-arg:NAME`, `platform`, ...).
        answers: what is known about base images and other sources. `"made-up"` invents it: every base image has a
            `PATH` and
            nothing else, so the graph has the right shape and the digests are no real build's.
        ignore_file: the context's `.dockerignore`, or None where there is none.

    Raises:
        CompileError: the file is wrong (`SyntaxFailure` where it does not parse).
        Unanswered: something must be known first; its `requests` say what.
    """
    from dockc.compiler.compile import compiling
    from dockc.compiler.questions import converse

    given, ask = _asker(answers, ignore_file)
    return converse(compiling(_source(text, name), _options(name, attrs), given), ask)


def optimize(compiled: Compiled, *, level: int = 2, passes: str | None = None) -> Compiled:
    """The same compilation after the passes of a level, or those of a pipeline as `--passes` takes it.

    Raises:
        UsageError: an unknown level, pass or option.
    """
    from dockc.compiler.passes import pipeline

    return compiled.with_module(pipeline(level, passes).run(compiled.module))


def emit(compiled: Compiled, form: str = "llb") -> str:
    """A form of a compilation as text: `cst`, `ast`, `ir`, `llb`, `dot`, `json` or `image`.

    Raises:
        UsageError: another form.
    """
    from dockc.compiler.forms import TEXTS, render_compiled

    if form not in TEXTS:
        from dockc.errors import UsageError

        raise UsageError(f"unknown form {form}", hint=f"Choose one of {', '.join(TEXTS)}.")
    return render_compiled(compiled, form)


def lint(text: Text, *, name: str = "Dockerfile", options: LintOptions | None = None) -> tuple[Finding, ...]:
    """All findings of lint in a Dockerfile, one that does not parse included."""
    from dockc.linter.runner import lint_source

    return lint_source(_source(text, name), options).findings


def fix(text: Text, *, name: str = "Dockerfile", options: LintOptions | None = None, unsafe: bool = False) -> Fixed:
    """Apply the fixes of lint, each proven to leave the image as it is unless `unsafe` ones are asked for.

    Returns:
        the new `text`, the findings that were `applied`, the fixes that were `refused` with the reason, and the
        `report` of what is left.
    """
    from dockc.linter.fixes import fix_source

    return fix_source(_source(text, name), options, unsafe=unsafe)


def format(text: Text, *, name: str = "Dockerfile") -> str:  # noqa: A001  the word for it
    """The Dockerfile in dockc's style; the same LLB comes of it.

    Raises:
        SyntaxFailure: it does not parse.
    """
    from dockc.compiler.format import format_file
    from dockc.compiler.syntax.build_ast import build_ast
    from dockc.grammar.parser import parse as parse_source

    parsed = parse_source(_source(text, name))
    if (error := build_ast(parsed).error) is not None:
        raise error
    return format_file(parsed.file)


class Explanation(Record):
    """What a line of a Dockerfile does. As text it is what `dockc explain FILE:LINE` prints.

    Attributes:
        reports: one for each instruction on the line: the ONBUILD triggers of a base image come first.
        files: by key, the files of the context that it stands for; only where the files of the context were given.
        filename: of the Dockerfile.
        made_up: base images were made up.
    """

    reports: tuple[LineReport, ...]
    files: Mapping[Key, Sequence[str]]
    filename: str
    made_up: bool

    def __str__(self) -> str:
        from dockc.console.explain import line_text

        return "\n".join(line_text(report, self.filename, self.files, self.made_up) for report in self.reports)


def explain(
    text: Text,
    line: int,
    *,
    name: str = "Dockerfile",
    attrs: Mapping[str, str] | None = None,
    answers: Known = MADE_UP,
    ignore_file: bytes | None = None,
    context: Iterable[str] | None = None,
) -> Explanation:
    """What the instruction on a line does: its values, its cache key, what it adds to the image, its LLB.

    Args:
        text: the file.
        line: from 1.
        name: what messages call the file.
        attrs, answers, ignore_file: as for `compile`.
        context: paths of the files in the build context, relative, with slashes; they say what a COPY would find.

    Returns:
        no reports where the line holds no instruction.

    Raises:
        CompileError: the file is wrong.
        Unanswered: something must be known first.
    """
    from dockc.compiler.emit import digest
    from dockc.compiler.explain.line import explain_line

    reports = explain_line(_trace(text, name, attrs, answers, ignore_file, line), line, digest)
    files: dict[Key, Sequence[str]] = {}
    if context is not None:
        from dockc.compiler.explain.context import files_of

        there = tuple(context)
        files = {key: files_of(key, there) for report in reports for key in report.keys if key.source == "context"}
    return Explanation(reports, files, name, answers == MADE_UP)


def _trace(
    text: Text, name: str, attrs: Mapping[str, str] | None, answers: Known, ignore_file: bytes | None, line: int = 0
) -> Trace:
    from dockc.compiler.compile import read
    from dockc.compiler.explain.trace import trace
    from dockc.compiler.questions import converse

    given, ask = _asker(answers, ignore_file)
    return converse(trace(read(_source(text, name)), _options(name, attrs), line, given), ask)


def copies(
    text: Text,
    context: Iterable[str],
    *,
    name: str = "Dockerfile",
    attrs: Mapping[str, str] | None = None,
    answers: Known = MADE_UP,
    ignore_file: bytes | None = None,
) -> tuple[Copied, ...]:
    """Which files each COPY and ADD of the target takes from the build context: one entry for each source.

    Args:
        text: the file.
        context: paths of the files in the context, relative, with slashes.
        name: what messages call the file.
        attrs, answers, ignore_file: as for `compile`.

    Raises:
        CompileError: the file is wrong.
        Unanswered: something must be known first.
    """
    from dockc.compiler.explain.context import copies as copies_of

    compiled = compile(text, name=name, attrs=attrs, answers=answers, ignore_file=ignore_file)
    return tuple(copies_of(compiled.module, context))


class BuildGraph(Record):
    """The build graph of a Dockerfile.

    Attributes:
        data: stages and operations; `lanes` and `nodes` are its parts.
    """

    data: Graph

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The stages; the first is for sources that belong to none."""
        return self.data.lanes

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The operations, each after those it reads."""
        return self.data.nodes

    def render(self, form: str = "svg") -> str:
        """The graph as `svg`, `html` (a page), `mermaid`, `dot`, `json` or `text`.

        Raises:
            UsageError: another form.
        """
        from dockc.console.graph import FORMATS, render_graph

        if form not in FORMATS:
            from dockc.errors import UsageError

            raise UsageError(f"unknown format {form}", hint=f"Choose one of {', '.join(FORMATS)}.")
        return render_graph(self.data, form)


def graph(
    text: Text,
    *,
    name: str = "Dockerfile",
    attrs: Mapping[str, str] | None = None,
    answers: Known = MADE_UP,
    ignore_file: bytes | None = None,
) -> BuildGraph:
    """The build graph: stages as lanes, operations as nodes, who reads whom.

    Args:
        text: the file.
        name: what the picture calls it.
        attrs, answers, ignore_file: as for `compile`.

    Raises:
        CompileError: the file is wrong.
        Unanswered: something must be known first.
    """
    from dockc.compiler.emit import wire
    from dockc.compiler.explain.graph import make_graph

    source = _source(text, name)
    found = _trace(source, name, attrs, answers, ignore_file)
    return BuildGraph(make_graph(found, lambda op: wire(op)[0], source.text, name))


# --- build ----------------------------------------------------------------------------------------------


def build(
    context: str | os.PathLike[str] = ".",
    *,
    file: str | os.PathLike[str] = "",
    attrs: Mapping[str, str] | None = None,
    contexts: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    tags: Sequence[str] = (),
    secrets: Mapping[str, bytes] | None = None,
    ssh: Sequence[str] = (),
    allow: Iterable[str] = (),
    store: str | os.PathLike[str] | None = None,
    executor: str = "auto",
    offline: bool = False,
    progress: Callable[[SolveStatus], None] | None = None,
) -> Built:
    """Build an image, in a process of its own: this one's threads, signals and namespaces stay as they are.

    Args:
        context: a directory, or the URL of a git repository or archive.
        file: the Dockerfile; "" is the context's own, "-" standard input.
        attrs: frontend options as BuildKit takes them (`target`, `build-arg:NAME`, `platform`, ...).
        contexts: named contexts, as after `--build-context`.
        outputs: what to make, each as after `-o`; none keeps the image in the store.
        tags: image names.
        secrets: secrets for steps, by id.
        ssh: agents and keys, each as after `--ssh`.
        allow: entitlements (`network.host`, `security.insecure`).
        store: where layers, images and the cache live; None for the user's own store.
        executor: what runs steps: `auto`, `embedded`, `crun` or `runc`.
        offline: ask no registry.
        progress: called in this thread with what happens, and must not take long.

    Raises:
        FailedStep: a step failed (`dockc.engine.failure`).
        DockcError: anything else that can go wrong on purpose.
    """
    from dockc.engine import apart

    asked = _asked(context, file, attrs, contexts, outputs, tags, ssh, allow, store, executor, offline)
    return apart.build(asked, secrets or {}, progress or _unheard)


def request(
    context: str | os.PathLike[str] = ".",
    *,
    file: str | os.PathLike[str] = "",
    attrs: Mapping[str, str] | None = None,
    contexts: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    tags: Sequence[str] = (),
    secrets: Mapping[str, bytes] | None = None,
    ssh: Sequence[str] = (),
    allow: Iterable[str] = (),
    offline: bool = False,
) -> tuple[BuildRequest, Session]:
    """What `Engine.build` takes: what to build, as data, and what this process lends to it. Arguments as for `build`.

    Raises:
        UsageError: a directory, agent or output that there is not.
        DockcError: something that is named cannot be read.
    """
    from dockc.base.record import replace
    from dockc.engine.apart import HeldSecrets
    from dockc.engine.lend import lend

    made, session = lend(_asked(context, file, attrs, contexts, outputs, tags, ssh, allow, None, "auto", offline))
    return made, replace(session, secrets=HeldSecrets(secrets)) if secrets else session


def _asked(
    context: str | os.PathLike[str],
    file: str | os.PathLike[str],
    attrs: Mapping[str, str] | None,
    contexts: Mapping[str, str] | None,
    outputs: Sequence[str],
    tags: Sequence[str],
    ssh: Sequence[str],
    allow: Iterable[str],
    store: str | os.PathLike[str] | None,
    executor: str,
    offline: bool,
) -> Asked:
    import os
    from pathlib import Path

    from dockc.engine.request import Asked, CompileRequest
    from dockc.runtime.exporter.options import parse_output

    typed = CompileRequest(
        os.fspath(context),
        os.fspath(file),
        attrs=attrs,
        contexts=contexts,
        offline=offline,
        store=None if store is None else Path(store),
    )
    return Asked(
        compile=typed,
        outputs=tuple(map(parse_output, outputs)),
        names=tuple(tags),
        ssh=tuple(ssh),
        allow=frozenset(allow),
        executor=executor,
    )


def _unheard(status: SolveStatus) -> None:
    """Nobody listens."""
