"""Commands on the store: what it holds, freeing space, checking it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.runtime.refs.types import UsageRecord
    from dockc.runtime.refs.usage import Pruned
    from dockc.runtime.store.doctor import Report
    from dockc.runtime.store.images import NamedImage
    from dockc.runtime.store.worker import Worker


@contextmanager
def opened(store: Path | None) -> Iterator[Worker]:
    """The worker of a store, inside the builder's namespaces: files of other users can be removed there."""
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store.worker import Worker, WorkerOptions, default_root

    root = store or default_root()
    enter_build_namespace()
    with Worker(WorkerOptions(root=root)) as worker:
        yield worker


def usage(store: Path | None, filters: Sequence[str] = ()) -> list[UsageRecord]:
    """Records of the store that match any filter; all without filters.

    Raises:
        UsageError: a filter that cannot be understood.
    """
    from dockc.runtime.refs.usage import parse_filter

    matches = [parse_filter(text) for text in filters]
    with opened(store) as worker:
        return [r for r in worker.refs.usage() if not matches or any(match(r) for match in matches)]


def prune(
    store: Path | None, *, everything: bool, filters: Sequence[str] = (), keep_storage: int = 0, keep_duration: int = 0
) -> Pruned:
    """Remove what nothing needs; images with a name stay.

    Args:
        everything: internal records too.
        filters: only what matches any.
        keep_storage: bytes that may stay.
        keep_duration: nanoseconds within which a record was used to stay.
    """
    from dockc.runtime.refs.usage import PrunePolicy, parse_filter
    from dockc.runtime.store.images import reachable

    conditions = tuple(parse_filter(text) for text in filters)
    with opened(store) as worker:
        policy = PrunePolicy(
            all=everything,
            filters=conditions,
            keep_storage=keep_storage,
            keep_duration=keep_duration,
            keep_blobs=frozenset(reachable(worker.content)),
        )
        return worker.refs.prune(policy)


def images(store: Path | None) -> list[NamedImage]:
    """Images with a name."""
    from dockc.runtime.store.images import listing

    with opened(store) as worker:
        return listing(worker.content)


def forget_images(store: Path | None, names: Sequence[str]) -> None:
    """Take names away.

    Raises:
        DockcError: a name that is not there.
    """
    from dockc.runtime.store.images import forget

    with opened(store) as worker:
        for name in names:
            forget(worker.content, name)


def examine(store: Path | None, *, fix: bool) -> Report:
    """Check the whole store."""
    from dockc.runtime.store.doctor import examine as examine_refs

    with opened(store) as worker:
        return examine_refs(worker.refs, keys=worker.keys, fix=fix)
