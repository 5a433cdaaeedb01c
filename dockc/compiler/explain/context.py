"""Which files of a build context an instruction takes, from a list of their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.compiler.explain.line import copied_key
from dockc.compiler.explain.trace import op_lines
from dockc.compiler.ir import ops as ir
from dockc.grammar.globs import PatternMatcher, match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockc.compiler.explain.line import Key
    from dockc.compiler.ir.module import Module


class Copied(Record):
    """One source of a COPY or ADD in the build context.

    Attributes:
        line: where the instruction begins; 0 for a trigger of a base image.
        paths: patterns: the file or directory that is taken, or several where `--parents` takes them together.
        files: the names that answer to them, sorted.
    """

    line: int
    paths: tuple[str, ...]
    files: tuple[str, ...]


def files_of(key: Key, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names (relative, with slashes) that a COPY with that key would take, sorted.

    Raises:
        BadPattern: a pattern of the key or of the ignore file cannot be read.
    """
    ignored, without = PatternMatcher(key.exclude), PatternMatcher(key.without)
    found = []
    for name in {name.strip("/") for name in names} - {""}:
        rest = _below(key.paths, name)
        if rest is None or ignored.matches(name):
            continue
        judged = name if key.rooted else rest
        if not (judged and without.matches(judged)):
            found.append(name)
    return tuple(sorted(found))


def _below(patterns: Iterable[str], name: str) -> str | None:
    """What is left of a name below the first pattern that takes it; None where none does."""
    parts = name.split("/")
    for raw in patterns:
        wanted = raw.strip("/")
        if wanted in {"", "."}:
            return name
        depth = wanted.count("/") + 1
        if len(parts) >= depth and match(wanted, "/".join(parts[:depth])):
            return "/".join(parts[depth:])
    return None


def copies(module: Module, names: Iterable[str]) -> Iterator[Copied]:
    """What each COPY and ADD of a graph takes from the context, in the order of the graph."""
    there = tuple(names)
    for op in module.ops():
        if not isinstance(op, ir.FileOp):
            continue
        lines = op_lines(op)
        for action in op.actions:
            if isinstance(action, ir.Copy) and (key := copied_key(action)).source == "context":
                yield Copied(lines[0] if lines else 0, key.paths, files_of(key, there))
