"""Digests of what an operation reads from a file system: cache keys by content.

A digest covers the entries below a path with their metadata (names, modes, owners, links, attributes,
data), not their times. The rules, and so the digests, are the reference's (BuildKit `cache/contenthash`): a
file's digest is `fsutil.filehash`'s; a directory's is over its own metadata and then name and digest of
each entry, in byte order; a wildcard or a filter makes a flat list of the paths it selects.

What was computed for a ref is kept with it, so the next build reads only what is new.
"""

from __future__ import annotations

import hashlib
import posixpath
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from dockc.base.record import Mutable, NamedTuple, Record
from dockc.golang.text import quote
from dockc.grammar.globs import NO_PARENT, BadPattern, MatchInfo, PatternMatcher, match, split_wildcards
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.hashtree import LINK, HashTree, Node
from dockc.runtime.refs.failed import leave
from dockc.solver.keydiff import listing_name
from dockc.solver.lent import Key

if TYPE_CHECKING:
    from dockc.runtime.fsutil.filehash import Seen
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.solver.op import ContentDigest, OpContext
    from dockc.solver.result import Result

T = TypeVar("T")

META_KEY = "contenthash.v2"
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()
_TREES_IN_MEMORY = 16
_ENTRIES_IN_MEMORY = 1 << 13
"""Entries of all of these trees but the newest one; each takes some 350 bytes."""
_SMALL = 1 << 13
"""Entries of a tree that is read from the store within ten milliseconds."""
_NAMES_COMPARED = 1000
_MISSING_HINT = "Check the path in the build context or stage it is taken from, and what .dockerignore leaves out."


class Selector(Record):
    """Which part of a file system counts.

    Attributes:
        path: absolute or relative to the root.
        wildcard: `path` is a pattern.
        follow_links: a link at `path` stands for what it points to.
        include: only what matches one of these patterns, relative to `path`.
        exclude: all but what matches these.
        required: each of these must begin the path of something that is selected.
    """

    path: str = "/"
    wildcard: bool = False
    follow_links: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @property
    def filtered(self) -> bool:
        """Whether the digest is over a list of paths."""
        return bool(self.wildcard or self.include or self.exclude)


class Listed(NamedTuple):
    """One entry that a digest is over.

    Attributes:
        path: without a leading slash.
        seen: what of it people may tell apart.
        own: digest of the entry itself.
    """

    path: str
    seen: Seen
    own: bytes


class Listings(Protocol):
    """Whoever remembers what digests are over, so that a change can be told file by file. Any thread."""

    def wants(self, name: str) -> bool:
        """Whether the entries of this name (`solver.keydiff.listing_name`) are not known yet."""
        ...

    def keep(self, name: str, entries: Iterator[Listed]) -> None:
        """Take the entries of a name, as many as are wanted. Must not fail."""
        ...


LISTINGS: Key[Listings] = Key("listings")


def digest_by(selectors: Sequence[Selector], number: int = 0, selector: str = "") -> ContentDigest:
    """A `CacheDep.content_digest` for what `selectors` choose (all, if there are none) of the input of that number;
    `selector` is that of the `CacheDep`.
    """

    async def content_digest(context: OpContext, result: Result) -> str:
        from dockc.runtime.refs.result import ref_of

        ref = ref_of(result)

        def compute() -> str:
            try:
                digest = checksum_all(ref, selectors, cancelled=context.cancelled)
            except FileError:
                leave(context, [ref], content=number)
                raise
            listings = LISTINGS.of(context)
            name = listing_name(digest, selector)
            if listings is not None and listings.wants(name):
                chosen = selectors or (Selector(),)
                _TREES.use(ref, context.cancelled, lambda tree: listings.keep(name, _list_all(tree, chosen)))
            return digest

        return await context.run_blocking(compute)

    return content_digest


def checksum_all(ref: ImmutableRef, selectors: Sequence[Selector], *, cancelled: threading.Event | None = None) -> str:
    """One digest over the digests of several selectors, in their order.

    Raises:
        FileError: `failed to calculate checksum of ref ID: "/path": not found` and the like.
        Cancelled: `cancelled` was set.
    """
    digests: list[str] = []
    for selector in selectors or (Selector(),):
        try:
            digests.append(checksum(ref, selector, cancelled=cancelled))
        except (FileError, BadPattern) as error:
            number = error.errno if isinstance(error, FileError) else 0
            if error.message.endswith(": not found") and not ref.layers():  # as of the empty file system
                raise FileError(f"{selector.path}: no such file or directory", number=number) from error
            raise FileError(
                f"failed to calculate checksum of ref {ref.id}: {error.message}", number=number, hint=error.hint
            ) from error
    return _sha256("\0".join(digests).encode())


