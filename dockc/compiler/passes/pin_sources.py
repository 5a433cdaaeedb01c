"""Hold sources to what a lock file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.ir.module import Module
from dockc.compiler.ir.ops import Op, SourceOp, replaced
from dockc.compiler.ir.rewrite import Facts, Replacement, Rewrite, rewrite
from dockc.compiler.passes.pipeline import PassContext
from dockc.errors import UsageError, without_credentials
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import sources


class PinSources(Record):
    """Name every outside source by its content: images by digest, git by commit, URLs by checksum.

    What it does: looks every source up in the pins that it is given (a lock file's content, from source
    identifier to digest, commit or checksum). An image gets `@sha256:...`, a git source `git.checksum`, a URL
    `http.checksum`. A source that is pinned already stays.

    When it is legal: always; a pin that does not match what is fetched makes the build fail instead of
    changing it.

    What it changes: identifiers or attributes of the sources and the digests above them.

    Example:
        with a pin for `docker-image://docker.io/library/debian:12`, that source becomes
        `docker-image://docker.io/library/debian:12@sha256:...`.

    Options:
        strict: a source without a pin is an error.
    """

    name: ClassVar[str] = "pin-sources"
    strict: bool = False

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class.

        Raises:
            UsageError: `strict`, and a source has no pin.
        """
        pins = context.pins

        def pin(op: Op, facts: Facts) -> Replacement | None:
            assert isinstance(op, SourceOp)
            return _pinned(op, pins, self.strict)

        return rewrite(module, (Rewrite("pin source", SourceOp, pin),), context.trace)


def _pinned(op: SourceOp, pins: Mapping[str, str], strict: bool) -> SourceOp | None:
    identifier, attrs = op.identifier, dict(op.attrs)
    image = identifier.startswith(A.SCHEME_IMAGE)
    key = A.GIT_CHECKSUM if identifier.startswith(A.SCHEME_GIT) else A.HTTP_CHECKSUM
    if image:
        held = "@" in identifier
    elif identifier.startswith((A.SCHEME_GIT, A.SCHEME_HTTP, A.SCHEME_HTTPS)):
        held = key in attrs
    else:
        return None
    if held:
        return None
    pin = pins.get(identifier) or pins.get(without_credentials(identifier))
    if pin is None:
        if strict:
            raise UsageError(f"no pin for {identifier}", hint="run `dockc lock`")
        return None
    if image:
        identifier = f"{identifier}@{pin}"
    else:
        attrs[key] = pin
    caps = tuple(sorted({*op.caps, *sources.caps(identifier, attrs)}))
    return replaced(op, identifier=identifier, attrs=tuple(sorted(attrs.items())), caps=caps)
