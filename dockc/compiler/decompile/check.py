"""Whether a Dockerfile that was written for a definition compiles to that definition again, and which steps do not."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.record import replace
from dockc.compiler.compile import compiling
from dockc.compiler.emit import wire
from dockc.compiler.imagine import made_up
from dockc.compiler.ir import from_llb
from dockc.compiler.ir.module import walk
from dockc.compiler.ir.ops import ExecOp, FileOp, Op, SourceOp
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, ImageAnswer, ImageRequest, Request, converse
from dockc.errors import CompileError
from dockc.grammar.source import Source
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb.definition import Definition
from dockc.oci import reference
from dockc.oci.platform import Platform

_MOST = 20


def checked(text: str, definition: Definition, platform: Platform) -> str:
    """The text, with a comment at its top that names the steps that compile to other operations, if there are any."""
    lines = list(_findings(text, definition, platform))
    return "".join(f"# {line}\n" for line in lines) + text


def _findings(text: str, definition: Definition, platform: Platform) -> Iterator[str]:
    module = from_llb.load(definition, platform)
    if module.result is None:
        return
    ops = walk([module.result])
    try:
        again = set(_digests(text, platform, ops))
    except CompileError as error:
        yield f"not exact: this does not compile: {' '.join(error.message.split())}"
        return
    changed = [op for op in ops if wire(op)[0] not in again]
    below = set(changed)
    roots = [op for op in changed if not any(value.op in below for value in op.inputs())]
    if not roots:
        return
    yield f"not exact: {len(changed)} of {len(ops)} operations come out different, beginning with these."
    yield "(Options, named contexts, .dockerignore and SOURCE_DATE_EPOCH are no part of a Dockerfile.)"
    for op in roots[:_MOST]:
        yield f"  {_shown(op)}"
    if len(roots) > _MOST:
        yield f"  and {len(roots) - _MOST} more"


def _digests(text: str, platform: Platform, ops: list[Op]) -> tuple[str, ...]:
    sources = [op for op in ops if isinstance(op, SourceOp)]
    session = next((dict(op.attrs)[A.LOCAL_SESSION] for op in sources if A.LOCAL_SESSION in dict(op.attrs)), "")
    options = replace(CompileOptions(build_platforms=(platform,)), session=session)
    return converse(compiling(Source.from_text(text), options), _answers).definition.digests


def _answers(requests: tuple[Request, ...]) -> Answers:
    """Answers as the definition implies them: an image is what its digest says, or has none."""
    answers = made_up(requests)
    images = dict(answers.images)
    for request in requests:
        if isinstance(request, ImageRequest):
            digest = reference.parse_normalized(request.ref).digest
            images[request.key] = ImageAnswer(request.ref, digest, images[request.key].config)
    return Answers(images, answers.files, answers.http, answers.git)


def _shown(op: Op) -> str:
    """A step in one line."""
    if op.meta.name:
        return " ".join(op.meta.name.split())
    match op:
        case SourceOp():
            return op.identifier
        case ExecOp():
            return " ".join(" ".join(op.args).split())
        case FileOp():
            return " + ".join(action.KIND for action in op.actions)
    return op.KIND
