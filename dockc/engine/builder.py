"""What builds: the engine in this process, or a daemon at the other end of a wire. Who asks need not know which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dockc.engine.request import BuildRequest, Built
    from dockc.runtime.session.base import Session
    from dockc.solver.progress import StatusSink


class Builder(Protocol):
    """Builds what is asked for, any number of requests at once."""

    async def build(self, request: BuildRequest, session: Session, sink: StatusSink) -> Built:
        """Build, and make all outputs. Cancelling the task cancels the build, which has ended when this raises.

        Args:
            request: what to build; data that may cross a wire.
            session: what the client lends; asked for as it is needed.
            sink: told of the progress, on the loop's thread.

        Raises:
            FailedStep: a step failed.
            DockcError: anything else that can go wrong on purpose.
        """
        ...