def checksum(ref: ImmutableRef | None, selector: Selector, *, cancelled: threading.Event | None = None) -> str:
    """Digest (`sha256:...`) of what one selector chooses; of the empty file system if `ref` is None.

    Raises:
        FileError: `"/path": not found`, too many links, or an entry cannot be read.
        BadPattern: a pattern cannot be read.
        Cancelled: `cancelled` was set.
    """
    path = posixpath.normpath(posixpath.join("/", selector.path.lstrip("/")))
    if ref is None:
        if path == "/":
            return EMPTY
        raise FileError(f"{path}: no such file or directory")
    return _TREES.use(ref, cancelled, lambda tree: _checksum(tree, path, selector))


def checksum_directory(root: Path, selector: Selector, *, cancelled: threading.Event | None = None) -> str:
    """The same for a plain directory, nothing remembered."""
    with HashTree(_open_path(root), cancelled=cancelled) as tree:
        path = posixpath.normpath(posixpath.join("/", selector.path.lstrip("/")))
        return _checksum(tree, path, selector)


def next_tree(ref: ImmutableRef, make: Callable[[Node], Node]) -> Node:
    """What a source makes of what is known of a ref's content, which it only reads: the tree of the next version."""
    return _TREES.use(ref, None, lambda tree: make(tree.nodes))


def rest() -> None:
    """Give back memory where nobody builds: trees that are quickly read again."""
    _TREES.rest()


def store_tree(ref: ImmutableRef, root: Node) -> None:
    """Take `root` for the content of a new ref. Entries without digests are computed when the first digest is asked for;
    only then it is written down, once for both.
    """
    _TREES.put(ref.id, root)


def _load_tree(ref: ImmutableRef) -> Node | None:
    data = ref.get_meta(META_KEY)
    return Node.decode(data) if data else None


def _open_path(root: Path) -> Callable[[], AbstractContextManager[Path]]:
    from contextlib import nullcontext

    return lambda: nullcontext(root)


class _Slot:
    """The tree of one ref; both fields under the lock.

    Attributes:
        root: None until somebody asks.
        unsaved: it is not in the store as it is here.
    """

    __slots__ = ("lock", "root", "unsaved")

    def __init__(self, root: Node | None = None) -> None:
        self.lock = threading.Lock()
        self.root, self.unsaved = root, root is not None


