"""Whether two Dockerfiles mean the same: what a formatter and a safe fix must prove before they are believed.

Two proofs. Equal trees: all that lowering reads, with places, spelling of keywords and layout left out. Equal LLB:
operations and image
config of every stage, compiled with the same made-up answers about base images. A fix that changes the tree on purpose
(an
instruction's flag, say) is proven by the second, or is not safe.
"""

from __future__ import annotations

from dockc.base.record import Record, fields_of
from dockc.compiler.compile import Front, compiling, read
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import converse
from dockc.compiler.syntax.ast import Dockerfile, Flag, Instruction, Word
from dockc.errors import CompileError
from dockc.grammar.source import Source
from dockc.oci.platform import normalize, parse

#: Fields that say where something stands or how it was spelled, not what it means.
_LAYOUT = frozenset(
    {"span", "name_span", "value_span", "lines", "code", "source", "comments", "orig_cmd", "as_word", "warnings"}
)


def meaning(node: object) -> object:
    """A value that is equal for two trees that lower alike."""
    if isinstance(node, Word):
        return node.text
    if isinstance(node, Flag):
        return (node.name, node.value)
    if isinstance(node, Dockerfile):
        return (meaning(node.meta_args), tuple(meaning(stage) for stage in node.stages), node.escape)
    if isinstance(node, Record):
        skipped = _LAYOUT | {"name"} if isinstance(node, Instruction) else _LAYOUT
        values = [meaning(getattr(node, name)) for name in fields_of(node) if name not in skipped]
        return (type(node).__name__, *values)
    if isinstance(node, tuple):
        names = getattr(node, "_fields", ())
        return tuple(meaning(v) for i, v in enumerate(node) if not names or names[i] not in _LAYOUT)
    return node


def same_tree(before: Dockerfile, after: Dockerfile) -> bool:
    """Whether the two files read the same to the compiler."""
    return meaning(before) == meaning(after)


def products(front: Front) -> tuple[object, ...]:
    """What the file and each named stage compile to: digests of the operations and the image config, or the error."""
    dockerfile = front.result.dockerfile
    if dockerfile is None:
        error = front.result.error
        return ("error", error.message if error is not None else "")
    names = dict.fromkeys(stage.name for stage in dockerfile.stages if stage.name)
    return (_product(front, ""), *(_product(front, name) for name in names))


def _product(front: Front, target: str) -> object:
    from dockc.compiler.imagine import PLATFORM, made_up

    options = CompileOptions(target=target, build_platforms=(normalize(parse(PLATFORM)),))
    try:
        compiled = converse(compiling(front, options), made_up)
        return (compiled.definition.digests, compiled.image_json)
    except CompileError as error:
        return ("error", error.message)


def _directives(dockerfile: Dockerfile) -> dict[str, str]:
    return {name: directive.value for name, directive in dockerfile.directives.items()}


def same_product(before: Front, after: Front) -> bool:
    """Whether every stage of the two files compiles to the same operations and the same image config."""
    return products(before) == products(after)


def equivalent(before: str, after: str, *, name: str = "Dockerfile") -> bool:
    """Whether two texts mean the same: equal trees, or at least equal products."""
    first, second = read(Source.from_text(before, name)), read(Source.from_text(after, name))
    if first.result.dockerfile is not None and second.result.dockerfile is not None:
        if _directives(first.result.dockerfile) != _directives(second.result.dockerfile):
            return False
        if same_tree(first.result.dockerfile, second.result.dockerfile):
            return True
    elif (first.result.dockerfile is None) != (second.result.dockerfile is None):
        return False
    return same_product(first, second)
