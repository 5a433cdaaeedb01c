"""JSONArgsRecommended json-args-recommended."""

from __future__ import annotations

import json

from dockc.base import jsontext
from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.linter.checked import CheckRule, entry_at, replacing
from dockc.linter.context import Context, Entry
from dockc.linter.finding import Finding
from dockc.linter.opinions import is_broken_json
from dockc.linter.rule import Hit, Severity


class JsonArgsRecommended(CheckRule):
    """Reports CMD and ENTRYPOINT that are no JSON array, unless a SHELL was chosen on purpose in this file.

    ## Why

    In shell form `/bin/sh -c` is process 1. It does not hand signals on, so `docker stop` waits for its time-out and
    then kills the program.

    ## Fix

    Writes the array, where the text is plain words: no variable, quote, pattern or shell syntax, whose meaning an array
    would lose.
    """

    code = "JSONArgsRecommended"
    name = "json-args-recommended"
    summary = "CMD or ENTRYPOINT in shell form"
    severity = Severity.WARNING
    equivalents = (
        "buildkit:JSONArgsRecommended",
        "hadolint:DL3025",
    )
    replaces = ("DL3025",)
    fixable = "unsafe"
    bad = "FROM alpine:3\nCMD nginx -g daemon\n"
    good = 'FROM alpine:3\nCMD ["nginx", "-g", "daemon"]\n'
    fixed = 'FROM alpine:3\nCMD ["nginx", "-g", "daemon"]\n'

    def locate(self, context: Context, finding: Finding) -> Hit | None:
        """See the class."""
        entry = entry_at(context, finding)
        if entry is None or not isinstance(entry.instruction, ast.ShellDependent):
            return None
        args = entry.node.commands[-1].args
        if is_broken_json(entry.instruction):
            return _with_quotes(context, entry, entry.instruction, finding.message)
        text = (entry.instruction.cmdline or ("",))[0]
        if not args or not _SIMPLE.fullmatch(text):
            return Hit(entry.instruction.span, finding.message)
        span = Span(entry.node.logical.source_offset(args[0].start), entry.instruction.span.end)
        words = text.split()
        words = words[1:] if words[0] == "exec" and len(words) > 1 else words
        if words[0] in _BUILTINS or "=" in words[0] or context.source.slice(span).strip() != text:
            return Hit(entry.instruction.span, finding.message)
        fix = replacing("Write a JSON array", span, json.dumps(words), safe=False)
        return Hit(entry.instruction.span, finding.message, fix=fix)


def _with_quotes(context: Context, entry: Entry, instruction: ast.ShellDependent, message: str) -> Hit:
    """For what was meant as an array: it needs double quotes, and no comma at its end."""
    text = (instruction.cmdline or ("",))[0].strip()
    message = f"{message}: this is no JSON array, and runs as a shell command"
    tried = _TRAILING.sub("]", _CURLY.sub('"', text).replace("'", '"'))
    try:
        words = jsontext.parsed(tried)
    except ValueError:
        words = None
    fix = None
    at = instruction.span.end - len(text)
    if (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and context.source.text[at : instruction.span.end] == text
    ):
        fix = replacing(
            "Write a JSON array", Span(at, instruction.span.end), json.dumps(words, ensure_ascii=False), safe=False
        )
    return Hit(instruction.span, message, fix=fix, help="JSON needs double quotes.")


_CURLY = pattern("[\u201c\u201d\u2018\u2019]")
_TRAILING = pattern(r",\s*\]$")
_SIMPLE = pattern(r"[A-Za-z0-9_./:=@,+%-]+(?:[ \t]+[A-Za-z0-9_./:=@,+%-]+)*")
_BUILTINS = frozenset(
    [".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec", "exit", "export", "fc", "fg", "for", "getopts",
     "hash", "if", "jobs", "read", "readonly", "return", "set", "shift", "source", "times", "trap", "type", "ulimit", "umask", "unalias",
     "unset", "until", "wait", "while"]
)  # fmt: skip
