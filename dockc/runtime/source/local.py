"""The `local://` source: a directory of the user, brought into the store.

What is wanted of the directory (`.dockerignore`, the paths that COPY reads) is walked; what has changed since
the last build of the same directory is copied on top of the last snapshot. A file counts as unchanged when
type, mode, size, times and inode are what they were; it is neither read nor hashed again. The cache key is
the digest of the content and of the times: steps look at the content alone, so a touched file or another checkout
of the same sources runs none of them again, but one that does run gets the files with the times they have now.

In the store everything belongs to root and keeps its times. Links stay links, wherever they point to.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base import jsontext
from dockc.base.record import Record
from dockc.errors import DockcError, SolveError
from dockc.golang.numbers import NumberError, parse_bool
from dockc.golang.text import quote
from dockc.llb import attrs
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.outline import NAME, Outline
from dockc.runtime.fsutil.walk import Filter, walk
from dockc.runtime.refs import contenthash
from dockc.runtime.refs.types import RecordType
from dockc.runtime.session.files import LOCALS, OTHERS, Report
from dockc.runtime.source import localsync
from dockc.runtime.source.arrival import Arrival, stands_alone
from dockc.runtime.source.base import SourceKey

if TYPE_CHECKING:
    from dockc.oci.platform import Platform
    from dockc.runtime.fsutil.hashtree import Node
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef, MutableRef
    from dockc.runtime.session.files import Directory, Sender
    from dockc.runtime.source.base import Backing
    from dockc.runtime.source.localsync import Changes, Manifest
    from dockc.solver.op import OpContext

_KEY = "local.key"
_DIRECTORY = "local.directory"
_MANIFEST = "local.manifest"
_TIMES = "local.times"
_CONTENT = "local.content"
_PASSING = "local.passing"
_REPORT_EVERY = 0.1


class LocalOptions(Record):
    """What a local source asks for.

    Attributes:
        name: which of the build's directories.
        filter: which of its entries.
        hint: tells apart uses of one directory that shall not share a snapshot.
        session: id of the client's session that lends it; "" or that of the build itself for its own.
        compare: unchanged files are taken from the last snapshot; otherwise everything is copied again.
        content: patterns of what comes with its content, all the rest in a list alone (`fsutil.outline`); None: all comes.
    """

    name: str
    filter: Filter
    hint: str = ""
    compare: bool = True
    session: str = ""
    content: tuple[str, ...] | None = None


def parse_options(name: str, attributes: Mapping[str, str]) -> LocalOptions:
    """Read the attributes of a `local://NAME` source.

    Raises:
        SolveError: an attribute cannot be read, or asks for what is not done here.
    """
    session = attributes.get(attrs.LOCAL_SESSION, "")
    prefix, found, rest = session.partition(":")
    if found:
        name = f"{prefix}-{name}"
    content = None
    told = attributes.get(attrs.LOCAL_METADATA_TRANSFER)
    try:
        if told is not None and parse_bool(told):
            content = _strings(attributes, attrs.LOCAL_METADATA_TRANSFER_EXCLUDE) or ()
    except NumberError as error:
        raise SolveError(f"invalid value for {attrs.LOCAL_METADATA_TRANSFER} {quote(told or '')}: {error}") from error
    follow = _strings(attributes, attrs.LOCAL_FOLLOW)
    return LocalOptions(
        name,
        Filter(
            include=_strings(attributes, attrs.LOCAL_INCLUDE) or (),
            exclude=_strings(attributes, attrs.LOCAL_EXCLUDE) or (),
            follow=follow,
        ),
        hint=attributes.get(attrs.LOCAL_SHARED_KEY_HINT, ""),
        compare=attributes.get(attrs.LOCAL_DIFFER, "") != attrs.DIFFER_NONE,
        session=rest if found else session,
        content=content,
    )


def _strings(attributes: Mapping[str, str], key: str) -> tuple[str, ...] | None:
    text = attributes.get(key)
    if text is None:
        return None
    try:
        values = jsontext.parsed(text)
    except ValueError as error:
        raise SolveError(f"invalid value for {key}: {error}") from error
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SolveError(f"invalid value for {key}: not a list of strings")
    return tuple(values)


class LocalSource:
    """One local source operation (`source.base.Source`).

    Mutable state: `_ref`, a hold on the snapshot between `key` and `snapshot`; one thread at a time.
    """

    def __init__(self, name: str, attributes: Mapping[str, str], refs: RefManager) -> None:
        """Read the attributes.

        Raises:
            SolveError: as `parse_options`.
        """
        self._options = parse_options(name, attributes)
        self._refs = refs
        self._ref: ImmutableRef | None = None

    def key(self, ctx: OpContext) -> SourceKey:
        """Bring the directory in and name its content.

        Raises:
            SolveError: the build has no such directory, or something in it cannot be read.
        """
        ref = self._bring_in(ctx)
        digest = contenthash.checksum(ref, contenthash.Selector(), cancelled=ctx.cancelled)
        times = (ref.get_meta(_TIMES) or b"").hex()
        self._ref = _only(self._refs, ref, f"{digest}:{times}".encode())
        chosen = self._options.filter
        preimage = {
            "name": self._options.name,
            "content": digest,
            "times": times,
            "include": list(chosen.include),
            "exclude": list(chosen.exclude),
            "follow": list(chosen.follow or ()),
        }
        return SourceKey(f"local:{digest}:{times}", pin=digest, preimage=preimage)

    def snapshot(self, ctx: OpContext) -> ImmutableRef | None:
        """A hold on the snapshot that `key` made."""
        ref = self._bring_in(ctx)
        self._ref = None
        return ref

    def _bring_in(self, ctx: OpContext) -> ImmutableRef:
        if self._ref is None:
            name = self._options.name
            label = "transferring"

            def report(current: int, done: bool) -> None:
                ctx.status(label, current=current, done=done)

            options = self._options
            directory = _directory(ctx, name, options.session)
            outline = Outline(options.content) if options.content is not None else None
            with directory.open(
                options.filter, compare=options.compare, outline=outline, cancelled=ctx.cancelled, report=report
            ) as found:
                self._ref = _made(
                    self._refs,
                    found,
                    options,
                    place=directory.key,
                    lasting=directory.lasting,
                    outline=outline,
                    report=report,
                    cancelled=ctx.cancelled,
                )
        return self._ref

    def __del__(self) -> None:
        # Where the solver found the content in its cache, nobody has asked for the snapshot. The store may be
        # closed by now, which gave up all holds.
        ref = getattr(self, "_ref", None)
        if ref is not None:
            with suppress(Exception):
                ref.release()


def _directory(ctx: OpContext, name: str, session: str) -> Directory:
    others = OTHERS.ask(ctx, lambda find: find(session)) if session else None
    if others is not None:
        return others[name]
    found = LOCALS.ask(ctx, lambda directories: directories.get(name))
    if found is None:
        raise SolveError(
            f'no access allowed to dir "{name}"',
            hint=f"The build was given no directory for the local source {name!r}.",
        )
    return found


def _made(
    refs: RefManager,
    found: Path | Sender,
    options: LocalOptions,
    *,
    place: str,
    lasting: bool,
    outline: Outline | None,
    report: Report | None,
    cancelled: threading.Event | None,
) -> ImmutableRef:
    if isinstance(found, Path):
        return snapshot(
            refs, found, options, place=place, lasting=lasting, outline=outline, report=report, cancelled=cancelled
        )
    return received(refs, found, options, place=place, lasting=lasting, report=report, cancelled=cancelled)


def snapshot(
    refs: RefManager,
    directory: Path,
    options: LocalOptions,
    *,
    place: str = "",
    lasting: bool = True,
    outline: Outline | None = None,
    report: Report | None = None,
    cancelled: threading.Event | None = None,
) -> ImmutableRef:
    """The wanted entries of `directory` as they are now.

    Args:
        refs: where it is kept, and where the last snapshot of the directory is found.
        directory: on the host.
        options: what is wanted.
        place: tells the directory from others, also in later builds; "" for its path.
        lasting: whether later builds may ask for it by the same `place`.
        outline: what it chose comes, and its list; None: all comes.
        report: told of the progress.
        cancelled: looked at for each entry.

    Raises:
        FileError: something cannot be read (`error from sender: open /a/b: permission denied`) or written.
        BadPattern: a pattern cannot be read.
        Cancelled: `cancelled` was set.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise SolveError(f"local source {options.name!r}: {directory} is not a directory")
    manifest = localsync.rows_of(walk(directory, options.filter, cancelled, avoid=refs.root))
    held: dict[str, bytes] = {}
    if outline is not None:
        manifest, held = localsync.outlined(manifest, outline), {NAME: outline.data}
    keys = _keys(place or str(directory), options)
    last = _last(refs, keys) if options.compare else None
    maker = _Maker(refs, directory, options, keys, held, report, cancelled)
    if last is None:
        made = maker.make(manifest, None, {}, localsync.changes_between({}, manifest))
        if not lasting:
            made.set_meta(_PASSING, b"1")
        return made
    with last:
        old = localsync.decode(last.get_meta(_MANIFEST)) or {}
        changes = localsync.changes_between(old, manifest)
        if not changes:
            return last.clone()
        made = maker.make(manifest, last, old, changes)
        _replace(last, keys)
        if not lasting:
            made.set_meta(_PASSING, b"1")
        return made


