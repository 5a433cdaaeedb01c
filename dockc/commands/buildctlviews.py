"""What `buildctl build` writes of a build's progress beside showing it: `--trace` and `--debug-json-cache-metrics`.

Source: moby/buildkit, cmd/buildctl (build, cachemetrics).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from dockc.base.pattern import pattern
from dockc.console.rawjson import RawJsonProgress
from dockc.console.view import View
from dockc.errors import UsageError
from dockc.solver.progress import SolveStatus

_FROM = pattern(r"\[.*\] FROM")
_NOT_OF_USERS = ("[internal]", "[auth]", "importing cache", "exporting ")


class Beside:
    """Files that hear of a build's progress."""

    def __init__(self, trace: str, metrics: str) -> None:
        """Open them; a trace is added to its file.

        Args:
            trace: file that gets each status as a line of JSON, or "".
            metrics: file that is told how much came from the cache, or "stdout", "stderr" or "".

        Raises:
            UsageError: one of them cannot be written.
        """
        self._trace = _opened(trace, os.O_APPEND) if trace else None
        self._metrics = metrics
        self._into = _opened(metrics, os.O_TRUNC) if metrics not in {"", "stdout", "stderr"} else None
        self._seen: dict[str, _Seen] = {}
        self._began = time.monotonic()

    def joined(self, view: View) -> View:
        """The view, with these files beside it where there are any."""
        return _Both(view, self._take) if self._trace is not None or self._metrics else view

    def finish(self, write: Callable[[str], object]) -> None:
        """The build is done: say what came from the cache, and close the files. `write` is standard output."""
        if self._trace is not None:
            self._trace.close()
        if self._into is not None:
            with self._into:
                self._into.write(self._summary())
        elif self._metrics == "stderr":
            sys.stderr.write(self._summary())
        elif self._metrics:
            write(self._summary())

    def _take(self, status: SolveStatus) -> None:
        if self._trace is not None:
            RawJsonProgress(self._trace)(status)
        if self._metrics:
            for vertex in status.vertexes:
                seen = self._seen.setdefault(vertex.digest, _Seen(vertex.name))
                seen.is_base = seen.is_base or _FROM.match(vertex.name) is not None
                seen.cached = seen.cached or vertex.cached
                seen.completed = seen.completed or vertex.completed is not None

    def _summary(self) -> str:
        mine = [one for one in self._seen.values() if not one.name.startswith(_NOT_OF_USERS)]
        missed = [one for one in mine if not one.cached and not one.is_base]
        numbers = {
            "total": len(self._seen),
            "completed": sum(one.completed for one in self._seen.values()),
            "user_total": len(mine),
            "user_cached": sum(one.cached for one in mine),
            "user_completed": sum(one.completed for one in mine),
            "user_cacheable": len(mine),
            "from": sum(one.is_base for one in mine),
            "miss": len(missed),
            "client_duration_ms": int((time.monotonic() - self._began) * 1000),
        }
        lines = [f"cache miss: {one.name}" for one in missed]
        return "".join(f"{line}\n" for line in [*lines, json.dumps(numbers, separators=(",", ":"))])


class _Seen:
    """What was heard of a vertex."""

    def __init__(self, name: str) -> None:
        self.name, self.is_base, self.cached, self.completed = name, False, False, False


class _Both:
    """A view, and someone who hears the same."""

    def __init__(self, view: View, other: Callable[[SolveStatus], None]) -> None:
        self._view, self._other = view, other

    def __call__(self, status: SolveStatus) -> None:
        """See `View`."""
        self._other(status)
        self._view(status)

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """See `View`."""
        self._view.finish(error, logs=logs)


def _opened(name: str, how: int) -> TextIO:
    try:
        return os.fdopen(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | how, 0o600), "w", encoding="utf-8")
    except (OSError, ValueError) as exc:  # ValueError: a name with a zero byte
        raise UsageError(f"cannot write {name}: {getattr(exc, 'strerror', exc)}") from exc
