"""`dockc build --call=METHOD`: what BuildKit's frontend answers about a Dockerfile without building it, in its words and forms."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dockc.engine.compile import asker, explained, initial_answers
from dockc.engine.request import is_in_remote_context, load
from dockc.errors import CompileError, UsageError

if TYPE_CHECKING:
    from dockc.compiler.checks import Warning
    from dockc.compiler.compile import LintResult
    from dockc.engine.request import CompileRequest, Inputs
    from dockc.grammar.source import Source


def call(request: CompileRequest, method: str, form: str, *, out: Callable[[str], object]) -> int:
    """Answer one question; returns the exit status, which is 1 where a check found something.

    Args:
        request: what to ask about.
        method: `check`, `outline` or `targets`.
        form: `text` or `json`.
        out: takes the answer.

    Raises:
        DockcError: the file is wrong, or something about the world cannot be found out.
    """
    from dockc.compiler import compile as compiler
    from dockc.compiler.outline import outline_text, targets_text
    from dockc.compiler.questions import converse

    if is_in_remote_context(request):
        raise UsageError("a call needs a Dockerfile that is here, not in a remote context or an archive", hint="Name one by its absolute path with --file.")
    inputs = load(request)
    source = inputs.front.source
    options = inputs.options.for_platform(inputs.platforms[0])
    sources = [base64.b64encode(source.data).decode()]
    try:
        match method:
            case "check":
                linting = compiler.linting(inputs.front, options, initial_answers(request))
                return _check(converse(linting, asker(request, inputs)), inputs, form, out)
            case "outline":
                outlining = compiler.outlining(inputs.front, options, initial_answers(request))
                found = converse(outlining, asker(request, inputs))
                out(_json(found | {"sources": sources}) if form == "json" else outline_text(found))
            case _:
                listed = compiler.targets(inputs.front)
                out(_json({"targets": listed, "sources": sources}) if form == "json" else targets_text(listed))
    except CompileError as error:
        raise explained(error, inputs.front) from None
    return 0


def _check(result: LintResult, inputs: Inputs, form: str, out: Callable[[str], object]) -> int:
    """The checks' findings; a file that cannot be compiled is an error after them."""
    from dockc.console.diagnostics import render_checks

    source = inputs.front.source
    if form == "json":
        out(_json(_lint_json(result, source)))
    else:
        out(render_checks(result.warnings, source, failed=result.error is not None))
        if result.error is not None:
            raise result.error
    return 1 if result.warnings or result.error is not None else 0


def _lint_json(result: LintResult, source: Source) -> dict[str, Any]:
    found: dict[str, Any] = {
        "warnings": [_warning_json(one) for one in result.warnings] or None,
        "sources": [{"filename": source.name, "language": "Dockerfile", "data": base64.b64encode(source.data).decode()}],
    }
    if result.error is not None:
        lines = tuple(n for start, end in next(iter(result.error.locations), ()) for n in range(start, max(start, end) + 1))
        found["buildError"] = {"message": result.error.message, "location": _location_json(lines)}
    return found


def _warning_json(warning: Warning) -> dict[str, Any]:
    found = {"ruleName": warning.rule, "description": warning.description, "url": warning.url, "detail": warning.message}
    return {key: value for key, value in found.items() if value} | {"location": _location_json(warning.lines)}


def _location_json(lines: tuple[int, ...]) -> dict[str, Any]:
    return {"ranges": [{"start": {"line": n}, "end": {"line": n}} for n in lines]} if lines else {}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
