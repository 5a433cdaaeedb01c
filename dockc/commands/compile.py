"""`dockc compile`: a Dockerfile to one of its forms."""

from __future__ import annotations

from dockc.base.options import Options, option
from dockc.commands import shared
from dockc.engine.compile import asker, compile_all
from dockc.engine.request import load
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.compiler.compile import Compiled
    from dockc.engine.request import CompileRequest


class CompileOptions(Options):
    """Compile a Dockerfile and print one of its forms.

    Warnings go to standard error. `dockc compile | buildctl debug dump-llb` works.
    """

    context: str = shared.CONTEXT
    file: str = shared.FILE
    emit: str = option(
        "--emit", metavar="FORM", completes="cst|ast|ir|llb|dot|json|pb|image",
        help="cst, ast, ir, llb, dot, json, pb or image. Default: llb on a terminal, pb in a pipe.",
    )  # fmt: skip
    output: Path | None = shared.OUTPUT
    target: str = shared.TARGET
    build_arg: tuple[str, ...] = shared.BUILD_ARG
    platform: tuple[str, ...] = shared.PLATFORM
    label: tuple[str, ...] = shared.LABEL
    build_context: tuple[str, ...] = shared.BUILD_CONTEXT
    local_images: bool = shared.LOCAL_IMAGES
    opt: tuple[str, ...] = shared.OPT
    no_cache: bool = shared.NO_CACHE
    answers: Path | None = shared.ANSWERS
    offline: bool = shared.OFFLINE
    locked: Path | None = shared.LOCKED
    level: int = shared.LEVEL
    passes: str = shared.PASSES
    squash: int = shared.SQUASH
    print_after: tuple[str, ...] = shared.PRINT_AFTER
    print_after_all: bool = shared.PRINT_AFTER_ALL
    time_passes: bool = shared.TIME_PASSES
    verify_each: bool = shared.VERIFY_EACH
    color: str = shared.color()
    store: Path | None = shared.STORE
    examples = (
        "dockc compile --emit=llb .",
        "dockc compile --emit=ir -O2 --print-after=dead-code .",
        "dockc compile --offline --emit=dot . | dot -Tsvg",
    )


def run(options: CompileOptions, out: Output) -> int:
    """`dockc compile`."""
    import sys

    form = options.emit or (
        "llb" if options.output is None and sys.stdout is not None and sys.stdout.isatty() else "pb"
    )

    def log(text: str) -> None:
        from dockc.console.errors import told

        out.log(told(text, out.log_style))

    out.write(compile_command(request_of(options), form, log), options.output)
    return 0


def request_of(options: CompileOptions) -> CompileRequest:
    """What is to be compiled."""
    from dockc.commands.attrs import frontend_attrs, named_contexts
    from dockc.engine.request import CompileRequest

    attrs = frontend_attrs(
        target=options.target,
        build_args=options.build_arg,
        platforms=options.platform,
        labels=options.label,
        opts=options.opt,
        no_cache=options.no_cache,
        local_images=options.local_images,
    )
    return CompileRequest(
        options.context,
        options.file,
        attrs=attrs,
        contexts=named_contexts(options.build_context),
        answers=options.answers,
        offline=options.offline,
        locked=options.locked,
        level=options.level,
        passes=options.passes,
        squash=options.squash,
        print_after=options.print_after,
        print_after_all=options.print_after_all,
        time_passes=options.time_passes,
        verify_each=options.verify_each,
        store=options.store,
    )


FORMS = ("cst", "ast", "ir", "llb", "dot", "json", "pb", "image")


def compile_command(request: CompileRequest, form: str, log: Callable[[str], object]) -> bytes:
    """`dockc compile`: the form asked for; warnings and observers' output go to `log`."""
    _check_form(form)
    inputs = load(request)
    if form == "cst":
        from dockc.compiler.forms import render_cst

        return render_cst(inputs.front).encode("utf-8", "surrogateescape")
    from dockc.compiler.questions import converse

    compiled, _ = converse(compile_all(request, inputs, log), asker(request, inputs))
    if compiled[0].warnings:
        from dockc.console.diagnostics import render_warnings

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
    from dockc.compiler.forms import render_compiled

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
