"""The nodes of the IR: build operations, each made of plain immutable fields and of `Value`s it reads.

A `Value` is a file system: one output of one operation. `None` in the place of a value is the empty file
system (`scratch`). Nodes are made by `ir.module.Builder` only, which shares equal ones; they compare by
identity. What a node *is* (its fields) decides its digest; what is *said about it* (`op.meta`: names, source
places, cache wishes) does not.

"""

from __future__ import annotations

from dockc.base.record import Record, replace
from dockc.llb.modes import ContentCache, Sharing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, ClassVar, Final, TypeVar

    from dockc.llb.definition import LinuxResources, ProgressGroup
    from dockc.oci.platform import Platform

    AnyNode = TypeVar("AnyNode", bound="Node")
    Range = tuple[int, int, int, int]

CUSTOM_NAME = "llb.customname"


class Value:
    """One output of one operation: a file system that exists once the operation has run.

    Attributes:
        op: the operation that makes it.
        index: which of its outputs.
    """

    __slots__ = ("index", "op")

    def __init__(self, op: Op, index: int = 0) -> None:
        self.op = op
        self.index = index

    def __repr__(self) -> str:
        return f"Value({type(self.op).__name__}, {self.index})"


class Hole(Value):
    """A value that is not known yet: operations may read it, `Builder.fill` says later what it is.

    The build context needs it: which of its paths are wanted is known only after all stages are lowered.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def filled(self) -> bool:
        """Whether `Builder.fill` was called."""
        return hasattr(self, "op")

    def __repr__(self) -> str:
        return f"Hole({self.name!r})"


# --- what is said about an operation ------------------------------------------------------------------


class SourceMap:
    """A file that operations come from; compared by identity when made, by content when written out.

    Attributes:
        filename: its name as the user gave it.
        language: name of its language (`Dockerfile`).
        data: its bytes.
        origin: the file system it was read from (the local source `dockerfile`), or None for an empty or
            unknown one; `has_origin` tells these apart.
    """

    __slots__ = ("data", "filename", "has_origin", "language", "origin")

    def __init__(
        self,
        filename: str,
        language: str,
        data: bytes,
        origin: Value | None = None,
        *,
        has_origin: bool | None = None,
    ) -> None:
        self.has_origin: Final = origin is not None if has_origin is None else has_origin
        self.filename: Final = filename
        self.language: Final = language
        self.data: Final = data
        self.origin: Final = origin


class Location(Record, identity=True):
    """Where an operation is written.

    Attributes:
        source: the file.
        ranges: `(start line, start character, end line, end character)`, lines from 1.
    """

    source: SourceMap
    ranges: tuple[Range, ...]


class OpMeta:
    """What is said about an operation; no part of its digest.

    Attributes:
        description: free pairs; `llb.customname` is the name that a progress view shows.
        locations: where it is written.
        ignore_cache: run it even if its result is cached.
        export_cache: whether its result goes into an exported cache; None leaves it to the exporter.
        progress_group: the group it is shown in; its id is any text that is unique in the module, emission
            numbers the groups in the order of the operations.
        resources: limits, for exec.
    """

    __slots__ = ("description", "export_cache", "ignore_cache", "locations", "progress_group", "resources")

    def __init__(
        self,
        name: str | None = None,
        *,
        description: Mapping[str, str] | None = None,
        locations: Iterable[Location] = (),
        ignore_cache: bool = False,
        export_cache: bool | None = None,
        progress_group: ProgressGroup | None = None,
        resources: LinuxResources | None = None,
    ) -> None:
        described = dict(description) if description else {}
        if name is not None:
            described[CUSTOM_NAME] = name
        self.description: Final = described
        self.locations: Final = tuple(locations)
        self.ignore_cache: Final = ignore_cache
        self.export_cache: Final = export_cache
        self.progress_group: Final = progress_group
        self.resources: Final = resources

    @property
    def name(self) -> str:
        """The name for people, or ""."""
        return self.description.get(CUSTOM_NAME, "")


NO_META = OpMeta()


# --- operations --------------------------------------------------------------------------------------


class Node(Record, identity=True):
    """Base of everything that an operation is made of: immutable once made."""


_UNWRITTEN = {"meta", "caps"}  # fields that are no part of an operation's bytes


def replaced(node: AnyNode, **changes: Any) -> AnyNode:
    """A copy of a node with other values for some of its fields."""
    new = replace(node, **changes)
    if isinstance(node, Op) and isinstance(new, Op) and changes.keys() <= _UNWRITTEN and node.wire is not None:
        new.remember(node.wire)
    return new


class Op(Node, kw_only=True):
    """Base of all operations.

    Attributes:
        meta: names, places in the source, cache wishes: everything that is no part of the digest.
        platform: what it runs on, or None where that makes no difference.
        filters: worker constraints (containerd filters).
        caps: capability ids that the operation relies on (metadata, no part of the digest).
    """

    __slots__ = ("_wire",)

    KIND: ClassVar[str] = ""

    meta: OpMeta
    platform: Platform | None = None
    filters: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()

    @property
    def wire(self) -> tuple[str, bytes] | None:
        """Digest and canonical bytes, once `emit.wire` has worked them out."""
        return getattr(self, "_wire", None)

    def remember(self, wire: tuple[str, bytes]) -> None:
        """Keep digest and bytes: the fields that they are made of never change."""
        object.__setattr__(self, "_wire", wire)

    def inputs(self) -> list[Value]:
        """The values it reads, in the order in which a definition visits them."""
        return []


# --- sources ------------------------------------------------------------------------------------------


class SourceOp(Op):
    """Content from outside: an image, a local directory, a git repository, a URL, an OCI layout.

    Attributes:
        identifier: scheme and name (`docker-image://...`, see `llb.attrs`).
        attrs: pairs, sorted by key.
    """

    identifier: str
    attrs: tuple[tuple[str, str], ...]

    KIND = "source"


# --- exec ---------------------------------------------------------------------------------------------


class Mount(Node):
    """A directory that an exec sees at `target`.

    Attributes:
        target: absolute path inside the root.
        source: what is mounted; None is an empty directory.
        selector: path inside `source`, or "".
        readonly: writes are refused, and there is no output.
        no_output: writes are allowed and thrown away.
        cache_id: a persistent cache directory of this name, or "".
        sharing: one of `Sharing`, for caches.
        tmpfs: memory only.
        tmpfs_size: limit in bytes, 0 for none.
        content_cache: one of `ContentCache`.
    """

    target: str
    source: Value | None = None
    selector: str = ""
    readonly: bool = False
    no_output: bool = False
    cache_id: str = ""
    sharing: int = Sharing.SHARED
    tmpfs: bool = False
    tmpfs_size: int = 0
    content_cache: int = ContentCache.DEFAULT

    @property
    def has_output(self) -> bool:
        """Whether what is written there can be read by a later operation."""
        return not (self.readonly or self.no_output or self.cache_id or self.tmpfs)


class Secret(Node):
    """A secret that an exec sees as a file (`target`), as a variable (`env`), or both."""

    id: str
    target: str | None = None
    env: str | None = None
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


class Ssh(Node):
    """An agent socket that an exec sees at `target` ("" lets the `Builder` choose)."""

    id: str
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


class ProxyEnv(Node):
    """Proxy variables that a process sees and that are no part of its cache key."""

    http_proxy: str = ""
    https_proxy: str = ""
    ftp_proxy: str = ""
    no_proxy: str = ""
    all_proxy: str = ""


class ExecOp(Op):
    """A process in a container.

    Attributes:
        mounts: sorted by target; the one at `/` is the root.
        args: argument vector.
        env: `KEY=value` strings, in order.
        cwd: absolute working directory.
        user: `name`, `uid`, `name:group`, or "".
        hosts: pairs of host name and address.
        ulimits: triples of name, soft and hard limit.
        exit_codes: statuses that count as success, or None for just 0.
        devices: pairs of CDI name and whether it is optional.
        remove_mount_stubs: directories made only to mount something there are removed afterwards.
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    hostname: str
    cgroup_parent: str
    hosts: tuple[tuple[str, str], ...]
    ulimits: tuple[tuple[str, int, int], ...]
    exit_codes: tuple[int, ...] | None
    network: int
    security: int
    proxy: ProxyEnv | None
    mounts: tuple[Mount, ...]
    secrets: tuple[Secret, ...]
    ssh: tuple[Ssh, ...]
    devices: tuple[tuple[str, bool], ...]
    remove_mount_stubs: bool = True

    KIND = "exec"

    def inputs(self) -> list[Value]:
        """Mount sources, in the order of their targets."""
        return [m.source for m in self.mounts if m.source is not None]

    @property
    def root(self) -> Mount:
        """The mount at `/`."""
        return next(m for m in self.mounts if m.target == "/")

    def output_index(self, mount: Mount) -> int:
        """The output that holds what was written to `mount`, or -1 if there is none."""
        if not mount.has_output:
            return -1
        writable = [m for m in self.mounts if m.has_output]
        return next(i for i, m in enumerate(writable) if m is mount)


