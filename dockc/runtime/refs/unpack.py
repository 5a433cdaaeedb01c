"""Bringing layers to disk: fetching blobs that are not here, unpacking them into change directories."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import StoreError, UnsafePath
from dockc.oci import digest as digests
from dockc.oci.digest import VerifyingReader
from dockc.runtime.archive.compress import Decompressor
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.content.errors import store_error
from dockc.runtime.content.locks import locked
from dockc.runtime.fsutil import marks
from dockc.runtime.refs import inventory
from dockc.runtime.refs.arrival import Extracting, arriving
from dockc.runtime.refs.database import PROVEN
from dockc.runtime.refs.fetching import fetch_by
from dockc.runtime.refs.types import CacheLayerFailed, DoubtfulProvider
from dockc.runtime.several import TRANSFERS, one_by_one, several, workers
from dockc.runtime.snapshot.files import copy_attributes
from dockc.runtime.snapshot.tarread import apply_layer

if TYPE_CHECKING:
    from dockc.errors import DockcError
    from dockc.runtime.refs.core import Core, ProviderFactory
    from dockc.runtime.refs.database import Blob
    from dockc.runtime.refs.types import Progress

_BLOCK = 1 << 20


def ensure_directories(
    core: Core,
    layers: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
    instead: Sequence[ProviderFactory] = (),
) -> None:
    """Give every layer (lowest first) its change directory; one that is gone is made again from its blob.

    `instead`: providers of whoever needs them, for blobs that those who named them cannot fetch any more.

    Raises:
        StoreError: a layer has neither directory nor blob nor provider; or it is damaged, or the disk is full.
        Cancelled: `cancelled` was set.
    """
    missing = [layer for layer in layers if not core.has_directory(layer)]
    if not missing:
        return
    blobs = {layer: choose_blob(core, layer) for layer in missing}
    with (
        arriving(core, blobs.values(), progress) as report,
        _coming(core, blobs.values(), cancelled, report, instead) as here,
    ):
        below = _Below(core)
        for layer in missing:
            here(blobs[layer])
            check_cancelled(cancelled)
            with locked(core.lock_path("unpack", layer), cancelled):
                if not core.has_directory(layer):
                    _unpack_or_mend(core, layer, below.of(layer), blobs[layer], cancelled, report)


def ensure_record(
    core: Core,
    record_id: str,
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
    instead: Sequence[ProviderFactory] = (),
) -> Sequence[str] | None:
    """`ensure_directories` for all layers of a record.

    A step of a long chain costs as much as one of a short chain: what this process has seen of the record below is not
    looked at again, but for its topmost directory (`moved.mounted` finds out about the others).

    Returns:
        The directories, lowest first; None where some layer stands elsewhere than where it was made (see `refs.moved`).
    """
    ensure = partial(ensure_directories, core, cancelled=cancelled, progress=progress, instead=instead)
    with core.db.lock:
        known = core.trees.get(record_id)
    if known is not None and (not known or os.path.isdir(known[-1])):  # noqa: PTH112 - one string a step
        return known
    if core.moved(record_id):
        ensure(core.stack(record_id))
        return None
    layers = core.stack(record_id)
    below, height = _seen_below(core, layers)
    ensure(layers[height:])
    found: Sequence[str] = core.directories(layers[height:])
    if below and not marks.is_opaque(found[0]):
        found = (*below, *found)
    with core.db.lock:
        core.trees[record_id] = found
        core.trees.trim()
        return core.trees[record_id]


def _seen_below(core: Core, layers: Sequence[str]) -> tuple[Sequence[str], int]:
    """The directories of the highest record below the topmost layer that this process has seen lately, and of how many
    layers that record is.
    """
    for height in range(len(layers) - 1, 0, -1):
        below = layers[height - 1]
        with core.db.lock:
            known = core.trees.get(below)
        if known and os.path.isdir(known[-1]) and core.stack(below) == layers[:height]:  # noqa: PTH112
            return known, height
    return (), 0


class _Below:
    """The directories below each of a run of layers: for one that stands on the one before, that one's and itself."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last = ""
        self._directories: list[str] = []

    def of(self, layer: str) -> Sequence[str]:
        """Change directories below `layer`, lowest first; good until the next call."""
        core = self._core
        if self._last and core.db.parents(layer) == (self._last,):
            added = core.directories((self._last,))
            if marks.is_opaque(added[0]):
                self._directories = []
            self._directories += added
        else:
            self._directories = core.directories(core.below(layer))
        self._last = layer
        return self._directories


