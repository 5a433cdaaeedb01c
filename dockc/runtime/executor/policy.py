"""What every container gets: file systems, devices, capabilities, hidden and read-only paths.

The same table serves the embedded executor and the OCI runtimes. Values are those of containerd's default
Linux container, as the reference builder uses it (without the tmpfs on /run).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TypedDict

from dockc.errors import DockcError
from dockc.runtime.executor.base import ExecSpec, NetworkMode, ResolvedMount, SecurityMode

# Numbers from linux/capability.h.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
INSECURE_DEVICES = ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control", *(f"loop{n}" for n in range(8)))


class MountEntry(TypedDict):
    """A mount as the OCI runtime specification writes it."""

    destination: str
    type: str
    source: str
    options: list[str]


def capability_mask(names: Sequence[str]) -> int:
    """Bit mask of capabilities named without `CAP_`."""
    return sum(1 << CAPABILITIES.index(name) for name in names)


def is_insecure(spec: ExecSpec) -> bool:
    """Whether `RUN --security=insecure` asked for all privileges."""
    return spec.security == SecurityMode.INSECURE


def has_own_network(spec: ExecSpec) -> bool:
    """Whether the process gets a network namespace with nothing but loopback in it."""
    return spec.network == NetworkMode.NONE


def base_mounts(spec: ExecSpec, resolv_conf: str, hosts: str) -> list[MountEntry]:
    """The mounts of every container, in mounting order.

    Args:
        spec: its security mode decides whether /sys is writable.
        resolv_conf: path of the file to show as /etc/resolv.conf.
        hosts: path of the file to show as /etc/hosts.
    """
    plain = ["nosuid", "noexec", "nodev"]
    mode = [] if is_insecure(spec) else ["ro"]
    file_options = ["nosuid", "noexec", "nodev", "rbind", "ro"]
    return [
        _entry("/proc", "proc", "proc", plain),
        _entry("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _entry(
            "/dev/pts", "devpts", "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _entry("/dev/shm", "tmpfs", "shm", [*plain, "mode=1777", "size=65536k"]),  # noqa: S108
        _entry("/dev/mqueue", "mqueue", "mqueue", plain),
        _entry("/sys", "sysfs", "sysfs", [*plain, *mode]),
        _entry("/etc/resolv.conf", "bind", resolv_conf, file_options),
        _entry("/etc/hosts", "bind", hosts, file_options),
        _entry("/sys/fs/cgroup", "cgroup", "cgroup", [*mode, *plain]),
    ]  # fmt: skip


def _entry(destination: str, kind: str, source: str, options: list[str]) -> MountEntry:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def step_mount(mount: ResolvedMount) -> MountEntry:
    """A mount of the step itself; the selector is not part of it (see `selected_source`)."""
    options = [name for name in ("nosuid", "nodev", "noexec") if getattr(mount, name)]
    if mount.readonly:
        options.append("ro")
    if mount.kind == "tmpfs":
        if mount.size:
            options.append(f"size={mount.size}")
        return _entry(clean(mount.dest), "tmpfs", "tmpfs", options)
    if mount.source is None:
        raise DockcError(f"mount {mount.dest} has no source")
    return _entry(clean(mount.dest), "bind", str(mount.source), ["rbind", *options])


def all_mounts(spec: ExecSpec, base: Sequence[MountEntry], steps: Sequence[MountEntry]) -> list[MountEntry]:
    """Base and step mounts in order; one with an equal destination takes the earlier one's place.

    A step holds CAP_MKNOD, so that it can make the node of any device of the host wherever it may write. In a sandboxed
    one no such node opens: all mounts are nodev, /dev included. Its few nodes are mounts of their own, and those of
    /dev/pts are made by the kernel alone.
    """
    rows: dict[str, MountEntry] = {}
    for entry in (*base, *steps):
        options = entry["options"]
        if not is_insecure(spec) and entry["type"] != "devpts" and "nodev" not in options:
            options = [*options, "nodev"]
        rows[entry["destination"]] = {**entry, "options": options}
    return list(rows.values())


def clean(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def environment(spec: ExecSpec, home: str) -> list[str]:
    """The process's environment: equal names folded to the last, HOME added if missing.

    Raises:
        DockcError: an entry without `=` or with an empty name.
    """
    values: dict[str, str] = {}
    for entry in spec.env:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            # What follows the sign may be a secret.
            raise DockcError(f"invalid environment variable: {name!r}{' without a name' if equals else ''}")
        if "\0" in entry:
            raise DockcError(f"invalid environment variable: {name}: contains a NUL byte")
        values[name] = value
    values.setdefault("HOME", home or "/")
    return [f"{name}={value}" for name, value in values.items()]
