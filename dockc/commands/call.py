"""`dockc build --call=METHOD`: what BuildKit's frontend answers about a Dockerfile without building it, in its words
and forms.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from dockc.engine.compile import asker, explained, initial_answers
from dockc.engine.request import is_in_remote_context, load
from dockc.engine.subrequests import as_json, lint_json
from dockc.errors import CompileError, UsageError

if TYPE_CHECKING:
    from dockc.compiler.compile import LintResult
    from dockc.engine.images import Showing
    from dockc.engine.request import CompileRequest, Inputs


def call(
    request: CompileRequest, method: str, form: str, *, out: Callable[[str], object], showing: Showing | None = None
) -> int:
    """Answer one question; returns the exit status, which is 1 where a check found something.

    Args:
        request: what to ask about.
        method: `check`, `outline`, `targets`, or `subrequests.describe` for what can be asked.
        form: `text` or `json`.
        out: takes the answer.
        showing: shows that archives of images are read, or None.

    Raises:
        DockcError: the file is wrong, or something about the world cannot be found out.
    """
    from dockc.compiler import compile as compiler
    from dockc.compiler.outline import outline_text, targets_text
    from dockc.compiler.questions import converse

    if method == "subrequests.describe":
        from dockc.engine.subrequests import described

        known = described()
        out(known["result.json"].decode() + "\n" if form == "json" else known["result.txt"].decode())
        return 0
    if is_in_remote_context(request):
        raise UsageError(
            "a call needs a Dockerfile that is here, not in a remote context or an archive",
            hint="Name one by its absolute path with --file.",
        )
    inputs = load(request, showing=showing)
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
                out(as_json(found | {"sources": sources}) if form == "json" else outline_text(found))
            case _:
                listed = compiler.targets(inputs.front)
                out(as_json({"targets": listed, "sources": sources}) if form == "json" else targets_text(listed))
    except CompileError as error:
        raise explained(error, inputs.front) from None
    return 0


def _check(result: LintResult, inputs: Inputs, form: str, out: Callable[[str], object]) -> int:
    """The checks' findings; a file that cannot be compiled is an error after them."""
    from dockc.console.diagnostics import render_checks

    source = inputs.front.source
    if form == "json":
        out(as_json(lint_json(result, source)))
    else:
        out(render_checks(result.warnings, source, failed=result.error is not None))
        if result.error is not None:
            raise result.error
    return 1 if result.warnings or result.error is not None else 0
