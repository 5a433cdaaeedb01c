"""Our containers as the OCI runtime specification writes them (config.json, version 1.0.2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockc.base.machine import machine as this_machine
from dockc.errors import DockcError
from dockc.runtime.executor import limits, policy, seccomp
from dockc.runtime.executor.base import DEFAULT_HOSTNAME, ExecSpec
from dockc.runtime.executor.policy import MountEntry
from dockc.runtime.executor.prepare import Prepared

_UNLIMITED = 2**64 - 1
_STATVFS_OPTIONS = ((os.ST_NOSUID, "nosuid"), (os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec"))


def make_spec(
    spec: ExecSpec,
    rootfs: Path,
    prepared: Prepared,
    *,
    rootless: bool,
    available: int,
    cgroups_path: str = "",
    nodes: Sequence[MountEntry] = (),
) -> dict[str, Any]:
    """The runtime's configuration of one run.

    Args:
        spec: the process.
        rootfs: its root as a directory of the builder.
        prepared: user, environment and mounts.
        rootless: leave out what only the real root may do (device rules, a new sysfs).
        available: bit mask of the capabilities that the builder can pass on.
        cgroups_path: where the container's control group is made, "" for none.
        nodes: mounts of device nodes below /dev, where the runtime shall not make them.
    """
    insecure = policy.is_insecure(spec)
    wanted = available if insecure else policy.capability_mask(policy.DEFAULT_CAPABILITIES) & available
    names = [f"CAP_{name}" for bit, name in enumerate(policy.CAPABILITIES) if wanted >> bit & 1]
    capabilities = {"bounding": names, "effective": names, "permitted": names}
    if insecure:
        capabilities |= {"inheritable": names, "ambient": names}
    process: dict[str, Any] = {
        "terminal": False,
        "user": {
            "uid": prepared.user.uid,
            "gid": prepared.user.gid,
            "additionalGids": list(prepared.user.groups),
            "umask": 0o022,
        },
        "args": list(spec.args),
        "env": prepared.env,
        "cwd": policy.clean(spec.cwd or "/"),
        "capabilities": capabilities,
        "noNewPrivileges": spec.no_new_privileges,
    }
    process["rlimits"] = _rlimits(spec)
    linux: dict[str, Any] = {"namespaces": _namespaces(spec)}
    if not insecure:
        linux["maskedPaths"] = list(policy.MASKED_PATHS)
        linux["readonlyPaths"] = list(policy.READONLY_PATHS)
        profile = seccomp.oci_profile(this_machine())
        if profile is None:
            raise DockcError(f"no system call filter for {this_machine()}")
        linux["seccomp"] = profile
    if not rootless:
        # An insecure step may use every device; others get the runtime's usual few.
        linux["resources"] = {"devices": [{"allow": insecure, "access": "rwm"}]}
    if cgroups_path:
        linux["cgroupsPath"] = cgroups_path
    mounts: list[dict[str, Any]] = []
    for entry in prepared.mounts:
        mounts += _mount(entry, rootless, policy.has_own_network(spec))
        if entry["destination"] == "/dev" and entry["type"] == "tmpfs":
            mounts += ({**node} for node in nodes)
    if insecure:
        mounts += _devices()
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": os.path.realpath(rootfs), "readonly": spec.readonly_rootfs},
        "hostname": spec.hostname or DEFAULT_HOSTNAME,
        "mounts": mounts,
        "linux": linux,
    }


def _namespaces(spec: ExecSpec) -> list[dict[str, str]]:
    kinds = ["pid", "ipc", "uts", "mount"]
    if policy.has_own_network(spec):
        kinds.append("network")
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # noqa: PTH110
        kinds.append("cgroup")
    found = [{"type": kind} for kind in kinds]
    if spec.network_namespace:
        found.append({"type": "network", "path": spec.network_namespace})
    return found


def _rlimits(spec: ExecSpec) -> list[dict[str, Any]]:
    names = {number: name for name, number in limits.NUMBERS.items()}
    return [
        {"type": f"RLIMIT_{names[number]}", "soft": _limit(soft), "hard": _limit(hard)}
        for number, soft, hard in limits.rows(spec.rlimits)
    ]


def _limit(value: int) -> int:
    return value if value >= 0 else _UNLIMITED


def _mount(entry: MountEntry, rootless: bool, own_network: bool) -> list[dict[str, Any]]:
    kind, options = entry["type"], list(entry["options"])
    if rootless:
        if kind == "sysfs" and not own_network:
            # A new sysfs needs a network namespace of one's own; the host's is shown instead.
            mode = ["ro"] if "ro" in options else []
            return [_row("/sys", "bind", "/sys", ["rbind", "nosuid", "noexec", "nodev", *mode])]
        if kind == "cgroup":
            return []
        if kind == "devpts":
            from dockc.runtime.executor.rootless import current

            namespace = current()
            if namespace is not None and not namespace.has_gid(5):
                options = [option for option in options if not option.startswith("gid=")]
        if kind == "bind":
            # What the host forbids on the source cannot be allowed again, so it must be repeated.
            flags = os.statvfs(entry["source"]).f_flag
            options += [name for bit, name in _STATVFS_OPTIONS if flags & bit and name not in options]
    return [_row(entry["destination"], kind, entry["source"], options)]


def _row(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _devices() -> list[dict[str, Any]]:
    paths = (f"/dev/{name}" for name in policy.INSECURE_DEVICES)
    return [_row(path, "bind", path, ["bind"]) for path in paths if os.path.exists(path)]  # noqa: PTH110
