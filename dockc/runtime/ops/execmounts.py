"""The mounts of an exec operation: from inputs, caches and secrets to directories, and back to outputs."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.golang.text import quote
from dockc.llb import modes
from dockc.llb.modes import MountKind
from dockc.runtime.executor.base import ResolvedMount
from dockc.runtime.kernel import syscalls
from dockc.runtime.ops.execkey import EMPTY_INPUT, ROOT, SKIP_OUTPUT
from dockc.runtime.refs.types import Sharing
from dockc.runtime.session import secrets
from dockc.solver.progress import VertexWarning

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef, MutableRef
    from dockc.solver.op import OpContext

_SHARING = {
    modes.Sharing.SHARED: Sharing.SHARED,
    modes.Sharing.PRIVATE: Sharing.PRIVATE,
    modes.Sharing.LOCKED: Sharing.LOCKED,
}
_TYPE_NAMES = {kind: name.upper() for kind, name in enumerate(MountKind.NAMES)}


class Root(Record):
    """The root file system of the process."""

    path: Path
    readonly: bool


class ExecMounts:
    """Prepares all mounts of one step. Use as a context manager around the run, then `commit`.

    Everything it holds is given up when the context ends: directories unmounted, uncommitted file systems
    and secrets removed, cache directories unlocked. Outputs become refs only by `commit`.
    """

    def __init__(self, op: ops_pb2.ExecOp, inputs: Sequence[ImmutableRef], refs: RefManager, ctx: OpContext) -> None:
        self._op = op
        self._inputs = inputs
        self._refs = refs
        self._ctx = ctx
        self._stack = contextlib.ExitStack()
        self._held = contextlib.ExitStack()
        self._caches: dict[str, Path] = {}
        self._outputs: list[MutableRef | ImmutableRef] = []
        self._actives: dict[int, MutableRef] = {}
        self._number = 0
        self._run_directory: Path | None = None
        self._command = " ".join(op.meta.args)
        self.root: Root | None = None
        self.mounts: list[ResolvedMount] = []

    def __enter__(self) -> ExecMounts:
        try:
            for number, mount in enumerate(self._op.mounts):
                self._number = number
                self._add(mount)
            if self.root is None:
                raise DockcError("no root mount found in exec op")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmount and give up whatever is still held; may be called again."""
        try:
            self._stack.close()
        finally:
            self._held.close()

    def commit(self) -> list[ImmutableRef]:
        """Unmount everything and freeze the outputs, in the order of their mounts; the caller owns them."""
        from dockc.runtime.refs.ref import MutableRef

        self._stack.close()
        done: list[ImmutableRef] = []
        try:
            for output in self._outputs:
                done += [output.commit() if isinstance(output, MutableRef) else output.clone()]
        except BaseException:
            for ref in done:
                ref.release()
            raise
        return done

    def left(self) -> list[ImmutableRef | None]:
        """Unmount everything and freeze it as it is, by mount; None for what is no file system of the build. The caller
        owns the holds.
        """
        self._stack.close()
        found: list[ImmutableRef | None] = []
        for number, mount in enumerate(self._op.mounts):
            active = self._actives.get(number)
            if active is not None:
                found.append(active.commit())
            elif 0 <= mount.input < len(self._inputs):
                found.append(self._inputs[mount.input].clone())
            else:
                found.append(None)
        return found

    def _add(self, mount: ops_pb2.Mount) -> None:
        if mount.dest == ROOT and mount.mountType != MountKind.BIND:
            raise DockcError(f"invalid mount type {_TYPE_NAMES.get(mount.mountType, mount.mountType)} for {mount.dest}")
        ref: ImmutableRef | None = None
        if mount.input != EMPTY_INPUT:
            if not 0 <= mount.input < len(self._inputs):
                raise DockcError(f"missing input {mount.input}")
            ref = self._inputs[mount.input]
        match mount.mountType:
            case MountKind.BIND:
                self._add_bind(mount, ref)
            case MountKind.CACHE:
                self._add_cache(mount, ref)
            case MountKind.TMPFS:
                size = mount.TmpfsOpt.size if mount.HasField("TmpfsOpt") else 0
                self._show(
                    ResolvedMount(
                        dest=self._dest(mount), kind="tmpfs", readonly=mount.readonly, nosuid=True, size=max(size, 0)
                    )
                )
            case MountKind.SECRET:
                self._add_secret(mount)
            case MountKind.SSH:
                self._add_ssh(mount)
            case other:
                raise DockcError(f"mount type {other} not implemented")

    def _dest(self, mount: ops_pb2.Mount) -> str:
        if posixpath.normpath(mount.dest).startswith("/"):
            return mount.dest
        return posixpath.join("/", self._op.meta.cwd, mount.dest)

    def _show(self, mount: ResolvedMount) -> None:
        self.mounts.append(mount)

    def _writable(self, mount: ops_pb2.Mount, ref: ImmutableRef | None) -> MutableRef:
        description = f"mount {mount.dest} from exec {self._command}"
        active = self._refs.new_mutable(ref, description=description)
        self._actives[self._number] = active
        self._held.callback(active.release)
        return active

    def _add_bind(self, mount: ops_pb2.Mount, ref: ImmutableRef | None) -> None:
        is_root = mount.dest == ROOT
        has_output = mount.output != SKIP_OUTPUT
        if has_output and mount.readonly and ref is not None and not is_root:
            kept = ref.clone()
            self._held.callback(kept.release)
            self._outputs.append(kept)
            path = self._stack.enter_context(ref.mount())
        elif has_output or is_root or not mount.readonly or ref is None:
            if ref is None and is_root and not has_output:
                raise DockcError(f"mount {mount.dest} has no input")
            # A root is always written to: mount points are made in it, even when the step may only read.
            active = self._writable(mount, ref)
            if has_output:
                self._outputs.append(active)
            path = self._stack.enter_context(active.mount(to_step=True))
        else:
            path = self._stack.enter_context(ref.mount())
        if is_root:
            self.root = Root(path, mount.readonly)
        else:
            self._show(
                ResolvedMount(dest=self._dest(mount), source=path, selector=mount.selector, readonly=mount.readonly)
            )

    def _add_cache(self, mount: ops_pb2.Mount, ref: ImmutableRef | None) -> None:
        if not mount.HasField("cacheOpt"):
            raise DockcError("missing cache mount options")
        sharing = _SHARING.get(mount.cacheOpt.sharing)
        if sharing is None:
            raise DockcError(f"invalid cache sharing option: {mount.cacheOpt.sharing}")
        cache_id = mount.cacheOpt.ID
        key = cache_id if ref is None else f"{cache_id}:{ref.id}"
        path = self._caches.get(key)
        if path is None:
            # Asked for once a step: a locked cache that is mounted twice must not wait for itself.
            description = f"cached mount {mount.dest} from exec {self._command}"
            if cache_id != mount.dest:
                description += f' with id "{cache_id}"'
            path = self._stack.enter_context(
                self._refs.cache_dir(key, sharing, ref, cancelled=self._ctx.cancelled, description=description)
            )
            self._caches[key] = path
            if ref is None and not mount.readonly:
                self._tell_whose(mount.dest, path)
        if mount.output != SKIP_OUTPUT and ref is not None:
            kept = ref.clone()
            self._held.callback(kept.release)
            self._outputs.append(kept)
        self._show(ResolvedMount(dest=self._dest(mount), source=path, selector=mount.selector, readonly=mount.readonly))

    def _tell_whose(self, dest: str, path: Path) -> None:
        """A cache is root's, whoever has the directory in the image and whoever runs the step."""
        user = self._op.meta.user.partition(":")[0]
        status = path.stat()
        if user in ("", "0", "root") or status.st_uid != 0 or status.st_mode & stat.S_IWOTH:
            return
        text = (
            f"the cache at {dest} belongs to root and the step runs as {user}: it cannot write there. Say whose it is in the "
            f"mount: uid=..., gid=..., or mode=0777"
        )
        self._ctx.warn(VertexWarning(self._ctx.vertex.digest, short=text))

    def _add_secret(self, mount: ops_pb2.Mount) -> None:
        if not mount.HasField("secretOpt"):
            raise DockcError("invalid secret mount options")
        option = mount.secretOpt
        if not option.ID:
            raise DockcError("secret ID missing from mount options")
        data = get_secret(self._ctx, option.ID, optional=option.optional)
        if data is None:
            return
        path = self._private_directory() / f"secret-{len(self.mounts)}"
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
        _own(path, option.uid, option.gid)
        path.chmod(option.mode & 0o777)
        self._show(
            ResolvedMount(
                dest=self._dest(mount),
                source=path,
                readonly=True,
                nodev=True,
                nosuid=True,
                noexec=not option.mode & 0o111,
            )
        )

    def _add_ssh(self, mount: ops_pb2.Mount) -> None:
        from dockc.runtime.session.ssh import forward

        option = mount.SSHOpt
        ssh_id = option.ID or secrets.DEFAULT_SSH_ID
        agents = secrets.LentAgents(self._ctx)
        source = agents.find(ssh_id)
        if source is None:
            if option.optional:
                return
            hint = f"Forward it with --ssh {ssh_id}"
            if agents:
                raise DockcError(f"unset ssh forward key {ssh_id}", hint=hint)
            raise DockcError(f"no SSH key {quote(option.ID)} forwarded from the client", hint=hint)
        directory = self._private_directory()
        path = self._stack.enter_context(forward(source, directory, uid=option.uid, gid=option.gid, mode=option.mode))
        self._show(ResolvedMount(dest=self._dest(mount), source=path))

    def _private_directory(self) -> Path:
        """A tmpfs of this step alone: what lies in it never reaches a disk and dies with the builder."""
        if self._run_directory is None:
            directory = Path(tempfile.mkdtemp(prefix="private-", dir=self._refs.staging))
            self._stack.callback(directory.rmdir)
            directory.chmod(0o711)
            syscalls.mount("tmpfs", str(directory), "tmpfs", syscalls.MS_NODEV | syscalls.MS_NOSUID, "mode=711")
            self._stack.callback(syscalls.umount, str(directory), syscalls.MNT_DETACH)
            self._run_directory = directory
        return self._run_directory


def _own(path: Path, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid)
    except OSError as exc:
        raise DockcError(
            f"cannot give the secret to user {uid}, group {gid}: {exc.strerror}",
            hint="These ids are not mapped for this user: add ranges to /etc/subuid and /etc/subgid.",
        ) from exc


def get_secret(ctx: OpContext, secret_id: str, *, optional: bool) -> bytes | None:
    """A secret of the build, None if it is missing and optional.

    Raises:
        DockcError: `secret ID: not found`.
    """
    data = secrets.LentSecrets(ctx).get(secret_id)
    if data is None and not optional:
        raise DockcError(f"secret {secret_id}: not found", hint=f"Give it with --secret id={secret_id},src=FILE")
    return data
