"""Pins: what holds every outside source of a compiled file to its content.

The compiler asks only about what decides its output; a URL or repository that is merely fetched in the build is not
asked about.
A lock file holds these too, so the sources of the compiled graph are looked through as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.compiler.ir.ops import SourceOp
from dockc.compiler.questions import Answers, GitRequest, HttpRequest, ImageRequest, Unanswered
from dockc.llb import attrs as A  # noqa: N812

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.compiler.compile import Compiled
    from dockc.compiler.ir.module import Module
    from dockc.compiler.questions import Request


def loose_sources(module: Module) -> tuple[Request, ...]:
    """Questions for the outside sources of a graph that are not named by their content."""
    wanted: dict[Request, None] = {}
    for op in module.ops():
        if not isinstance(op, SourceOp):
            continue
        attrs = dict(op.attrs)
        if op.identifier.startswith((A.SCHEME_HTTP, A.SCHEME_HTTPS)):
            if A.HTTP_CHECKSUM not in attrs:
                wanted[HttpRequest(op.identifier, attrs.get(A.HTTP_FILENAME, ""))] = None
        elif op.identifier.startswith(A.SCHEME_GIT):
            if A.GIT_CHECKSUM not in attrs:
                wanted[GitRequest(op.identifier, tuple(sorted(attrs.items())))] = None
        elif op.identifier.startswith(A.SCHEME_IMAGE) and "@" not in op.identifier:
            wanted[ImageRequest(op.identifier.removeprefix(A.SCHEME_IMAGE), op.platform or module.platform)] = None
    return tuple(wanted)


def pins(answers: Answers) -> dict[str, str]:
    """By source identifier the digest, commit or checksum that the answers give."""
    found = {
        f"{A.SCHEME_IMAGE}{ref}": one.digest
        for (ref, _, store), one in answers.images.items()
        if one.digest and not store
    }
    found |= {url: one.digest for url, one in answers.http.items() if one.digest}
    return found | {identifier: one.commit for identifier, one in answers.git.items() if one.commit}


def held(compiled: Compiled, known: Mapping[str, str]) -> Compiled:
    """The same with every outside source held to its pin.

    Raises:
        Unanswered: a source has no pin.
    """
    from dockc.compiler.passes.pin_sources import PinSources
    from dockc.compiler.passes.pipeline import PassContext

    missing = [one for one in loose_sources(compiled.module) if _identifier(one) not in known]
    if missing:
        raise Unanswered(missing)
    return compiled.with_module(PinSources(strict=True).run(compiled.module, PassContext(known)))


def _identifier(request: Request) -> str:
    match request:
        case HttpRequest():
            return request.key
        case GitRequest():
            return request.identifier
        case ImageRequest():
            return A.SCHEME_IMAGE + request.ref
    return ""