# --- files --------------------------------------------------------------------------------------------


class Owner(Node):
    """Who owns new files: names are looked up in the file system that is changed, numbers are ids."""

    user: str | int | None = None
    group: str | int | None = None


class FileAction(Node):
    """Base of the steps of a `FileOp`. `timestamp` is in nanoseconds of Unix time, -1 for "leave it"."""

    KIND: ClassVar[str] = ""


class Copy(FileAction):
    """Copy `src` inside `source` to `dest`.

    Attributes:
        source: where from; None is an empty file system.
        mode: permission bits, or -1 to keep them; `mode_str` (`u+x,go-w`) instead when not "".
        follow_symlinks: resolve links in `src`.
        dir_contents: of a directory, copy what is inside.
        unpack: a local archive is unpacked.
        create_dest: make missing parents of `dest`.
        wildcard: `src` is a pattern; `empty_wildcard` allows it to match nothing.
        include: only paths matching one of these patterns; `exclude` wins over it.
        required: paths that must be among the included ones.
        replace_existing: an existing `dest` of another type is replaced.
    """

    source: Value | None
    src: str
    dest: str
    owner: Owner | None = None
    mode: int = -1
    mode_str: str = ""
    follow_symlinks: bool = False
    dir_contents: bool = False
    unpack: bool = False
    create_dest: bool = False
    wildcard: bool = False
    empty_wildcard: bool = False
    timestamp: int = -1
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    replace_existing: bool = False

    KIND = "copy"


