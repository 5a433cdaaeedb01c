"""What is said and written of the record that a build has left."""

from __future__ import annotations

from dockc.base.output import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from dockc.engine.recording import Described, Recording
    from dockc.engine.request import Asked
    from dockc.solver.progress import StatusSink


def recording(sink: StatusSink, asked: Asked, about: Described | None = None, *, held: bool = False) -> Recording:
    """Keeps the history of a build in its store, and hands everything on; `held` until it is told to begin.

    Raises:
        UsageError: settings that cannot be understood.
    """
    from dockc.base.record import replace
    from dockc.engine.recording import Recording, describe
    from dockc.engine.settings import remembered
    from dockc.runtime.store.place import default_root

    root = asked.compile.store or default_root()
    return Recording(sink, root, replace(about or describe(asked), keep=remembered(root)), held=held)


def write_report(recording: Recording, path: Path | None) -> None:
    """Write the page about a build that has ended, from its record; without a record say that there is none."""
    if path is None:
        return
    from dockc.commands.files import write
    from dockc.commands.report import report_of
    from dockc.engine import history

    found = history.read(recording.path) if recording.path is not None else None
    if found is None:
        log(f"warning: {path} is not written: the build has no record\n")
    else:
        write(path, report_of(found).encode())


def tell_trouble(history: Recording) -> None:
    """Warn where a build's record is not whole."""
    if history.trouble:
        log(f"warning: this build is not in the history as a whole: {history.trouble}\n")
