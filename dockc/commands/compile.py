"""`dockc compile`: a Dockerfile to one of its forms."""

from __future__ import annotations

from dockc.compiler.forms import render_compiled, render_cst
from dockc.engine.compile import asker, compile_all
from dockc.engine.request import load
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dockc.compiler.compile import Compiled
    from dockc.engine.request import CompileRequest

FORMS = ("cst", "ast", "ir", "llb", "dot", "json", "pb", "image")


def compile_command(request: CompileRequest, form: str, log: Callable[[str], object]) -> bytes:
    """`dockc compile`: the form asked for; warnings and observers' output go to `log`."""
    _check_form(form)
    inputs = load(request)
    if form == "cst":
        return render_cst(inputs.front).encode("utf-8", "surrogateescape")
    from dockc.compiler.questions import converse
    from dockc.console.diagnostics import render_warnings

    compiled, _ = converse(compile_all(request, inputs, log), asker(request, inputs))
    log(render_warnings(compiled[0].warnings, inputs.front.source))
    return render(compiled, form)


def render(compiled: Sequence[Compiled], form: str) -> bytes:
    """One form of each compiled platform.

    Raises:
        UsageError: an unknown form, or several platforms in a form that holds one.
    """
    _check_form(form)
    if form == "pb":
        if len(compiled) > 1:
            raise UsageError("protobuf output holds one platform", hint="Choose one with --platform.")
        return compiled[0].definition.to_bytes()
    if form in {"cst", "ast"}:
        return render_compiled(compiled[0], form).encode("utf-8", "surrogateescape")
    texts = [render_compiled(one, form) for one in compiled]
    return "".join(texts).encode("utf-8", "surrogateescape")


def _check_form(form: str) -> None:
    if form not in FORMS:
        from difflib import get_close_matches

        near = get_close_matches(form, FORMS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"Choose one of {', '.join(FORMS)}."
        raise UsageError(f"unknown form {form}", hint=hint)
