"""The parse tree in the reference's two shapes: s-expressions, and a JSON object with lines and attributes.

Both show what BuildKit's parser makes of a file before its instructions are checked; `dockc compile --emit=cst`
and comparisons with BuildKit use them.
"""

from __future__ import annotations

from typing import Any

from dockc.golang.strings import lower, quote, quote_all, runes, trim
from dockc.grammar.cst import Command, InstructionNode
from dockc.grammar.directives import Found, detect_syntax, parse_directive
from dockc.grammar.parser import Parsed

_EMPTY_CONTINUATION = "Empty continuation lines will become errors in a future release"
_EMPTY_CONTINUATION_URL = "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"


def sexpr(parsed: Parsed) -> str:
    """One s-expression an instruction, or `error: <message>`."""
    if parsed.diagnostics:
        return f"error: {parsed.diagnostics[0].message}"
    return trim("".join(f"({_sexpr(node)})\n" for node in parsed.file.instructions))


def _sexpr(node: InstructionNode) -> str:
    inner = ""
    for command in reversed(node.commands):
        out = lower(command.keyword.value)
        if command.flags:
            out += " " + quote_all([flag.text for flag in command.flags])
        if inner:
            out += f" ({inner})"
        for value in command.values or ():
            out += " " + quote(value)
        inner = trim(out)
    return inner


def tree(parsed: Parsed) -> dict[str, Any]:
    """The tree with lines, flags, attributes, heredocs, comments; parser warnings; directives; or the error.

    As in the reference's JSON, bytes that are not UTF-8 show as U+FFFD, and empty values are left out.
    """
    if parsed.diagnostics:
        first = parsed.diagnostics[0]
        start, end = first.lines or (0, 0)
        lines = list(range(start, max(start, end) + 1))
        return {"error": {"lines": lines, "locations": [[_range(line) for line in lines]], "message": first.message}}
    nodes = list(parsed.file.instructions)
    out: dict[str, Any] = {
        "escape": parsed.file.escape,
        "nodes": {
            "children": [_node(node) for node in nodes],
            "lines": [nodes[0].lines[0], nodes[-1].lines[1]],
        },
        "warnings": [_warning(node) for node in nodes if node.logical.empty_continuation],
    }
    source = parsed.file.source
    syntax = detect_syntax(source)
    if syntax is not None:
        out["syntax"] = {"ref": syntax.word, **_found(syntax)}
    for name in ("check", "escape"):
        found = parse_directive(name, source)
        if found is not None:
            out[f"directive_{name}"] = {"value": found.word, **_found(found)}
    return out


def _range(line: int) -> dict[str, list[int]]:
    return {"start": [line, 0], "end": [line, 0]}


def _found(found: Found) -> dict[str, Any]:
    return {"cmdline": found.value, "ranges": [_range(found.line)]}


def _warning(node: InstructionNode) -> dict[str, Any]:
    return {
        "short": f"Empty continuation line found in: {runes(node.logical.text)}",
        "detail": [_EMPTY_CONTINUATION],
        "url": _EMPTY_CONTINUATION_URL,
        "range": _range(node.logical.last),
    }


def _node(node: InstructionNode) -> dict[str, Any]:
    inner: dict[str, Any] | None = None
    for command in reversed(node.commands):
        inner = _command(node, command, inner)
    assert inner is not None
    inner["lines"] = list(node.lines)
    if node.comments:
        inner["prev_comment"] = [runes(comment) for comment in node.comments]
    if node.heredocs:
        inner["heredocs"] = [
            {"name": h.name, "fd": h.fd, "chomp": h.chomp, "expand": h.expand, "content": runes(h.content)}
            for h in node.heredocs
        ]
    return inner


def _command(node: InstructionNode, command: Command, inner: dict[str, Any] | None) -> dict[str, Any]:
    outermost = command is node.command
    original = node.logical.text if outermost else command.text[command.start : command.end]
    out: dict[str, Any] = {}
    if command.keyword.value:
        out["value"] = runes(command.keyword.value)
    if original:
        out["original"] = runes(original)
    if command.flags:
        out["flags"] = [flag.text for flag in command.flags]
    if command.is_json:
        out["attributes"] = {"json": True}
    following: list[dict[str, Any]] = [{"value": runes(value)} if value else {} for value in command.values or ()]
    if inner is not None:
        following = [{"children": [inner]}]
    if following:
        out["next"] = following
    return out
