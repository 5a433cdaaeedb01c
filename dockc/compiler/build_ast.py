"""CST to AST, with the reference's own messages.

Interface:

    result = build_ast(parse(source))          # never raises for bad input
    result.dockerfile                          # Dockerfile, or None where result.error is set
    result.warnings                            # facts found up to the error, in emission order
    result.error                               # errors.SyntaxFailure with locations, or None
    build_ast_or_raise(parsed) -> Dockerfile   # the same, raising result.error
    parse_trigger(text) -> Instruction         # one instruction of an ONBUILD trigger; raises SyntaxFailure
"""

from __future__ import annotations

from dataclasses import dataclass

from dockc.compiler.ast import Dockerfile, LintFact
from dockc.errors import SyntaxFailure


@dataclass(frozen=True, slots=True)
class AstResult:
    """What became of a file: a tree or the first error, and the warnings found on the way."""

    dockerfile: Dockerfile | None
    warnings: tuple[LintFact, ...]
    error: SyntaxFailure | None