class _Trees:
    """The trees of the refs used lately: of many small ones some, of those with many entries few.

    Mutable state: `_known` and `_sizes` under `_lock`; each tree under its own lock while it is read and extended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Slot] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def put(self, ref_id: str, root: Node) -> None:
        """Take a tree for that of a new ref."""
        with self._lock:
            self._sizes.pop(ref_id, None)
            self._known[ref_id] = _Slot(root)
            self._known.move_to_end(ref_id)

    def _measure(self, ref_id: str, root: Node) -> None:
        """Note how large a tree is now, and let go of others where all are too large together."""
        size = root.count()
        with self._lock:
            if ref_id not in self._known:  # forgotten meanwhile
                return
            self._sizes[ref_id] = size
            total = sum(self._sizes.values())
            for other in [one for one in self._known if one != ref_id]:
                if total <= _ENTRIES_IN_MEMORY:
                    break
                total -= self._sizes.pop(other, 0)
                del self._known[other]

    def rest(self) -> None:
        """Let go of what can be read again in some milliseconds: of small trees that are in the store as they are here."""
        with self._lock:
            for ref_id, slot in tuple(self._known.items()):
                small = self._sizes.get(ref_id, 0) <= _SMALL
                if small and not slot.unsaved and slot.lock.acquire(blocking=False):
                    slot.lock.release()
                    self._sizes.pop(ref_id, None)
                    del self._known[ref_id]

    def use(self, ref: ImmutableRef, cancelled: threading.Event | None, do: Callable[[HashTree], T]) -> T:
        """Do something with the tree of a ref; what it learns is kept."""
        with self._lock:
            slot = self._known.setdefault(ref.id, _Slot())
            self._known.move_to_end(ref.id)
            while len(self._known) > _TREES_IN_MEMORY:
                self._sizes.pop(self._known.popitem(last=False)[0], None)
        with slot.lock:
            news = slot.root is None or slot.unsaved
            root = slot.root = slot.root or _load_tree(ref) or Node.directory()
            with HashTree(ref.reading, root, cancelled=cancelled) as tree:
                try:
                    return do(tree)
                finally:
                    if tree.changed or slot.unsaved:
                        ref.set_meta(META_KEY, root.encode())
                        slot.unsaved = False
                    if tree.changed or news:
                        self._measure(ref.id, root)


_TREES = _Trees()


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _text(digest: bytes) -> str:
    return "sha256:" + digest.hex()


def _checksum(tree: HashTree, path: str, selector: Selector) -> str:
    if not selector.filtered:
        return _text(_lookup(tree, path, follow=selector.follow_links))
    prefix, selected = _select(tree, "" if path == "/" else path, selector)
    if not selected:
        return EMPTY
    if len(selected) == 1 and posixpath.basename(path) == posixpath.basename(selected[0].path):
        return _text(_item_digest(tree, selected[0]))
    listing = hashlib.sha256()
    for item in selected:
        name = item.path.removeprefix(prefix).encode("utf-8", "surrogateescape")
        listing.update(name.replace(b"/", b"\0") or b"\0")
        listing.update(_text(_item_digest(tree, item)).encode())
    return "sha256:" + listing.hexdigest()


def _list_all(tree: HashTree, selectors: Sequence[Selector]) -> Iterator[Listed]:
    """The entries whose digests make the digest of `selectors`, in its order."""
    for selector in selectors:
        path = posixpath.normpath(posixpath.join("/", selector.path.lstrip("/")))
        if selector.filtered:
            for item in _select(tree, "" if path == "/" else path, selector)[1]:
                yield Listed(item.path.strip("/"), item.node.seen, item.node.own)
            continue
        found = tree.find(path, follow=selector.follow_links)
        if found is None:
            continue
        pending = [(path.strip("/"), *found)]
        while pending:
            called, real, node = pending.pop()
            yield Listed(called, node.seen, node.own)
            if node.is_dir:
                below = tree.entries(real, node)
                pending += [
                    (f"{called}/{name}" if called else name, f"{real.rstrip('/')}/{name}", child)
                    for name, child in reversed(below)
                ]


def _lookup(tree: HashTree, path: str, *, follow: bool) -> bytes:
    found = tree.find(path, follow=follow)
    if found is None:
        raise FileError(f"{quote('' if path == '/' else path)}: not found", hint=_what_instead(tree, path))
    return tree.digest(*found)


def _what_instead(tree: HashTree, path: str) -> str:
    """A hint for a path that is not there: a name beside it that looks alike, if there is one."""
    from difflib import get_close_matches

    itself = tree.find(path, follow=False)
    if itself is not None and itself[1].link:
        return f"It is a symbolic link to {quote(itself[1].link)}, which is not there."
    directory, name = posixpath.split(path)
    above = tree.find(directory, follow=True)
    if above is not None and above[1].is_dir:
        alike = get_close_matches(name, [entry for entry, _ in tree.entries(*above)][:_NAMES_COMPARED], n=1)
        if alike:
            return f"Did you mean {quote(posixpath.join(directory, alike[0]))}?"
    return _MISSING_HINT


# --- selections -----------------------------------------------------------------------------------


class _Item(Mutable):
    """An entry that may be selected.

    Attributes:
        path: by the name it was asked for under.
        real: without links.
        node: the entry.
        follow: a link here stands for what it points to.
        listed: it is in the selection.
        include: which include patterns matched it or a directory above.
        exclude: the same for exclude patterns.
    """

    path: str
    real: str
    node: Node
    follow: bool = False
    listed: bool = False
    include: MatchInfo = NO_PARENT
    exclude: MatchInfo = NO_PARENT


def _matcher(patterns: Sequence[str], label: str) -> PatternMatcher | None:
    if not patterns:
        return None
    try:
        return PatternMatcher(patterns)
    except BadPattern as error:
        raise BadPattern(f"invalid {label}: [{' '.join(patterns)}]: {error.message}") from error


class _Filter:
    """Include and exclude patterns, applied on the way down."""

    def __init__(self, selector: Selector) -> None:
        self._include = _matcher(selector.include, "includepatterns")
        self._exclude = _matcher(selector.exclude, "excludepatterns")

    def admits(self, candidate: str, item: _Item, parent: _Item | None) -> bool:
        """Whether `candidate` (relative to what was asked for, "" for that itself) is selected.

        Notes in `item` what its entries need to know.
        """
        if self._include is not None:
            hit, item.include = self._include.matches_under(candidate, parent.include if parent else NO_PARENT)
            if not hit:
                return False
        if self._exclude is not None:
            hit, item.exclude = self._exclude.matches_under(candidate, parent.exclude if parent else NO_PARENT)
            if hit:
                return False
        return True


def _select(tree: HashTree, path: str, selector: Selector) -> tuple[str, list[_Item]]:
    """The selected entries in key order, and the prefix to cut from their paths.

    Args:
        tree: the file system.
        path: clean and absolute, "" for the root.
        selector: with a wildcard or filters.
    """
    prefix, start = path, path
    follow = False
    if selector.wildcard:
        literal, rest = split_wildcards(path)
        prefix = start = "" if literal == "/" else literal
        follow = bool(rest)
    found = tree.find(start or "/", follow=follow)
    if found is None:
        _require(selector, [])
        return prefix, []
    selection = _Selection(tree, path, selector)
    selection.run(prefix, *found)
    _require(selector, selection.selected)
    return prefix, selection.selected


class _Selection:
    def __init__(self, tree: HashTree, path: str, selector: Selector) -> None:
        self.tree = tree
        self.path = path
        self.selector = selector
        self.filter = _Filter(selector)
        self.selected: list[_Item] = []
        self.parents: list[_Item] = []
        self.matched = ""
        # Without brackets a pattern matches component by component, and other branches need no look.
        self.parts = path.split("/") if selector.wildcard and "[" not in path else None

    def run(self, prefix: str, real: str, top: Node) -> None:
        """Visit `top`, which lies at `real` and is called `prefix`, and all below it."""
        for called, place, node in self._walk(prefix, "" if real == "/" else real, top):
            while self.parents and not called.startswith(self.parents[-1].path + "/"):
                self.parents.pop()
            self._visit(called, place, node)

    def _walk(self, called: str, real: str, node: Node) -> Iterator[tuple[str, str, Node]]:
        pending = [(called, real, node)]
        while pending:
            called, real, node = pending.pop()
            yield called, real, node
            if node.is_dir and self._enters(called):
                below = self.tree.entries(real or "/", node)
                pending.extend((f"{called}/{name}", f"{real}/{name}", child) for name, child in reversed(below))

    def _enters(self, called: str) -> bool:
        """Whether something below this directory may be selected."""
        if self.parts is None or (self.matched and (called + "/").startswith(self.matched + "/")):
            return True
        parts = called.split("/")
        return len(parts) < len(self.parts) and match("/".join(self.parts[: len(parts)]), called, strict=True)

    def _visit(self, called: str, real: str, node: Node) -> None:
        if called == self.path == "":
            # The root's own metadata is no part of what is copied from it.
            return
        parent = self.parents[-1] if self.parents else None
        base = self.path
        if self.selector.wildcard:
            if not (self.matched and called.startswith(self.matched + "/")):
                if not match(self.path, called, strict=True):
                    return
                self.matched = called
            base = self.matched
        item = _Item(called, real, node, follow=parent is None and self.selector.follow_links)
        candidate = (called + "/").removeprefix(base + "/").removesuffix("/")
        if self.filter.admits(candidate, item, parent):
            for chosen in (*self.parents, item):
                if not chosen.listed:
                    self.selected.append(chosen)
                    chosen.listed = True
        if node.is_dir:
            self.parents.append(item)


def _item_digest(tree: HashTree, item: _Item) -> bytes:
    """Digest of a selected entry; of a directory its own metadata, since its entries are listed themselves."""
    if item.follow and item.node.kind == LINK:
        return _lookup(tree, item.path, follow=True)
    return tree.own(item.real or "/", item.node)


def _require(selector: Selector, selected: Sequence[_Item]) -> None:
    paths = sorted(item.path for item in selected) if selector.required else []
    for required in selector.required:
        at = bisect_left(paths, required)  # the first that could start with it
        if at == len(paths) or not paths[at].startswith(required):
            raise FileError(f"{quote(required)}: not found")