def choose_blob(core: Core, layer: str) -> Blob:
    """The blob to unpack a layer from: one that is here, else one that can be fetched."""
    blobs = core.db.blobs(layer)
    for blob in blobs:
        if core.content.has(blob.descriptor.digest):
            return blob
    for blob in blobs:
        if core.provider(blob) is not None:
            return blob
    name = blobs[0].descriptor.digest if blobs else layer
    raise StoreError(
        f"layer {name} is not in the store, and nothing is known that has it",
        hint="Build again with --no-cache, or `dockc doctor --fix` to forget it.",
    )


def fetch(
    core: Core,
    blobs: Sequence[Blob],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> None:
    """Fetch the blobs that are not in the content store, several at a time; the first error ends all."""
    wanted = {b.descriptor.digest: b for b in blobs if not core.content.has(b.descriptor.digest)}
    _fetch(core, wanted, cancelled, progress)


def fetch_sound(
    core: Core,
    blobs: Sequence[Blob],
    *,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
    instead: Sequence[ProviderFactory] = (),
) -> None:
    """`fetch` for blobs that are handed on as they are: those that were damaged on disk are fetched anew."""
    unsure = {b.descriptor.digest: b for b in blobs if not core.content.is_known(b.descriptor.digest)}

    def sound(digest: str, stop: threading.Event) -> bool:
        return core.content.has_sound(digest, stop)

    found = several(sound, unsure, workers(), cancelled=cancelled, name="verify")
    wanted = {digest: blob for (digest, blob), here in zip(unsure.items(), found, strict=True) if not here}
    if wanted:
        with arriving(core, wanted.values(), progress) as report:
            _fetch(core, wanted, cancelled, report, instead)


def _fetch(
    core: Core,
    wanted: Mapping[str, Blob],
    cancelled: threading.Event | None,
    progress: Progress | None,
    instead: Sequence[ProviderFactory] = (),
) -> None:
    several(partial(_bring, core, progress, instead), wanted.values(), TRANSFERS, cancelled=cancelled, name="fetch")


def _bring(
    core: Core, progress: Progress | None, instead: Sequence[ProviderFactory], blob: Blob, stop: threading.Event
) -> str:
    digest = blob.descriptor.digest
    provider = core.provider(blob)
    if provider is None:
        raise StoreError(f"blob {digest} is not in the store, and nothing is known that has it")
    fetch_by(provider, instead, blob.descriptor, blob.origin, core.content, cancelled=stop, progress=progress)
    if not core.content.has(digest):
        raise StoreError(f"blob {digest} was not delivered")
    return digest


@contextmanager
def _coming(
    core: Core,
    blobs: Iterable[Blob],
    cancelled: threading.Event | None,
    progress: Progress,
    instead: Sequence[ProviderFactory],
) -> Iterator[Callable[[Blob], None]]:
    """Blobs that are not here are fetched while the block runs, which waits for each in their order: the first layers
    are unpacked while the others still come.
    """
    wanted = {blob.descriptor.digest: blob for blob in blobs if not core.content.has(blob.descriptor.digest)}
    bring = partial(_bring, core, progress, instead)
    with one_by_one(bring, wanted.values(), TRANSFERS, cancelled=cancelled, name="fetch") as arrived:

        def here(blob: Blob) -> None:
            while blob.descriptor.digest in wanted:
                del wanted[next(arrived)]

        yield here


def mend(core: Core, blob: Blob, cancelled: threading.Event | None = None, progress: Progress | None = None) -> bool:
    """After reading a blob has failed: whether it was the disk's fault, and the blob has been fetched anew.

    Raises:
        StoreError: the blob was damaged here, and nothing is known that has it.
    """
    if core.content.has_sound(blob.descriptor.digest, cancelled):
        return False
    if core.provider(blob) is None:
        raise StoreError(
            f"blob {blob.descriptor.digest} was damaged in the store, and nothing is known that has it",
            hint="Build again with --no-cache, or `dockc doctor --fix` to forget it.",
        )
    fetch(core, [blob], cancelled=cancelled, progress=progress)
    return True


def _unpack_or_mend(
    core: Core,
    layer: str,
    lowers: Sequence[str],
    blob: Blob,
    cancelled: threading.Event | None,
    progress: Progress,
) -> None:
    """Unpack; a blob that was damaged on disk is fetched anew once. A layer that is broken itself leaves no trace."""
    try:
        _unpack(core, layer, lowers, blob, cancelled, progress)
    except (StoreError, UnsafePath) as error:
        if isinstance(error.__cause__, OSError):
            raise  # this machine's fault
        if mend(core, blob, cancelled, progress):
            _unpack(core, layer, lowers, blob, cancelled, progress)
            return
        core.db.forget_blob(layer, blob.variant)  # the next build that meets this layer begins anew
        raise blamed(core, blob, error) from error


def blamed(core: Core, blob: Blob, error: DockcError) -> DockcError:
    """What it means that a whole blob is no layer, or another than was said: its own fault; or that of the cache which has
    it, or of an earlier build that had it from somewhere which is no more: the build can do without.
    """
    provider = core.provider(blob)
    if isinstance(provider, DoubtfulProvider):
        return provider.unusable(blob.descriptor, error.message)
    if provider is not None or not blob.origin:
        return error
    lost = CacheLayerFailed(error.message, hint=error.hint)
    lost.layers = (blob.descriptor.digest,)
    return lost


def _unpack(
    core: Core,
    layer: str,
    lowers: Sequence[str],
    blob: Blob,
    cancelled: threading.Event | None,
    progress: Progress,
) -> None:
    try:
        with core.workspace("unpack") as folder, core.content.open(blob.descriptor.digest) as stream:
            target = folder / "new" / "fs"
            target.mkdir(parents=True)
            inherit_root(target, lowers)
            # What is unpacked is verified as it is read: by the digest of the plain tar, to its very end.
            reading = Extracting(stream, blob.descriptor.digest, blob.descriptor.size, progress)
            plain = VerifyingReader(Decompressor(reading, cancelled=cancelled), blob.diff_id)
            apply_layer(plain, target, lowers=lowers, opaque=core.opaque, limits=core.limits, cancelled=cancelled)
            while plain.read(_BLOCK):
                check_cancelled(cancelled)
            chain = _proof(core, layer, blob)
            inventory.write(core, layer, folder / "new", chain)
            with core.db.transaction():
                settle(core, layer, folder / "new")
                if chain:
                    core.db.set_meta(layer, PROVEN, chain.encode())
            reading.done()
    except OSError as error:
        raise store_error(error, f"unpacking layer {blob.descriptor.digest}", core.root) from error
    except (StoreError, UnsafePath) as error:
        raise type(error)(f"layer {blob.descriptor.digest}: {error.message}", hint=error.hint) from error


def _proof(core: Core, layer: str, blob: Blob) -> str:
    """The chain of diff ids that an image's layer, just verified, ends; "" for others, or where not all is proven."""
    if not core.record(layer).chain_id:
        return ""
    chain = blob.diff_id
    for parent in core.db.parents(layer):
        below = core.proven(parent)
        if below is None:
            return ""
        chain = digests.from_bytes(below + b" " + chain.encode())
    return chain


def inherit_root(target: Path, lowers: Sequence[str]) -> None:
    """Let a new change directory's root look like the one below it (0755 of root where there is none)."""
    if lowers:
        below = lowers[-1]
        copy_attributes(below, os.lstat(below), str(target))
    else:
        target.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def settle(core: Core, record_id: str, made: Path) -> None:
    """Put a finished snapshot (a directory with `fs` inside) in its place; the record knows it from then on."""
    with ExitStack() as stack:
        stack.enter_context(core.db.transaction())
        place = core.snapshot_dir(record_id)
        try:
            made.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # What a process put there that died before it could say so, or what is left of a damaged one.
            core.discard(place)
            made.rename(place)
        core.db.update(record_id, snapshot=1, size=-1)