def received(
    refs: RefManager,
    sender: Sender,
    options: LocalOptions,
    *,
    place: str,
    lasting: bool = True,
    report: Report | None = None,
    cancelled: threading.Event | None = None,
) -> ImmutableRef:
    """What a client sends of a directory; the same as `snapshot` of a copy of it.

    Raises:
        DockcError: the client cannot send it, or its files cannot be written.
        Cancelled: `cancelled` was set.
    """
    keys = _keys(place, options)
    with ExitStack() as stack:
        last = _last(refs, keys) if options.compare else None
        old: Manifest = {}
        if last is not None:
            stack.enter_context(last)
            old = localsync.decode(last.get_meta(_MANIFEST)) or {}
        arrival = stack.enter_context(Arrival(refs, options.name, last, old, cancelled))
        size = sender.send(arrival)
        mutable = arrival.finish()
        if report is not None:
            report(size, True)
        if mutable is None:
            assert last is not None
            return last.clone()
        made = _committed(mutable, arrival.manifest, arrival.changes, last, keys, arrival.known)
        if last is not None:
            _replace(last, keys)
        if not lasting:
            made.set_meta(_PASSING, b"1")
        return made


def _replace(last: ImmutableRef, keys: tuple[tuple[str, bytes], ...]) -> None:
    """The next build starts from the snapshot that has been made from this one."""
    for key, _ in keys:
        last.set_meta(key, None)


