"""IR and LLB given as files: `dockc opt`, `dockc passes`, `dockc decompile`."""

from __future__ import annotations

from dockc.base.options import Options, argument, option
from dockc.commands import shared
from dockc.engine.compile import pipeline_of
from dockc.errors import DockcError, InvalidDefinition, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.engine.request import CompileRequest

_LIMIT = 256 << 20
"""Bytes of a file of IR or LLB at most."""

OPT_FORMS = ("ir", "llb", "dot", "json", "pb")


class OptOptions(Options):
    """Run passes over a file of IR."""

    file: str = argument(
        "-", help="IR as `dockc compile --emit=ir` prints it; `-` reads standard input.", completes="file"
    )
    passes: str = shared.PASSES
    level: int = shared.LEVEL
    squash: int = shared.SQUASH
    emit: str = option(
        "--emit", metavar="FORM", default="ir", help="ir, llb, dot, json or pb.", completes="|".join(OPT_FORMS)
    )
    print_after: tuple[str, ...] = shared.PRINT_AFTER
    print_after_all: bool = shared.PRINT_AFTER_ALL
    time_passes: bool = shared.TIME_PASSES
    verify_each: bool = shared.VERIFY_EACH
    output: Path | None = option(
        "--output", metavar="FILE", help="Write there instead of standard output.", completes="file"
    )
    examples = ("dockc compile --emit=ir . | dockc opt -O2 -",)


def run_opt(options: OptOptions, out: Output) -> int:
    """`dockc opt`."""
    from dockc.engine.request import CompileRequest

    request = CompileRequest(
        passes=options.passes,
        level=options.level,
        squash=options.squash,
        print_after=options.print_after,
        print_after_all=options.print_after_all,
        time_passes=options.time_passes,
        verify_each=options.verify_each,
    )
    out.write(optimise_text(_read(options.file), request, options.emit, out.log), options.output)
    return 0


class PassesOptions(Options):
    """List the passes and the levels that run them."""

    json: bool = shared.JSON
    examples = ("dockc passes",)


def run_passes(options: PassesOptions, out: Output) -> int:
    """`dockc passes`."""
    out.write(describe_passes(as_json=options.json))
    return 0


class DecompileOptions(Options):
    """Write a plain Dockerfile for LLB or for an image's history."""

    file: str = argument(
        "-", completes="file",
        help="LLB as `dockc compile --emit=pb` writes it, an image config with history (JSON), or the name of an image "
             "of the store; `-` reads standard input.",
    )  # fmt: skip
    store: Path | None = shared.STORE
    examples = (
        "dockc compile . | dockc decompile",
        "dockc decompile app",
        "skopeo inspect --config docker://registry.example/app | dockc decompile",
    )


def run_decompile(options: DecompileOptions, out: Output) -> int:
    """`dockc decompile`."""
    import os

    here = options.file == "-" or os.path.exists(options.file)  # noqa: PTH110
    out.write(decompile_bytes(_read(options.file) if here else _config_of(options.file, options.store)))
    return 0


def _config_of(name: str, store: Path | None) -> bytes:
    """The config of an image of the store."""
    import json

    from dockc.commands.store import stored
    from dockc.runtime.store import images

    try:
        chosen = images.choose(stored(store), name, None)
    except DockcError as error:
        raise UsageError(
            f"{name} is neither a file nor an image of the store: {error.message}", hint=error.hint
        ) from error
    return json.dumps(chosen.config.raw).encode()


def _read(file: str) -> bytes:
    import sys

    from dockc.base.files import read_regular

    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return read_regular(file, _LIMIT)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error


def optimise_text(data: bytes, request: CompileRequest, emit: str, log: Callable[[str], object]) -> bytes:
    """`dockc opt`: IR text through passes to one of its forms.

    Args:
        request: chooses passes and observers; no more of it counts.
        log: takes what observers print.

    Raises:
        DockcError: text that is no IR, an unknown pass or form.
    """
    from dockc.compiler.emit import emit as emit_llb
    from dockc.compiler.ir.parser import parse_module
    from dockc.compiler.ir.printer import print_module
    from dockc.compiler.ir.verifier import verify
    from dockc.llb import text

    if emit not in OPT_FORMS:
        raise UsageError(f"unknown form {emit}", hint=f"Choose one of {', '.join(OPT_FORMS)}.")
    passes = pipeline_of(request, log)
    module = parse_module(data.decode("utf-8", "surrogateescape"))
    verify(module)  # it may come from anyone
    module = passes.run(module)
    if emit == "ir":
        return print_module(module).encode("utf-8", "surrogateescape")
    if "" not in module.outputs:
        raise DockcError("the IR has no result", hint="End it with `result` and a value.")
    definition = emit_llb(module)
    if emit == "pb":
        return definition.to_bytes()
    writers = {"llb": text.tree, "dot": text.dot, "json": text.json_lines}
    return writers[emit](definition).encode("utf-8", "surrogateescape")


def describe_passes(*, as_json: bool = False) -> str:
    """`dockc passes`: name, levels and first sentence of each pass, as a table or a JSON object a line."""
    import json

    from dockc.compiler.passes import PRESETS, get_pass, names

    lines = []
    for name in names():
        levels = [level for level, preset in PRESETS.items() if name in preset.split(",")]
        summary = (get_pass(name).__doc__ or "").strip().split("\n")[0]
        if as_json:
            lines.append(json.dumps({"name": name, "levels": levels, "summary": summary}) + "\n")
            continue
        flags = " ".join(f"-O{level}" for level in levels)
        lines.append(f"{name:16} {flags or '-':9} {summary}\n")
    return "".join(lines)


def decompile_bytes(data: bytes) -> str:
    """`dockc decompile`: an image config (JSON) or a definition (protobuf) to a Dockerfile.

    Raises:
        DockcError: it is neither.
    """
    import re

    if re.match(rb"\s*\{[\s\"}]", data):  # a definition, too, may begin with a line end and a brace
        import json

        from dockc.compiler.decompile.history import decompile_history

        try:
            image = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"not an image config: {exc}") from None
        return decompile_history(image)
    from dockc.compiler.decompile.llb import decompile
    from dockc.llb.definition import Definition
    from dockc.oci import platform as platforms

    try:
        definition = Definition.parse(data)
    except InvalidDefinition as exc:
        raise InvalidDefinition(
            f"not LLB: {exc.message}",
            hint="Give LLB as `dockc compile --emit=pb` writes it, or an image config as JSON.",
        ) from None
    from dockc.compiler.decompile.check import checked

    platform = platforms.normalize(platforms.default())
    return checked(decompile(definition, platform=platform), definition, platform)
