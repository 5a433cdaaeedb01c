"""Executors that hand the container to an OCI runtime: crun or runc.

The runtime is started below the same supervisor as our own containers (`child`): a pid namespace whose init
dies with the builder, so that a killed builder leaves neither runtime nor container behind.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dockc.base import children, jsontext
from dockc.errors import DockcError
from dockc.runtime.executor import cgroup, policy, rootless
from dockc.runtime.executor.base import ExecIO, ExecSpec, ExecutorError, ResolvedMount
from dockc.runtime.executor.embedded import PACKAGE_ROOT, bounding_set, run_helper
from dockc.runtime.executor.hook import hooks
from dockc.runtime.executor.policy import MountEntry
from dockc.runtime.executor.prepare import Prepared, prepare
from dockc.runtime.executor.sandbox import restrict
from dockc.runtime.executor.spec import make_spec
from dockc.runtime.kernel import syscalls
from dockc.runtime.kernel.rootpath import open_in_root

_INNER = "inner"
_UNIFIED = "/sys/fs/cgroup/unified"


class RuntimeExecutor:
    """Runs each process through `crun run` or `runc run`.

    Args:
        runtime: `crun` or `runc`, looked up in PATH.
        state_dir: where bundles and the runtime's state live; made if missing.

    Raises:
        DockcError: the runtime is not installed.
    """

    def __init__(self, runtime: str, state_dir: Path) -> None:
        path = find_runtime(runtime)
        if not path:
            raise DockcError(
                f"{runtime} is not installed", hint="Install it, or use --executor=embedded, which needs nothing."
            )
        self._name = runtime
        self._path = path
        self._state_dir = state_dir

    @property
    def name(self) -> str:
        """`crun` or `runc`."""
        return self._name

    def run(
        self,
        spec: ExecSpec,
        rootfs: Path,
        mounts: Sequence[ResolvedMount],
        io: ExecIO,
        cancelled: threading.Event,
    ) -> int:
        """See `Executor.run`."""
        with contextlib.ExitStack() as stack:
            prepared = stack.enter_context(prepare(spec, rootfs, mounts, self._state_dir))
            space, user = rootless.current(), prepared.user
            if space is not None and (absent := space.missing(user.uid, user.gid, user.groups)):
                raise ExecutorError(absent, exit_status=_status_of(absent))
            stack.enter_context(_selected(prepared))
            is_rootless = rootless.in_user_namespace()
            sandboxed = not policy.is_insecure(spec)
            if sandboxed:
                rootfs = stack.enter_context(_without_devices(rootfs, prepared.directory))
            nodes = stack.enter_context(_device_nodes(prepared.directory)) if sandboxed and not is_rootless else []
            container_id = prepared.directory.name
            group, joined = "" if is_rootless else cgroup.path_of(spec.cgroup_parent, container_id), list[str]()
            of_run = None
            if spec.resources is not None or (is_rootless and spec.cgroup_parent):
                # Limits are kept by a group of ours around the runtime's: it is there to be asked when the runtime has
                # cleared away.
                of_run = stack.enter_context(
                    cgroup.group(spec.cgroup_parent, container_id, prepared.directory, spec.resources)
                )
                group, joined = ("", of_run.files) if is_rootless else (f"{of_run.path}/{_INNER}", [])
            elif group:
                cgroup.note(prepared.directory, group)
            config = make_spec(
                spec,
                rootfs,
                prepared,
                rootless=is_rootless,
                available=bounding_set(),
                cgroups_path=group,
                nodes=nodes,
            )
            config["process"]["terminal"] = io.terminal
            bundle = prepared.directory / "bundle"
            bundle.mkdir()
            if sandboxed and (is_rootless or self._name == "crun"):
                config["hooks"] = hooks(PACKAGE_ROOT, str(rootfs), rootless=is_rootless)
            (bundle / "config.json").write_text(json.dumps(config))
            log = prepared.directory / "runtime.log"
            plan = {
                "command": self._command(prepared, bundle, log, is_rootless),
                "cgroups": joined,
                "hidden": [_UNIFIED] if self._name == "crun" and _is_hybrid() else [],
            }
            try:
                status = run_helper(marshal.dumps(plan), io, cancelled)
            finally:
                if group:
                    cgroup.remove(group)
            if status and of_run is not None and spec.resources is not None and of_run.killed_for_memory():
                io.noticed(cgroup.killed_for_memory(spec.resources))
            trouble = read_trouble(log) if status else ""
            if trouble:
                raise ExecutorError(trouble, exit_status=_status_of(trouble))
            return status

    def _command(self, prepared: Prepared, bundle: Path, log: Path, is_rootless: bool) -> list[str]:
        command = [self._path, "--root", str(prepared.directory / "state"), "--log", str(log)]
        command += ["--log-format", "json"]
        if self._name == "crun":
            command += ["--cgroup-manager", "disabled" if is_rootless else "cgroupfs"]
        elif is_rootless:
            command += ["--rootless", "true"]
        return [*command, "run", "--bundle", str(bundle), prepared.directory.name]


def _is_hybrid() -> bool:
    """Control groups of both versions with controllers in each: crun works only if it does not see this."""
    try:
        return bool(Path(_UNIFIED, "cgroup.controllers").read_text().strip())
    except OSError:
        return False


@contextlib.contextmanager
def _selected(prepared: Prepared) -> Iterator[None]:
    """Give a mount with a selector a source path that is exactly the selected part.

    The part is resolved inside its source by descriptor and bound on a path of our own: a link that
    somebody puts there afterwards changes nothing.
    """
    with contextlib.ExitStack() as stack:
        for number, entry in enumerate(prepared.mounts):
            selector = prepared.selectors.get(entry["destination"], "")
            if not selector or entry["type"] != "bind":
                continue
            source = os.open(entry["source"], os.O_PATH | os.O_CLOEXEC)
            try:
                part = open_in_root(source, selector)
            finally:
                os.close(source)
            point = prepared.directory / f"selected-{number}"
            try:
                if Path(f"/proc/self/fd/{part}").is_dir():
                    point.mkdir()
                else:
                    point.touch()
                syscalls.mount(f"/proc/self/fd/{part}", str(point), None, syscalls.MS_BIND | syscalls.MS_REC)
            finally:
                os.close(part)
            stack.callback(syscalls.umount, str(point), syscalls.MNT_DETACH)
            entry["source"] = str(point)
        yield


@contextlib.contextmanager
def _without_devices(rootfs: Path, directory: Path) -> Iterator[Path]:
    """The root file system once more, at a place where no device opens: the runtime's own mounts of it stay so."""
    point = directory / "rootfs"
    point.mkdir()
    syscalls.mount(str(rootfs), str(point), None, syscalls.MS_BIND | syscalls.MS_REC)
    try:
        top = os.open(point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            restrict(top, ["nodev"], recursive=True)
        finally:
            os.close(top)
        yield point
    finally:
        syscalls.umount(str(point), syscalls.MNT_DETACH)


@contextlib.contextmanager
def _device_nodes(directory: Path) -> Iterator[list[MountEntry]]:
    """Mounts of single nodes for /dev, which is nodev itself: a runtime leaves alone the nodes that are there
    already.
    """
    point = directory / "devices"
    point.mkdir()
    syscalls.mount("devices", str(point), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "mode=755,size=64k")
    try:
        nodes: list[MountEntry] = []
        for name in policy.DEVICES:
            number = os.stat(f"/dev/{name}").st_rdev  # noqa: PTH116
            os.mknod(point / name, stat.S_IFCHR, number)
            (point / name).chmod(0o666)
            options = ["bind", "nosuid", "noexec"]
            nodes.append(
                {"destination": f"/dev/{name}", "type": "bind", "source": str(point / name), "options": options}
            )
        yield nodes
    finally:
        syscalls.umount(str(point), syscalls.MNT_DETACH)


def read_trouble(log: Path) -> str:
    """The last error in a runtime's log, "" if the container itself is to blame for its status."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            row: Any = jsontext.parsed(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("level") in ("error", "fatal") and isinstance(row.get("msg"), str):
            return str(row["msg"])
    return ""


def _status_of(trouble: str) -> int:
    """The status a shell would give for a program that cannot be started, 255 for other trouble."""
    low = trouble.lower()
    if "exec: " not in low and "executable" not in low and "exec format error" not in low:
        return 255
    return 127 if "not found" in low or "no such file or directory" in low else 126


def find_runtime(name: str) -> str:
    """The path of an installed runtime, or ""; the directories of administrators count too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") or ""


def version(runtime: str) -> str:
    """First line of the runtime's own version, "" if it is not there."""
    path = find_runtime(runtime)
    if not path:
        return ""
    said = children.run([path, "--version"]).stdout.decode(errors="replace")
    return said.splitlines()[0] if said else ""
