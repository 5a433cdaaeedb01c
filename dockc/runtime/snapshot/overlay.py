"""The overlayfs snapshotter: stacks of change directories are mounted as they are."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dockc.errors import StoreError
from dockc.runtime.content.errors import is_full, store_error
from dockc.runtime.snapshot import mounts
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.snapshot.squash import SquashCache

_RUN = 32
_UNUSABLE = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENODEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
)


class OverlayUnavailable(StoreError):
    """The kernel cannot mount overlayfs here (the reason is the message)."""


class OverlaySnapshotter:
    """Mounts below `staging`, in the mount namespace of the caller.

    Args:
        staging: directory for mount points, this process's own.
        squashed: cache for stacks deeper than one mount can take.
        user: read and write `user.overlay.` attributes.
    """

    name = "overlay"

    def __init__(self, staging: Path, squashed: SquashCache, *, user: bool) -> None:
        self._staging = staging
        self._squashed = squashed
        self._user = user

    @contextmanager
    def view(self, lowers: Sequence[Path | str]) -> Iterator[Path]:
        """The stack as one read-only directory."""
        with ExitStack() as stack:
            layers = self._within_limit(lowers, stack)
            while len(layers) < 2:  # an overlay without upper directory wants two
                empty = self._staging / "empty"
                empty.mkdir(exist_ok=True)
                layers = [empty, *layers] if layers else [empty, self._second_empty()]
            target = stack.enter_context(self._mount_point())
            self._mount(layers, target)
            yield target

    @contextmanager
    def writable(self, lowers: Sequence[Path | str], upper: Path, work: Path) -> Iterator[Path]:
        """The stack as one writable directory; without lower layers, `upper` itself."""
        if not lowers:
            yield upper
            return
        with ExitStack() as stack:
            layers = self._within_limit(lowers, stack)
            remove_tree(work)  # an earlier mount without syncing marks it as not to be used again
            work.mkdir()
            target = stack.enter_context(self._mount_point())
            self._mount(layers, target, upper, work)
            yield target

    def _second_empty(self) -> Path:
        second = self._staging / "empty-2"
        second.mkdir(exist_ok=True)
        return second

    def _mount_point(self) -> mounts.MountPoint:
        return mounts.mount_point(self._staging, f"mnt-{secrets.token_hex(6)}")

    def _mount(
        self, layers: Sequence[Path | str], target: Path, upper: Path | None = None, work: Path | None = None
    ) -> None:
        try:
            mounts.mount_overlay(layers, target, upper=upper, work=work, user=self._user)
        except OSError as error:
            if error.errno in _UNUSABLE and not is_full(error):
                raise OverlayUnavailable(f"overlayfs cannot be mounted: {error.strerror}") from error
            raise store_error(error, "mounting layers", self._staging) from error

    def _within_limit(self, lowers: Sequence[Path | str], stack: ExitStack) -> Sequence[Path | str]:
        """The stack, with runs of its lowest layers squashed into one where there are too many, and runs of those.

        Runs have a fixed length, so that a growing stack uses the same ones again; and they are short, so that each of
        its mounts is of few directories.
        """
        low, high = _each_once(lowers), list[Path | str]()
        runs: dict[Path | str, Sequence[Path | str]] = {}
        while len(low) + len(high) > mounts.MAX_LOWERS and len(low) > _RUN:
            made: list[Path | str] = []
            for at in range(0, len(low) - _RUN, _RUN):
                run = low[at : at + _RUN]
                made.append(self._squashed.place(run, plain=False))
                runs[made[-1]] = run
            low, high = made, [*low[len(made) * _RUN :], *high]
        return [self._present(layer, runs, stack) for layer in (*low, *high)]

    def _present(
        self, layer: Path | str, runs: Mapping[Path | str, Sequence[Path | str]], stack: ExitStack
    ) -> Path | str:
        """A layer as it is, or the run that stands for some, in use as long as `stack` is."""
        run = runs.get(layer)
        if run is None:
            return layer
        with ExitStack() as parts:
            if not os.path.isdir(layer):  # noqa: PTH112 - one of many
                for part in run:
                    self._present(part, runs, parts)
            return stack.enter_context(self._squashed.squashed(run, plain=False))


def _each_once(lowers: Sequence[Path | str]) -> Sequence[Path | str]:
    """The stack with each layer at its highest place only: overlayfs refuses one that is there twice.

    Whatever a layer sets, hides or removes, it does again where it comes again, so its lower places show nowhere.
    """
    if len(set(lowers)) == len(lowers):
        return lowers
    return list(dict.fromkeys(reversed(lowers)))[::-1]
