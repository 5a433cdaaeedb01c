"""Traces of the command's own builds, where the environment asks for them; nothing is loaded where it does not."""

from __future__ import annotations

import os

from dockc.base.output import log
from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dockc.engine.otlp import Way
    from dockc.engine.tracing import Trace
    from dockc.rpc.pb import trace_pb2
    from dockc.solver.progress import StatusSink

_HASTE = 1.0
"""Seconds for the spans of a build that was interrupted."""


class Traced:
    """A build whose spans are sent when it is over.

    Attributes:
        trace: the sink that makes them.
    """

    def __init__(self, trace: Trace, way: Way | None) -> None:
        self.trace, self._way = trace, way

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a builder elsewhere is told, so that its spans are below this build's."""
        context = self.trace.context
        return (("traceparent", context.parent), *((("tracestate", context.state),) if context.state else ()))

    def own(self, error: BaseException | None) -> trace_pb2.ResourceSpans:
        """The build's own span alone, for a builder, which has those of the steps."""
        from dockc.engine import tracing

        return tracing.packed(self.trace.spans(error)[:1], os.environ)

    def end(self, error: BaseException | None, more: Mapping[str, Any] | None = None, *, alone: bool = False) -> None:
        """Send the spans. Never fails: a collector that does not answer is told on standard error.

        Args:
            error: what ended the build.
            more: attributes of its span.
            alone: send the build's own span; the builder sends those of the steps.
        """
        from dockc.base.record import replace
        from dockc.commands.ending import Terminated
        from dockc.engine import otlp, tracing

        if self._way is None or isinstance(error, Terminated):  # the process has to be gone
            return
        spans = self.trace.spans(error, more)
        hasty = error is not None and not isinstance(error, DockcError)
        way = replace(self._way, timeout=min(_HASTE, self._way.timeout)) if hasty else self._way
        own = tracing.packed(spans[:1] if alone else spans, os.environ)
        problem = otlp.send(way, [own, *self.trace.received])
        if problem:
            log(f"warning: the trace of this build could not be sent: {problem}\n")


def traced(sink: StatusSink, name: str, *, for_builder: bool = False) -> Traced | None:
    """Traces of a build whose progress goes to `sink`; None where nobody wants them.

    Args:
        sink: takes the progress.
        name: of the build's own span.
        for_builder: the builder wants them, whatever the environment says of a collector.

    Raises:
        UsageError: the environment wants what is not there.
    """
    if not for_builder and not any(key.startswith("OTEL_") for key in os.environ):
        return None
    from dockc.engine import otlp, tracing

    way = otlp.way(os.environ)
    if way is None and not for_builder:
        return None
    context = tracing.Context.read(os.environ.get("TRACEPARENT", ""), os.environ.get("TRACESTATE", ""))
    if not tracing.is_sampled(context, os.environ):
        return None
    return Traced(tracing.Trace(sink, name, context), way)