def _committed(
    mutable: MutableRef,
    manifest: Manifest,
    changes: Changes,
    last: ImmutableRef | None,
    keys: tuple[tuple[str, bytes], ...],
    known: Mapping[str, localsync.Known] | None = None,
) -> ImmutableRef:
    """A finished snapshot with what is to be known of it."""
    made = mutable.commit()

    def tree_after(before: Node | None) -> Node:
        return localsync.digest_tree(manifest, changes, before, known)

    contenthash.store_tree(made, tree_after(None) if last is None else contenthash.next_tree(last, tree_after))
    made.set_meta(_MANIFEST, localsync.encode(manifest))
    made.set_meta(_TIMES, localsync.digest_times(manifest))
    for key, value in keys:
        made.set_meta(key, value)
    return made


def _only(refs: RefManager, ref: ImmutableRef, content: bytes) -> ImmutableRef:
    """The one snapshot of a content that is kept: `ref`, or an earlier one in its place; the caller's hold moves.

    A directory that nobody can ask for again (a client that has no key for its files, a Dockerfile from standard input)
    is copied in each build, and so is one of which everything is wanted afresh; without this, each build of the same
    files would leave another copy of them.
    """
    if ref.get_meta(_CONTENT) == content:
        return ref
    for ref_id in refs.find(_CONTENT, content):
        try:
            other = refs.get(ref_id)
        except DockcError:  # pruned meanwhile
            continue
        if other.id != ref.id and _may_stand_for(other, ref):
            for key in (_MANIFEST, _KEY, _DIRECTORY, _PASSING):
                other.set_meta(key, ref.get_meta(key))
            refs.drop(ref)
            return other
        other.release()
    ref.set_meta(_CONTENT, content)
    return ref


