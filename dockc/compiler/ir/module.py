"""`Builder` makes the nodes of the IR, `Module` holds a finished graph, `OpMeta` says things about a node."""

from __future__ import annotations

from dockc.compiler.ir.ops import (
    NET_SANDBOX,
    SECURITY_INSECURE,
    SECURITY_SANDBOX,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    Hole,
    MergeOp,
    Mount,
    Op,
    Owner,
    PassthroughOp,
    ProxyEnv,
    Secret,
    SourceOp,
    Ssh,
    Value,
)
from dockc.errors import CompileError
from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import caps as C  # noqa: N812
from dockc.llb.definition import LinuxResources, ProgressGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from dockc.oci.platform import Platform

    Range = tuple[int, int, int, int]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CUSTOM_NAME = "llb.customname"


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


class Location:
    """Where an operation is written.

    Attributes:
        source: the file.
        ranges: `(start line, start character, end line, end character)`, lines from 1.
    """

    __slots__ = ("ranges", "source")

    def __init__(self, source: SourceMap, ranges: tuple[Range, ...]) -> None:
        self.source: Final = source
        self.ranges: Final = ranges


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


class Module:
    """A finished graph.

    Attributes:
        outputs: the results, by name; `""` is the image's root file system, None an empty one.
        platform: the target platform: what operations that name none run on.
    """

    __slots__ = ("outputs", "platform")

    def __init__(self, outputs: Mapping[str, Value | None], platform: Platform) -> None:
        self.outputs: Final = dict(outputs)
        self.platform: Final = platform

    @property
    def result(self) -> Value | None:
        """The main output."""
        return self.outputs.get("")

    def ops(self) -> list[Op]:
        """All operations, each after those it reads: the order of the definition."""
        return walk(v for v in self.outputs.values() if v is not None)

    @property
    def meta(self) -> dict[Op, OpMeta]:
        """What is said about each operation."""
        return {op: op.meta for op in self.ops()}


def walk(roots: Iterable[Value]) -> list[Op]:
    """The operations below `roots` in depth-first post-order, each once. Iterative: chains may be long.

    Raises:
        CompileError: a hole was never filled, or was filled with something that reads it.
    """
    order: list[Op] = []
    done: set[Op] = set()
    entered: set[Op] = set()
    for root in roots:
        stack: list[tuple[Op, bool]] = [(root.op, False)]
        while stack:
            op, leaving = stack.pop()
            if leaving:
                done.add(op)
                order.append(op)
            elif op not in done:
                if op in entered:
                    raise CompileError("the build graph has a cycle")
                entered.add(op)
                stack.append((op, True))
                for value in reversed(op.inputs()):
                    if isinstance(value, Hole) and not value.filled:
                        raise CompileError(f"value {value.name!r} was never defined")
                    if value.op not in done:
                        stack.append((value.op, False))
    return order


