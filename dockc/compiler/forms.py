"""The forms of a compilation as text, by the words of `dockc compile --emit`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.compile import Compiled, Front

TEXTS = ("cst", "ast", "ir", "llb", "dot", "json", "image")


def render_compiled(compiled: Compiled, form: str) -> str:
    """One of `TEXTS`."""
    match form:
        case "cst":
            return render_cst(compiled.front)
        case "ast":
            from dockc.compiler.syntax.dump import dump

            return dump(compiled.dockerfile)
        case "ir":
            from dockc.compiler.ir.printer import print_module

            return print_module(compiled.module)
        case "image":
            return compiled.image_json.decode("utf-8", "surrogateescape") + "\n"
        case _:
            from dockc.llb import text

            writers = {"llb": text.tree, "dot": text.dot, "json": text.json_lines}
            return writers[form](compiled.definition)


def render_cst(front: Front) -> str:
    """One line a piece: place, kind, text."""
    from dockc.grammar.cst import pieces

    lines = []
    for piece in pieces(front.parsed.file):
        at = front.source.position(piece.span.start)
        lines.append(f"{at.line}:{at.column + 1}\t{piece.kind}\t{piece.text!r}\n")
    return "".join(lines)