def _may_stand_for(other: ImmutableRef, ref: ImmutableRef) -> bool:
    """Whether no other directory's next build starts from a snapshot."""
    place = other.get_meta(_DIRECTORY)
    return other.get_meta(_PASSING) is not None or place is None or place == ref.get_meta(_DIRECTORY)


def _keys(directory: str, options: LocalOptions) -> tuple[tuple[str, bytes], ...]:
    """Under which metadata a snapshot is found again: first the same question, then the same directory."""
    chosen = options.filter
    place: list[object] = [directory, options.hint]
    if options.content is not None:
        place.append(list(options.content))
    question = [*place, list(chosen.include), list(chosen.exclude), chosen.follow and list(chosen.follow)]
    return ((_KEY, _digest(question)), (_DIRECTORY, _digest(place)))


def _digest(value: object) -> bytes:
    return hashlib.sha256(json.dumps(value).encode()).digest()


def _last(refs: RefManager, keys: tuple[tuple[str, bytes], ...]) -> ImmutableRef | None:
    """A hold on the snapshot to start from."""
    for key, value in keys:
        for ref_id in refs.find(key, value):
            try:
                ref = refs.get(ref_id)
            except DockcError:  # pruned meanwhile
                continue
            if ref.get_meta(_MANIFEST) is not None:
                return ref
            ref.release()
    return None


class _Maker:
    """Makes snapshots of one directory."""

    def __init__(
        self,
        refs: RefManager,
        directory: Path,
        options: LocalOptions,
        keys: tuple[tuple[str, bytes], ...],
        held: Mapping[str, bytes],
        report: Report | None,
        cancelled: threading.Event | None,
    ) -> None:
        self._refs = refs
        self._held = held
        self._directory = directory
        self._name = options.name
        self._keys = keys
        self._report = report
        self._cancelled = cancelled
        self._reported = 0.0
        self._copied = 0

    def make(self, manifest: Manifest, last: ImmutableRef | None, old: Manifest, changes: Changes) -> ImmutableRef:
        """The snapshot with the entries of `manifest`; `last`, which stays the caller's, has those of `old`."""
        base = last
        todo = changes
        if last is not None and stands_alone(changes, manifest, last):
            base = None
            todo = localsync.changes_between({}, manifest)
        with self._refs.new_mutable(
            base, description=f"local source for {self._name}", record_type=RecordType.LOCAL_SOURCE
        ) as mutable:
            with mutable.mount() as mounted, Root(self._directory) as source, Root(mounted) as target:
                copier = localsync.Copier(source, target, manifest, self._progress, self._cancelled, held=self._held)
                copier.run(todo, old if base is not None else {})
            made = _committed(mutable, manifest, changes, last, self._keys, copier.known)
        if self._report is not None:
            self._report(self._copied, True)
        return made

    def _progress(self, copied: int) -> None:
        self._copied = copied
        now = time.monotonic()
        if self._report is not None and now - self._reported >= _REPORT_EVERY:
            self._reported = now
            self._report(copied, False)


def make(identifier: str, attributes: Mapping[str, str], platform: Platform, backing: Backing) -> LocalSource:
    """See `table.SOURCES`."""
    return LocalSource(identifier.removeprefix(attrs.SCHEME_LOCAL), attributes, backing.refs)
