"""What every executor does around a run: the user, the files shown in /etc, mount points, the working directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.runtime.executor import cgroup, netfiles, policy, users
from dockc.runtime.executor.base import ExecSpec, ExecutorError, ResolvedMount
from dockc.runtime.executor.policy import MountEntry
from dockc.runtime.executor.stubs import MountStubs
from dockc.runtime.kernel.rootpath import open_in_root, root_path

_LOCK = "lock"


class Prepared(Record):
    """Facts of one run.

    Attributes:
        directory: a directory of this run alone, removed afterwards.
        mounts: everything to mount, in order.
        selectors: destination to the path below the source, where a mount has one.
    """

    directory: Path
    user: users.ExecUser
    env: list[str]
    mounts: list[MountEntry]
    selectors: dict[str, str]


@contextlib.contextmanager
def prepare(spec: ExecSpec, rootfs: Path, mounts: Sequence[ResolvedMount], state_dir: Path) -> Iterator[Prepared]:
    """Prepare a run and clean up after it.

    Raises:
        ExecutorError: no command, an unknown user, a bad environment, a missing mount source.
    """
    if not spec.args:
        raise ExecutorError("no command to run")
    for what, texts in (("command", spec.args), ("working directory", (spec.cwd,)), ("host name", (spec.hostname,))):
        if any("\0" in text for text in texts):
            raise ExecutorError(f"the {what} contains a NUL byte")
    ordered = sorted(mounts, key=lambda mount: policy.clean(mount.dest))
    for name in ("proc", "sys"):
        # A link here would let the image choose what the process sees as /proc.
        here = rootfs / name
        if here.is_symlink() or (here.exists() and not here.is_dir()):
            raise ExecutorError(f"/{name} in the image is not a directory")
    points = [(policy.clean(mount.dest), _is_directory(mount)) for mount in ordered]
    stubs = MountStubs(rootfs, points, recursive=spec.remove_mount_stubs_recursive)
    try:
        stubs.make()
        try:
            user = users.resolve(rootfs, spec.user)
            env = policy.environment(spec, user.home)
        except DockcError as exc:
            raise ExecutorError(exc.message) from exc
        with run_directory(state_dir) as directory:
            resolv_conf, hosts = directory / "resolv.conf", directory / "hosts"
            resolv_conf.write_bytes(netfiles.resolv_conf(apart=bool(spec.network_namespace), dns=spec.dns))
            hosts.write_text(netfiles.hosts(spec.hostname, spec.extra_hosts))
            for file in (resolv_conf, hosts):
                file.chmod(0o644)
            _make_cwd(rootfs, spec.cwd, user)
            steps = [policy.step_mount(mount) for mount in ordered]
            yield Prepared(
                directory=directory,
                user=user,
                env=env,
                mounts=policy.all_mounts(spec, policy.base_mounts(spec, str(resolv_conf), str(hosts)), steps),
                selectors={policy.clean(m.dest): m.selector for m in ordered if policy.clean(m.selector) != "/"},
            )
    finally:
        stubs.clean()


def _is_directory(mount: ResolvedMount) -> bool:
    """Whether a mount needs a directory to be mounted on; a missing source is reported now, by its name."""
    if policy.clean(mount.dest) == "/":
        raise ExecutorError("a step's mount cannot take the place of the root")
    if mount.kind != "bind" or mount.source is None:
        return True
    try:
        source = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as exc:
        raise ExecutorError(f"mount {mount.dest}: {mount.source}: {exc.strerror}") from exc
    try:
        part = open_in_root(source, mount.selector)
        try:
            return stat.S_ISDIR(os.fstat(part).st_mode)
        finally:
            os.close(part)
    except OSError as exc:
        text = (exc.strerror or str(exc)).lower()
        raise ExecutorError(f"open {mount.selector}: {text}") from exc
    finally:
        os.close(source)


def _make_cwd(rootfs: Path, cwd: str, user: users.ExecUser) -> None:
    """Create a missing working directory, all new parts owned by the user."""
    real = root_path(str(rootfs), cwd or "/")
    if os.path.lexists(real):
        return
    missing: list[str] = []
    while not os.path.lexists(real):
        missing.append(real)
        real = os.path.dirname(real)  # noqa: PTH120
    try:
        for path in reversed(missing):
            os.mkdir(path, 0o755)  # noqa: PTH102
            os.chmod(path, 0o755)  # noqa: PTH101, S103 - whatever the umask
            os.chown(path, user.uid, user.gid)
    except OSError as exc:
        raise ExecutorError(f"failed to create working directory {cwd}: {exc.strerror}") from exc


@contextlib.contextmanager
def run_directory(state_dir: Path) -> Iterator[Path]:
    """A locked directory of one run; those that a killed builder left behind are removed on the way."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    _sweep(state_dir)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=state_dir))
    new_lock = directory / f"{_LOCK}.new"
    lock = os.open(new_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new_lock.rename(directory / _LOCK)  # never to be seen without its holder
        directory.chmod(0o711)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _sweep(state_dir: Path) -> None:
    for directory in state_dir.glob("run-*"):
        try:
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # just being made, or just being removed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if cgroup.swept(directory):
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
