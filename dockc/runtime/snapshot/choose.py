"""Choosing the snapshotter: overlayfs where the kernel mounts it, copying elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from dockc.errors import UsageError
from dockc.runtime.snapshot.base import Snapshotter
from dockc.runtime.snapshot.native import NativeSnapshotter
from dockc.runtime.snapshot.overlay import OverlaySnapshotter, OverlayUnavailable
from dockc.runtime.snapshot.squash import SquashCache

log = logging.getLogger(__name__)


def snapshotter(name: str, staging: Path, squashed: SquashCache, *, user: bool) -> Snapshotter:
    """The snapshotter of that name.

    Args:
        name: `overlay`, `native`, or `auto`: overlayfs until the kernel refuses it for the first time.
        staging: this process's own directory, for mount points.
        squashed: where squashed stacks are kept.
        user: `user.overlay.` attributes instead of `trusted.overlay.` ones.

    Raises:
        UsageError: no such snapshotter.
    """
    if name == "overlay":
        return OverlaySnapshotter(staging, squashed, user=user)
    if name == "native":
        return NativeSnapshotter(squashed)
    if name == "auto":
        return AutoSnapshotter(OverlaySnapshotter(staging, squashed, user=user), NativeSnapshotter(squashed))
    raise UsageError(f"unknown snapshotter {name!r}", hint="Use auto, overlay or native.")


class AutoSnapshotter:
    """Uses overlayfs, and copying from the first refusal on. Both read the same layers, so that this is no
    property of the store.

    Mutable state: `_current`, under `_lock`.
    """

    def __init__(self, overlay: Snapshotter, native: Snapshotter) -> None:
        self._current: Snapshotter = overlay
        self._native = native
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Of the one in use."""
        return self._current.name

    @contextmanager
    def view(self, lowers: Sequence[Path | str]) -> Iterator[Path]:
        """As `Snapshotter.view`."""
        with ExitStack() as stack:
            yield self._enter(stack, lambda inner: inner.view(lowers))

    @contextmanager
    def writable(self, lowers: Sequence[Path | str], upper: Path, work: Path) -> Iterator[Path]:
        """As `Snapshotter.writable`."""
        with ExitStack() as stack:
            yield self._enter(stack, lambda inner: inner.writable(lowers, upper, work))

    def _enter(self, stack: ExitStack, use: Callable[[Snapshotter], AbstractContextManager[Path]]) -> Path:
        try:
            return stack.enter_context(use(self._current))
        except OverlayUnavailable as error:
            with self._lock:
                if self._current is not self._native:
                    log.warning("%s; copying files instead, which is slower", error.message)
                self._current = self._native
        return stack.enter_context(use(self._native))