class Mkfile(FileAction):
    """Write a file."""

    path: str
    mode: int
    data: bytes
    owner: Owner | None = None
    timestamp: int = -1

    def __init__(self, path: str, mode: int, data: bytes, *, owner: Owner | None = None, timestamp: int = -1) -> None:
        Record.__init__(self, path=path, mode=mode & 0o777, data=data, owner=owner, timestamp=timestamp)

    KIND = "mkfile"


class Mkdir(FileAction):
    """Make a directory, with its missing parents if `parents`."""

    path: str
    mode: int
    parents: bool = False
    owner: Owner | None = None
    timestamp: int = -1

    def __init__(
        self, path: str, mode: int, *, parents: bool = False, owner: Owner | None = None, timestamp: int = -1
    ) -> None:
        Record.__init__(self, path=path, mode=mode & 0o777, parents=parents, owner=owner, timestamp=timestamp)

    KIND = "mkdir"


class Rm(FileAction):
    """Remove a path and everything below it."""

    path: str
    allow_missing: bool = False
    wildcard: bool = False

    KIND = "rm"


class Symlink(FileAction):
    """Make a symbolic link at `newpath` that holds `oldpath`."""

    oldpath: str
    newpath: str
    owner: Owner | None = None
    timestamp: int = -1

    KIND = "symlink"


class FileOp(Op):
    """A sequence of file actions on `base`; each works on the result of the one before."""

    base: Value | None
    actions: tuple[FileAction, ...]

    KIND = "file"

    def inputs(self) -> list[Value]:
        """The base, then the copied file systems from the last action to the first."""
        found = [] if self.base is None else [self.base]
        copies = [a for a in reversed(self.actions) if isinstance(a, Copy)]
        return found + [a.source for a in copies if a.source is not None]


# --- file systems -------------------------------------------------------------------------------------


class MergeOp(Op):
    """File systems laid over each other; later ones win. At least two."""

    layers: tuple[Value, ...]

    KIND = "merge"

    def inputs(self) -> list[Value]:
        """All layers, bottom first."""
        return list(self.layers)


class DiffOp(Op):
    """What `upper` has changed against `lower`."""

    lower: Value | None
    upper: Value | None

    KIND = "diff"

    def inputs(self) -> list[Value]:
        """Lower, then upper."""
        return [v for v in (self.lower, self.upper) if v is not None]


class PassthroughOp(Op):
    """Hands some of its inputs on, once all of them are there."""

    id: str
    values: tuple[Value, ...]
    forwarded: tuple[int, ...]

    KIND = "passthrough"

    def inputs(self) -> list[Value]:
        """All values, forwarded or not."""
        return list(self.values)
