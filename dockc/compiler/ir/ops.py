"""The nodes of the IR: build operations, each made of plain immutable fields and of `Value`s it reads.

A `Value` is a file system: one output of one operation. `None` in the place of a value is the empty file
system (`scratch`). Nodes are made by `ir.module.Builder` only, which shares equal ones; they compare by
identity. What a node *is* (its fields) decides its digest; what is *said about it* (`op.meta`: names, source
places, cache wishes) does not.

The classes are written out rather than generated: the compile command loads this module on every start, and
a generated dataclass costs a millisecond each. `Final` makes the type checker refuse assignments.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Final, TypeVar

    from dockc.compiler.ir.module import OpMeta
    from dockc.oci.platform import Platform

    AnyNode = TypeVar("AnyNode", bound="Node")

NET_SANDBOX, NET_HOST, NET_NONE = 0, 1, 2
SECURITY_SANDBOX, SECURITY_INSECURE = 0, 1
SHARING_SHARED, SHARING_PRIVATE, SHARING_LOCKED = 0, 1, 2
CONTENT_CACHE_DEFAULT, CONTENT_CACHE_ON, CONTENT_CACHE_OFF = 0, 1, 2


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


class Node:
    """Base of everything that an operation is made of: immutable once made."""

    __slots__ = ()


_UNWRITTEN = {"meta", "caps"}  # fields that are no part of an operation's bytes
_SLOTS: dict[type, tuple[str, ...]] = {}


def slots_of(cls: type) -> tuple[str, ...]:
    """The names of a class's fields, those of its bases included, without the memory of its bytes."""
    if cls not in _SLOTS:
        slots = (slot for c in cls.__mro__ for slot in getattr(c, "__slots__", ()))
        _SLOTS[cls] = tuple(slot for slot in slots if slot != "wire")
    return _SLOTS[cls]


def replaced(node: AnyNode, **changes: object) -> AnyNode:
    """A copy of a node with other values for some of its fields."""
    cls = type(node)
    new = cls.__new__(cls)
    for slot in slots_of(cls):
        setattr(new, slot, changes[slot] if slot in changes else getattr(node, slot))
    if unknown := changes.keys() - set(slots_of(cls)):
        raise TypeError(f"{cls.__name__} has no field {min(unknown)}")
    if isinstance(new, Op):
        new.wire = node.wire if isinstance(node, Op) and changes.keys() <= _UNWRITTEN else None
    return new


