"""The library: stable names for programs that parse, compile and lint Dockerfiles themselves.

    >>> import dockc
    >>> dockc.parse("FROM scratch\\nCOPY a /a\\n").stages[0].instructions[0].name
    'COPY'
    >>> compiled = dockc.compile("FROM scratch\\nCOPY a /a\\n")
    >>> [meta.name for meta in compiled.definition.metadata.values() if meta.name]
    ['[internal] load build context', '[1/1] COPY a /a']
    >>> [finding.code for finding in dockc.lint("from scratch as A\\n")]
    ['StageNameCasing']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.compiler.compile import Compiled
    from dockc.compiler.questions import Answers, Request
    from dockc.compiler.syntax.ast import Dockerfile
    from dockc.grammar.source import Source
    from dockc.linter.finding import Finding
    from dockc.linter.options import LintOptions

__all__ = ["compile", "format", "lint", "parse"]


def _source(text: str | bytes | Source, name: str) -> Source:
    from dockc.grammar.source import Source

    if isinstance(text, Source):
        return text
    return Source.from_text(text, name) if isinstance(text, str) else Source(name, text)


def parse(text: str | bytes | Source, *, name: str = "Dockerfile") -> Dockerfile:
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


def compile(  # noqa: A001  the word for it
    text: str | bytes | Source,
    *,
    name: str = "Dockerfile",
    attrs: Mapping[str, str] | None = None,
    answers: Answers | None = None,
) -> Compiled:
    """Compile a Dockerfile to LLB and an image config; no I/O.

    Args:
        text: the file.
        name: what messages and the source map call it.
        attrs: frontend options as BuildKit takes them (`target`, `build-arg:NAME`, `platform`, ...).
        answers: what is known about base images and other sources.

    Raises:
        CompileError: the file is wrong (`SyntaxFailure` where it does not parse).
        Unanswered: something must be known first; its `requests` say what.
    """
    from dockc.compiler.compile import compiling
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers, ContextRequest, converse

    options = CompileOptions.from_attrs({"filename": name, **(attrs or {})})

    def ask(requests: tuple[Request, ...]) -> Answers:
        """Ignore files that nobody spoke of are not there; nothing else is known."""
        files = [r for r in requests if isinstance(r, ContextRequest)]
        return Answers(files={(r.name, file): None for r in files for file in r.files})

    return converse(compiling(_source(text, name), options, answers), ask)


def lint(text: str | bytes | Source, *, name: str = "Dockerfile", options: LintOptions | None = None) -> tuple[Finding, ...]:
    """All findings of lint in a Dockerfile, one that does not parse included."""
    from dockc.linter.runner import lint_source

    return lint_source(_source(text, name), options).findings


def format(text: str | bytes | Source, *, name: str = "Dockerfile") -> str:  # noqa: A001  the word for it
    """The Dockerfile in dockc's style; the same LLB comes of it."""
    from dockc.compiler.format import format_file
    from dockc.grammar.parser import parse as parse_source

    return format_file(parse_source(_source(text, name)).file)