class Builder:
    """Makes operations; equal ones (same fields, inputs and meta, and no place in the source) are one object.

    An operation that has a place in the source stays itself even if it equals another: the definition has
    them once, with the places of both.

    Args:
        platform: the target platform; operations that name none run on it.
        caps: what the daemon understands, or None if that is unknown.
    """

    def __init__(self, platform: Platform, caps: frozenset[str] | None = None) -> None:
        self.platform = platform
        self.caps = caps
        self._interned: dict[object, Value] = {}

    # --- values that come later -----------------------------------------------------------------------

    def hole(self, name: str) -> Hole:
        """A value to be told later with `fill`; `name` is for error messages."""
        return Hole(name)

    def fill(self, hole: Hole, value: Value) -> None:
        """Say what `hole` is. All readers see it.

        Raises:
            CompileError: it was filled before.
        """
        if hole.filled:
            raise CompileError(f"value {hole.name!r} is defined twice")
        hole.op = value.op
        hole.index = value.index

    # --- sources --------------------------------------------------------------------------------------

    def source(
        self,
        identifier: str,
        attrs: Mapping[str, str] | None = None,
        *,
        platform: Platform | None = None,
        caps: Iterable[str] = (),
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """Any source by its identifier and attributes; the methods below are the usual ones."""
        specific = A.is_platform_specific(identifier)
        op = SourceOp(
            identifier,
            tuple(sorted(attrs.items())) if attrs else (),
            platform=(platform or self.platform) if specific else None,
            meta=meta,
            filters=filters,
            caps=tuple(caps),
        )
        return self._intern(op)

    def image(
        self,
        ref: str,
        *,
        platform: Platform | None = None,
        resolve_mode: str = "",
        record_type: str = "",
        layer_limit: int | None = None,
        checksum: str = "",
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """An image of a registry. `ref` is a full reference (domain, and tag or digest).

        `resolve_mode` is one of `default` (or ""), `pull`, `local`.
        """
        attrs: dict[str, str] = {}
        caps = [C.SOURCE_IMAGE]
        if resolve_mode not in ("", A.RESOLVE_DEFAULT):
            attrs[A.IMAGE_RESOLVE_MODE] = resolve_mode
            if resolve_mode == A.RESOLVE_PULL:
                caps.append(C.SOURCE_IMAGE_RESOLVE_MODE)
        if record_type:
            attrs[A.IMAGE_RECORD_TYPE] = record_type
        if layer_limit is not None:
            attrs[A.IMAGE_LAYER_LIMIT] = str(layer_limit)
            caps.append(C.SOURCE_IMAGE_LAYER_LIMIT)
        if checksum:
            attrs[A.IMAGE_CHECKSUM] = checksum
            caps.append(C.SOURCE_IMAGE_CHECKSUM)
        return self.source(A.SCHEME_IMAGE + ref, attrs, platform=platform, caps=caps, filters=filters, meta=meta)

    def oci_layout(
        self,
        ref: str,
        *,
        platform: Platform | None = None,
        session: str = "",
        store: str = "",
        layer_limit: int | None = None,
        meta: OpMeta = NO_META,
    ) -> Value:
        """An image of an OCI layout that the client of session `session` offers under the name `store`."""
        attrs: dict[str, str] = {}
        if session:
            attrs[A.OCI_SESSION] = session
        if store:
            attrs[A.OCI_STORE] = store
        if layer_limit is not None:
            attrs[A.OCI_LAYER_LIMIT] = str(layer_limit)
        return self.source(A.SCHEME_OCI_LAYOUT + ref, attrs, platform=platform, caps=(C.SOURCE_OCI_LAYOUT,), meta=meta)

    def local(
        self,
        name: str,
        *,
        session: str = "",
        unique: str = "",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow: Sequence[str] = (),
        shared_key_hint: str = "",
        differ: str = "",
        differ_required: bool = False,
        metadata_only: bool = False,
        metadata_exceptions: Sequence[str] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """A directory of the client, by the name under which the client offers it.

        Without `session`, `unique` keeps the sources of different clients apart.
        """
        from dockc.llb import gojson

        attrs: dict[str, str] = {}
        caps = [C.SOURCE_LOCAL]
        for key, value, cap in (
            (A.LOCAL_SESSION, session, C.SOURCE_LOCAL_SESSION_ID),
            (A.LOCAL_INCLUDE, gojson.strings(include) if include else "", C.SOURCE_LOCAL_INCLUDE_PATTERNS),
            (A.LOCAL_FOLLOW, gojson.strings(follow) if follow else "", C.SOURCE_LOCAL_FOLLOW_PATHS),
            (A.LOCAL_EXCLUDE, gojson.strings(exclude) if exclude else "", C.SOURCE_LOCAL_EXCLUDE_PATTERNS),
            (A.LOCAL_SHARED_KEY_HINT, shared_key_hint, C.SOURCE_LOCAL_SHARED_KEY_HINT),
        ):
            if value:
                attrs[key] = value
                caps.append(cap)
        if differ:
            attrs[A.LOCAL_DIFFER] = differ
            if differ_required:
                caps.append(C.SOURCE_LOCAL_DIFFER)
        if metadata_only:
            attrs[A.LOCAL_METADATA_TRANSFER] = "true"
            if metadata_exceptions:
                attrs[A.LOCAL_METADATA_TRANSFER_EXCLUDE] = gojson.strings(metadata_exceptions)
            caps.append(C.SOURCE_LOCAL_METADATA_TRANSFER)
        if not session:
            attrs[A.LOCAL_UNIQUE] = unique
            caps.append(C.SOURCE_LOCAL_UNIQUE)
        return self.source(A.SCHEME_LOCAL + name, attrs, caps=caps, meta=meta)

    def git(
        self,
        url: str,
        *,
        ref: str = "",
        subdir: str = "",
        keep_git_dir: bool = False,
        auth_token_secret: str = "",
        auth_header_secret: str = "",
        known_ssh_hosts: str = "",
        mount_ssh_sock: str = "",
        checksum: str = "",
        skip_submodules: bool = False,
        mtime: str = "",
        fetch_by_commit: bool = False,
        bundle: str = "",
        bundle_session: str = "",
        bundle_store: str = "",
        checkout_bundle: bool = False,
        meta: OpMeta = NO_META,
    ) -> Value:
        """A checkout of a git repository.

        `url` is any form that git understands (`https://`, `ssh://`, `git@host:path`, `git://`), without a
        fragment; one without a scheme is taken as https. The host's ssh keys are never looked up here: where
        `known_ssh_hosts` is empty, the attribute is left out.
        """
        from dockc.llb import giturl

        source = giturl.source(
            url,
            ref=ref,
            subdir=subdir,
            keep_git_dir=keep_git_dir,
            auth_token_secret=auth_token_secret,
            auth_header_secret=auth_header_secret,
            known_ssh_hosts=known_ssh_hosts,
            mount_ssh_sock=mount_ssh_sock,
            checksum=checksum,
            skip_submodules=skip_submodules,
            mtime=mtime,
            fetch_by_commit=fetch_by_commit,
            bundle=bundle,
            bundle_session=bundle_session,
            bundle_store=bundle_store,
            checkout_bundle=checkout_bundle,
        )
        return self.source(source.identifier, source.attrs, caps=source.caps, meta=meta)

    def http(
        self,
        url: str,
        *,
        checksum: str = "",
        filename: str = "",
        perm: int = 0,
        uid: int = 0,
        gid: int = 0,
        auth_header_secret: str = "",
        accept: str | None = None,
        user_agent: str | None = None,
        signature_pubkey: str = "",
        signature: str = "",
        meta: OpMeta = NO_META,
    ) -> Value:
        """A file fetched over HTTP: a directory that holds the one file `filename`.

        `accept` and `user_agent` are request headers; None leaves both out.
        """
        attrs: dict[str, str] = {}
        caps = [C.SOURCE_HTTP]
        for key, value, cap in (
            (A.HTTP_CHECKSUM, checksum, C.SOURCE_HTTP_CHECKSUM),
            (A.HTTP_FILENAME, filename, ""),
            (A.HTTP_PERM, f"0{perm:o}" if perm else "", C.SOURCE_HTTP_PERM),
            (A.HTTP_UID, str(uid) if uid else "", C.SOURCE_HTTP_UID_GID),
            (A.HTTP_GID, str(gid) if gid else "", C.SOURCE_HTTP_UID_GID),
            (A.HTTP_AUTH_HEADER_SECRET, auth_header_secret, C.SOURCE_HTTP_AUTH),
            (A.HTTP_HEADER_PREFIX + "accept", accept or "", C.SOURCE_HTTP_HEADER),
            (A.HTTP_HEADER_PREFIX + "user-agent", user_agent or "", C.SOURCE_HTTP_HEADER),
            (A.HTTP_SIGNATURE_PUBKEY, signature_pubkey, C.SOURCE_HTTP_SIGNATURE_VERIFY),
            (A.HTTP_SIGNATURE, signature, C.SOURCE_HTTP_SIGNATURE_VERIFY),
        ):
            if value:
                attrs[key] = value
                if cap:
                    caps.append(cap)
        return self.source(url, attrs, caps=caps, meta=meta)

    # --- operations -----------------------------------------------------------------------------------

    def exec(
        self,
        root: Value | None,
        args: Sequence[str],
        *,
        env: Sequence[str] = (),
        cwd: str = "/",
        user: str = "",
        hostname: str = "",
        cgroup_parent: str = "",
        hosts: Sequence[tuple[str, str]] = (),
        ulimits: Sequence[tuple[str, int, int]] = (),
        exit_codes: Sequence[int] | None = None,
        network: int = NET_SANDBOX,
        security: int = SECURITY_SANDBOX,
        proxy: ProxyEnv | None = None,
        mounts: Iterable[Mount] = (),
        secrets: Sequence[Secret] = (),
        ssh: Sequence[Ssh] = (),
        devices: Sequence[tuple[str, bool]] = (),
        readonly_root: bool = False,
        platform: Platform | None = None,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value | None:
        """Run `args` in `root`; returns the root as the process leaves it (`root` itself if it is read-only).

        `env` holds `KEY=value` strings in order. `SSH_AUTH_SOCK` is added for `ssh`, and `PATH` if the daemon
        does not set it by itself. Other writable mounts are read with `mount_output`.

        Raises:
            CompileError: no arguments, no working directory, or a tmpfs mount of something.
        """
        if not args:
            raise CompileError("arguments are required")
        if not cwd:
            raise CompileError("working directory is required")
        root_mount = Mount("/", root, readonly=readonly_root)
        all_mounts = tuple(sorted((root_mount, *mounts), key=lambda m: m.target))
        caps = _exec_caps(all_mounts, secrets, ssh)
        environment, sockets = self._exec_env(env, ssh, platform, caps)
        for condition, cap in (
            (exit_codes is not None, C.EXEC_VALID_EXIT_CODE),
            (bool(ulimits), C.EXEC_META_ULIMIT),
            (meta.resources is not None, C.EXEC_META_LINUX_RESOURCES),
            (network != NET_SANDBOX, C.EXEC_META_NETWORK),
            (security == SECURITY_INSECURE, C.EXEC_META_SECURITY),
            (proxy is not None, C.EXEC_META_PROXY),
            (bool(devices), C.EXEC_META_CDI),
        ):
            if condition:
                caps.append(cap)
        op = ExecOp(
            args=tuple(args),
            env=environment,
            cwd=cwd,
            user=user,
            hostname=hostname,
            cgroup_parent=cgroup_parent,
            hosts=tuple(hosts),
            ulimits=tuple(ulimits),
            exit_codes=None if exit_codes is None else tuple(exit_codes),
            network=network,
            security=security,
            proxy=proxy,
            mounts=all_mounts,
            secrets=tuple(secrets),
            ssh=sockets,
            devices=tuple(devices),
            meta=meta,
            platform=platform or self.platform,
            filters=filters,
            caps=tuple(caps),
        )
        made = self._intern(op)
        return root if readonly_root else Value(made.op, op.output_index(root_mount))

    def mount_output(self, op: ExecOp, target: str) -> Value:
        """What an exec left in its writable mount at `target`.

        Raises:
            CompileError: there is no such mount, or it has no output.
        """
        for mount in op.mounts:
            if mount.target == target and mount.has_output:
                return Value(op, op.output_index(mount))
        raise CompileError(f"the mount at {target} has no output")

    def _exec_env(
        self, env: Sequence[str], ssh: Sequence[Ssh], platform: Platform | None, caps: list[str]
    ) -> tuple[tuple[str, ...], tuple[Ssh, ...]]:
        environment = list(env)
        sockets = []
        for i, s in enumerate(ssh):
            target = s.target or f"/run/buildkit/ssh_agent.{i}"
            sockets.append(Ssh(s.id, target=target, uid=s.uid, gid=s.gid, mode=s.mode, optional=s.optional))
        if sockets and not _has(environment, "SSH_AUTH_SOCK"):
            environment.append(f"SSH_AUTH_SOCK={sockets[0].target}")
        if self.caps is not None:
            if C.EXEC_META_SETS_DEFAULT_PATH in self.caps:
                caps.append(C.EXEC_META_SETS_DEFAULT_PATH)
            elif self.platform.os != "windows" and not _has(environment, "PATH"):
                environment.append(f"PATH={DEFAULT_PATH}")
        return tuple(environment), tuple(sockets)

    def file(
        self,
        base: Value | None,
        actions: Sequence[FileAction],
        *,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value:
        """Change files of `base`. Paths of the actions are absolute and clean (see `llb.paths`).

        Raises:
            CompileError: no actions.
        """
        if not actions:
            raise CompileError("action is required")
        return self._intern(FileOp(base, tuple(actions), meta=meta, filters=filters, caps=(C.FILE_BASE,)))

    def merge(
        self, layers: Iterable[Value | None], *, filters: tuple[str, ...] = (), meta: OpMeta = NO_META
    ) -> Value | None:
        """Lay file systems over each other. Empty ones drop out; a single one is returned as it is."""
        present = tuple(v for v in layers if v is not None)
        if len(present) < 2:
            return present[0] if present else None
        op = MergeOp(present, meta=meta, filters=filters, caps=(C.MERGE_OP,))
        return self._intern(op)

    def diff(
        self,
        lower: Value | None,
        upper: Value | None,
        *,
        filters: tuple[str, ...] = (),
        meta: OpMeta = NO_META,
    ) -> Value | None:
        """What `upper` changed against `lower`; `upper` itself if there is no lower."""
        if lower is None:
            return upper
        op = DiffOp(lower, upper, meta=meta, filters=filters, caps=(C.DIFF_OP,))
        return self._intern(op)

    def passthrough(
        self,
        id: str,  # noqa: A002 - the word of the wire format
        value: Value,
        after: Sequence[Value],
        *,
        meta: OpMeta = NO_META,
    ) -> Value:
        """`value`, once everything in `after` has run too."""
        op = PassthroughOp(id, (value, *after), (0,), meta=meta, caps=(C.PASSTHROUGH_OP,))
        return self._intern(op)

    def _intern(self, op: Op) -> Value:
        """The value of an equal operation made before, or of this one."""
        meta = op.meta
        if meta.locations or any(isinstance(v, Hole) for v in op.inputs()):
            return Value(op)
        value = Value(op)
        return self._interned.setdefault(_identity(op), value)


def _identity(thing: object) -> object:
    """What decides whether two fields are equal: hashable, with nodes and metadata taken apart."""
    if isinstance(thing, Value):
        return (thing.op, thing.index)
    if isinstance(thing, tuple):
        return tuple(_identity(t) for t in thing)
    if isinstance(thing, dict):
        return tuple(sorted(thing.items()))
    slots = [slot for cls in type(thing).__mro__ for slot in getattr(cls, "__slots__", ())]
    if not slots or type(thing).__module__.startswith("dockc.oci"):
        return thing
    return (type(thing), *(_identity(getattr(thing, slot)) for slot in slots))


def parse_owner(text: str) -> Owner:
    """`user[:group]`; decimal numbers become ids, `root` and "" id 0, all else is a name to look up."""
    user, colon, group = text.partition(":")
    return Owner(_id_or_name(user), _id_or_name(group) if colon else None)


def _id_or_name(text: str) -> str | int:
    if text in ("root", ""):
        return 0
    sign, digits = (text[:1], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if digits.isascii() and digits.isdigit():
        number = int(sign + digits)
        if -(2**31) <= number < 2**31:
            return number
    return text


def _has(env: Sequence[str], key: str) -> bool:
    return any(e.startswith(key + "=") for e in env)


def _exec_caps(mounts: Sequence[Mount], secrets: Sequence[Secret], ssh: Sequence[Ssh]) -> list[str]:
    caps = [C.EXEC_META_BASE]
    for m in mounts:
        if m.selector:
            caps.append(C.EXEC_MOUNT_SELECTOR)
        if m.cache_id:
            caps += (C.EXEC_MOUNT_CACHE, C.EXEC_MOUNT_CACHE_SHARING)
        elif m.tmpfs:
            if m.source is not None:
                raise CompileError("tmpfs mounts must use scratch")
            caps.append(C.EXEC_MOUNT_TMPFS)
            if m.tmpfs_size > 0:
                caps.append(C.EXEC_MOUNT_TMPFS_SIZE)
        elif m.source is not None:
            caps.append(C.EXEC_MOUNT_BIND)
        if m.content_cache:
            caps.append(C.EXEC_MOUNT_CONTENT_CACHE)
    if secrets:
        caps.append(C.EXEC_MOUNT_SECRET)
        if any(s.env is not None for s in secrets):
            caps.append(C.EXEC_SECRET_ENV)
    if ssh:
        caps.append(C.EXEC_MOUNT_SSH)
    return caps
