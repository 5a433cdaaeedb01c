"""The AST as text: one node a line, fields below it, places as `line:column`."""

from __future__ import annotations

from dockc.base.record import Record, fields_of
from dockc.compiler.syntax.ast import Dockerfile, Word
from dockc.grammar.source import Source, Span

_SKIPPED = frozenset({"source", "name_span", "span", "value_span", "from_", "args", "lines"})
_ALWAYS = frozenset({"name", "code"})


def dump(dockerfile: Dockerfile) -> str:
    """The whole file."""
    lines: list[str] = []
    _node(dockerfile, dockerfile.source, "", "", lines)
    return "\n".join(lines) + "\n"


def _node(node: object, source: Source, indent: str, label: str, lines: list[str]) -> None:
    prefix = f"{indent}{label}: " if label else indent
    if isinstance(node, Word):
        lines.append(f"{prefix}{node.text!r} @{_place(source, node.span)}")
    elif isinstance(node, tuple) and not hasattr(node, "_fields"):
        if label:
            lines.append(f"{indent}{label}:")
        for item in node:
            _node(item, source, indent + "  ", "", lines)
    elif isinstance(node, Record):
        place = getattr(node, "span", None)
        lines.append(f"{prefix}{type(node).__name__}{f' @{_place(source, place)}' if isinstance(place, Span) else ''}")
        values = [(name, getattr(node, name)) for name in fields_of(node)]
        _fields(values, source, indent + "  ", lines)
    elif hasattr(node, "_fields"):
        lines.append(f"{prefix}{type(node).__name__}")
        _fields(list(zip(node._fields, node, strict=True)), source, indent + "  ", lines)  # type: ignore[call-overload]
    else:
        lines.append(f"{prefix}{node!r}")


def _fields(values: list[tuple[str, object]], source: Source, indent: str, lines: list[str]) -> None:
    for name, value in values:
        if name in _SKIPPED or (not value and value is not False and name not in _ALWAYS):
            continue
        if isinstance(value, Word) and not value.text:
            continue
        if isinstance(value, (str, int, tuple, Word, Record)):
            _node(value, source, indent, name, lines)


def _place(source: Source, span: Span) -> str:
    at = source.position(span.start)
    return f"{at.line}:{at.column + 1}"
