"""Whether two Dockerfiles mean the same: what a formatter and a safe fix must prove before they are believed.

Two proofs, the second stronger than most edits can pass: equal trees (all that lowering reads, places and layout left out), and
equal LLB (operations and image config of the default target, compiled with the same made-up answers about base images).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from dockc.compiler.ast import Dockerfile, Flag, Instruction, Word

#: Fields that say where something stands or how it was spelled, not what it means.
_LAYOUT = frozenset({"span", "name_span", "value_span", "lines", "code", "source", "comments", "orig_cmd", "warnings"})
_SPELLING = frozenset({"name"})


def meaning(node: object) -> object:
    """A value that is equal for two trees that lower alike."""
    if isinstance(node, Word):
        return node.text
    if isinstance(node, Flag):
        return (node.name, node.value)
    if isinstance(node, Dockerfile):
        return (meaning(node.meta_args), tuple(meaning(stage) for stage in node.stages), node.escape)
    if is_dataclass(node) and not isinstance(node, type):
        skipped = _LAYOUT | _SPELLING if isinstance(node, Instruction) else _LAYOUT
        values = [meaning(getattr(node, f.name)) for f in fields(node) if f.name not in skipped]
        return (type(node).__name__, *values)
    if isinstance(node, tuple):
        skipped = _LAYOUT if hasattr(node, "_fields") else frozenset()
        names = getattr(node, "_fields", ())
        return tuple(meaning(v) for i, v in enumerate(node) if not skipped or names[i] not in skipped)
    return node


def same_tree(before: Dockerfile, after: Dockerfile) -> bool:
    """Whether the two files read the same to the compiler."""
    return meaning(before) == meaning(after)