class Op(Node):
    """Base of all operations.

    Attributes:
        meta: names, places in the source, cache wishes: everything that is no part of the digest.
        platform: what it runs on, or None where that makes no difference.
        filters: worker constraints (containerd filters).
        caps: capability ids that the operation relies on (metadata, no part of the digest).
        wire: digest and canonical bytes, once `emit.wire` has worked them out.
    """

    __slots__ = ("caps", "filters", "meta", "platform", "wire")

    KIND: ClassVar[str] = ""

    def __init__(
        self, meta: OpMeta, platform: Platform | None, filters: tuple[str, ...], caps: tuple[str, ...]
    ) -> None:
        self.wire: tuple[str, bytes] | None = None
        self.meta: Final = meta
        self.platform: Final = platform
        self.filters: Final = filters
        self.caps: Final = caps

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

    __slots__ = ("attrs", "identifier")

    KIND = "source"

    def __init__(
        self,
        identifier: str,
        attrs: tuple[tuple[str, str], ...],
        *,
        meta: OpMeta,
        platform: Platform | None = None,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(meta, platform, filters, caps)
        self.identifier: Final = identifier
        self.attrs: Final = attrs


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
        sharing: one of `SHARING_*`, for caches.
        tmpfs: memory only.
        tmpfs_size: limit in bytes, 0 for none.
        content_cache: one of `CONTENT_CACHE_*`.
    """

    __slots__ = (
        "cache_id",
        "content_cache",
        "no_output",
        "readonly",
        "selector",
        "sharing",
        "source",
        "target",
        "tmpfs",
        "tmpfs_size",
    )

    def __init__(
        self,
        target: str,
        source: Value | None = None,
        *,
        selector: str = "",
        readonly: bool = False,
        no_output: bool = False,
        cache_id: str = "",
        sharing: int = SHARING_SHARED,
        tmpfs: bool = False,
        tmpfs_size: int = 0,
        content_cache: int = CONTENT_CACHE_DEFAULT,
    ) -> None:
        self.target: Final = target
        self.source: Final = source
        self.selector: Final = selector
        self.readonly: Final = readonly
        self.no_output: Final = no_output
        self.cache_id: Final = cache_id
        self.sharing: Final = sharing
        self.tmpfs: Final = tmpfs
        self.tmpfs_size: Final = tmpfs_size
        self.content_cache: Final = content_cache

    @property
    def has_output(self) -> bool:
        """Whether what is written there can be read by a later operation."""
        return not (self.readonly or self.no_output or self.cache_id or self.tmpfs)


class Secret(Node):
    """A secret that an exec sees as a file (`target`), as a variable (`env`), or both."""

    __slots__ = ("env", "gid", "id", "mode", "optional", "target", "uid")

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        *,
        target: str | None = None,
        env: str | None = None,
        uid: int = 0,
        gid: int = 0,
        mode: int = 0o400,
        optional: bool = False,
    ) -> None:
        self.id: Final = id
        self.target: Final = target
        self.env: Final = env
        self.uid: Final = uid
        self.gid: Final = gid
        self.mode: Final = mode
        self.optional: Final = optional


class Ssh(Node):
    """An agent socket that an exec sees at `target` ("" lets the `Builder` choose)."""

    __slots__ = ("gid", "id", "mode", "optional", "target", "uid")

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        *,
        target: str = "",
        uid: int = 0,
        gid: int = 0,
        mode: int = 0o600,
        optional: bool = False,
    ) -> None:
        self.id: Final = id
        self.target: Final = target
        self.uid: Final = uid
        self.gid: Final = gid
        self.mode: Final = mode
        self.optional: Final = optional


class ProxyEnv(Node):
    """Proxy variables that a process sees and that are no part of its cache key."""

    __slots__ = ("all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy")

    def __init__(
        self,
        *,
        http_proxy: str = "",
        https_proxy: str = "",
        ftp_proxy: str = "",
        no_proxy: str = "",
        all_proxy: str = "",
    ) -> None:
        self.http_proxy: Final = http_proxy
        self.https_proxy: Final = https_proxy
        self.ftp_proxy: Final = ftp_proxy
        self.no_proxy: Final = no_proxy
        self.all_proxy: Final = all_proxy


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

    __slots__ = (
        "args",
        "cgroup_parent",
        "cwd",
        "devices",
        "env",
        "exit_codes",
        "hostname",
        "hosts",
        "mounts",
        "network",
        "proxy",
        "remove_mount_stubs",
        "secrets",
        "security",
        "ssh",
        "ulimits",
        "user",
    )

    KIND = "exec"

    def __init__(
        self,
        *,
        args: tuple[str, ...],
        env: tuple[str, ...],
        cwd: str,
        user: str,
        hostname: str,
        cgroup_parent: str,
        hosts: tuple[tuple[str, str], ...],
        ulimits: tuple[tuple[str, int, int], ...],
        exit_codes: tuple[int, ...] | None,
        network: int,
        security: int,
        proxy: ProxyEnv | None,
        mounts: tuple[Mount, ...],
        secrets: tuple[Secret, ...],
        ssh: tuple[Ssh, ...],
        devices: tuple[tuple[str, bool], ...],
        meta: OpMeta,
        platform: Platform | None,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
        remove_mount_stubs: bool = True,
    ) -> None:
        super().__init__(meta, platform, filters, caps)
        self.remove_mount_stubs: Final = remove_mount_stubs
        self.args: Final = args
        self.env: Final = env
        self.cwd: Final = cwd
        self.user: Final = user
        self.hostname: Final = hostname
        self.cgroup_parent: Final = cgroup_parent
        self.hosts: Final = hosts
        self.ulimits: Final = ulimits
        self.exit_codes: Final = exit_codes
        self.network: Final = network
        self.security: Final = security
        self.proxy: Final = proxy
        self.mounts: Final = mounts
        self.secrets: Final = secrets
        self.ssh: Final = ssh
        self.devices: Final = devices

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

    __slots__ = ("group", "user")

    def __init__(self, user: str | int | None = None, group: str | int | None = None) -> None:
        self.user: Final = user
        self.group: Final = group


class FileAction(Node):
    """Base of the steps of a `FileOp`. `timestamp` is in nanoseconds of Unix time, -1 for "leave it"."""

    __slots__ = ()

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

    __slots__ = (
        "create_dest",
        "dest",
        "dir_contents",
        "empty_wildcard",
        "exclude",
        "follow_symlinks",
        "include",
        "mode",
        "mode_str",
        "owner",
        "replace_existing",
        "required",
        "source",
        "src",
        "timestamp",
        "unpack",
        "wildcard",
    )

    KIND = "copy"

    def __init__(
        self,
        source: Value | None,
        src: str,
        dest: str,
        *,
        owner: Owner | None = None,
        mode: int = -1,
        mode_str: str = "",
        follow_symlinks: bool = False,
        dir_contents: bool = False,
        unpack: bool = False,
        create_dest: bool = False,
        wildcard: bool = False,
        empty_wildcard: bool = False,
        timestamp: int = -1,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        required: tuple[str, ...] = (),
        replace_existing: bool = False,
    ) -> None:
        self.source: Final = source
        self.src: Final = src
        self.dest: Final = dest
        self.owner: Final = owner
        self.mode: Final = mode
        self.mode_str: Final = mode_str
        self.follow_symlinks: Final = follow_symlinks
        self.dir_contents: Final = dir_contents
        self.unpack: Final = unpack
        self.create_dest: Final = create_dest
        self.wildcard: Final = wildcard
        self.empty_wildcard: Final = empty_wildcard
        self.timestamp: Final = timestamp
        self.include: Final = include
        self.exclude: Final = exclude
        self.required: Final = required
        self.replace_existing: Final = replace_existing


class Mkfile(FileAction):
    """Write a file."""

    __slots__ = ("data", "mode", "owner", "path", "timestamp")

    KIND = "mkfile"

    def __init__(self, path: str, mode: int, data: bytes, *, owner: Owner | None = None, timestamp: int = -1) -> None:
        self.path: Final = path
        self.mode: Final = mode & 0o777
        self.data: Final = data
        self.owner: Final = owner
        self.timestamp: Final = timestamp


class Mkdir(FileAction):
    """Make a directory, with its missing parents if `parents`."""

    __slots__ = ("mode", "owner", "parents", "path", "timestamp")

    KIND = "mkdir"

    def __init__(
        self, path: str, mode: int, *, parents: bool = False, owner: Owner | None = None, timestamp: int = -1
    ) -> None:
        self.path: Final = path
        self.mode: Final = mode & 0o777
        self.parents: Final = parents
        self.owner: Final = owner
        self.timestamp: Final = timestamp


class Rm(FileAction):
    """Remove a path and everything below it."""

    __slots__ = ("allow_missing", "path", "wildcard")

    KIND = "rm"

    def __init__(self, path: str, *, allow_missing: bool = False, wildcard: bool = False) -> None:
        self.path: Final = path
        self.allow_missing: Final = allow_missing
        self.wildcard: Final = wildcard


class Symlink(FileAction):
    """Make a symbolic link at `newpath` that holds `oldpath`."""

    __slots__ = ("newpath", "oldpath", "owner", "timestamp")

    KIND = "symlink"

    def __init__(self, oldpath: str, newpath: str, *, owner: Owner | None = None, timestamp: int = -1) -> None:
        self.oldpath: Final = oldpath
        self.newpath: Final = newpath
        self.owner: Final = owner
        self.timestamp: Final = timestamp


class FileOp(Op):
    """A sequence of file actions on `base`; each works on the result of the one before."""

    __slots__ = ("actions", "base")

    KIND = "file"

    def __init__(
        self,
        base: Value | None,
        actions: tuple[FileAction, ...],
        *,
        meta: OpMeta,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(meta, None, filters, caps)
        self.base: Final = base
        self.actions: Final = actions

    def inputs(self) -> list[Value]:
        """The base, then the copied file systems from the last action to the first."""
        found = [] if self.base is None else [self.base]
        copies = [a for a in reversed(self.actions) if isinstance(a, Copy)]
        return found + [a.source for a in copies if a.source is not None]


# --- file systems -------------------------------------------------------------------------------------


class MergeOp(Op):
    """File systems laid over each other; later ones win. At least two."""

    __slots__ = ("layers",)

    KIND = "merge"

    def __init__(
        self,
        layers: tuple[Value, ...],
        *,
        meta: OpMeta,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(meta, None, filters, caps)
        self.layers: Final = layers

    def inputs(self) -> list[Value]:
        """All layers, bottom first."""
        return list(self.layers)


class DiffOp(Op):
    """What `upper` has changed against `lower`."""

    __slots__ = ("lower", "upper")

    KIND = "diff"

    def __init__(
        self,
        lower: Value | None,
        upper: Value | None,
        *,
        meta: OpMeta,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(meta, None, filters, caps)
        self.lower: Final = lower
        self.upper: Final = upper

    def inputs(self) -> list[Value]:
        """Lower, then upper."""
        return [v for v in (self.lower, self.upper) if v is not None]


class PassthroughOp(Op):
    """Hands some of its inputs on, once all of them are there."""

    __slots__ = ("forwarded", "id", "values")

    KIND = "passthrough"

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        values: tuple[Value, ...],
        forwarded: tuple[int, ...],
        *,
        meta: OpMeta,
        filters: tuple[str, ...] = (),
        caps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(meta, None, filters, caps)
        self.id: Final = id
        self.values: Final = values
        self.forwarded: Final = forwarded

    def inputs(self) -> list[Value]:
        """All values, forwarded or not."""
        return list(self.values)
