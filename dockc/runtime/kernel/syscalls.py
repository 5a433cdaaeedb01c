"""The Linux calls that Python 3.11 does not wrap, through ctypes; each raises OSError on failure.

Imported by the container's first process, so it imports little.
Numbers and flags: Linux UAPI headers (sched.h, mount.h, prctl.h), the same on all machines listed
in `_NUMBERS` since they were added after the numbering was unified.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from dockc.base.machine import machine as this_machine

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_STRICTATIME = 1 << 24
MNT_DETACH = 2

PER_LINUX = 0
"""Execution domain of an ordinary program: nothing of setarch(8)."""

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442
_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
# pivot_root is older than the common numbering and has no libc wrapper that musl and glibc share.
_SYS_PIVOT_ROOT = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41,
    "ppc64le": 203, "s390x": 217, "armv7l": 218, "armv6l": 218, "i686": 217, "i386": 217,
}  # fmt: skip
# rt_sigaction: libc's sigaction refuses the signals that its threads use themselves.
_SYS_RT_SIGACTION = {
    "x86_64": 13, "aarch64": 134, "riscv64": 134, "loongarch64": 134,
    "ppc64le": 173, "s390x": 174, "armv7l": 174, "armv6l": 174, "i686": 174, "i386": 174,
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def join_namespace(path: str, kind: int) -> None:
    """setns(2): become part of the namespace at a path, of the kind of a `CLONE_NEW...` flag."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, kind), "setns")
    finally:
        os.close(fd)


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str = "") -> None:
    """Make a mount, or change one."""
    _check(
        _libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if fstype is None else fstype.encode(),
            ctypes.c_ulong(flags),
            os.fsencode(data) if data else None,
        ),
        f"mount {fstype or ''} {source or ''} on {target}".replace("  ", " "),
    )


def umount(target: str, flags: int = 0) -> None:
    """Unmount."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def mount_setattr(fd: int, attributes: int, *, recursive: bool) -> None:
    """Set (never clear) attributes of the mount at an O_PATH descriptor; needs Linux 5.12."""
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_int(fd), b"", ctypes.c_uint(flags),
        ctypes.byref(attr), ctypes.c_size_t(32),
    )  # fmt: skip
    _check(result, "mount_setattr")


def open_tree_clone(fd: int) -> int:
    """A detached copy of the mounts at and below an O_PATH descriptor; needs Linux 5.2."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    result: int = _libc.syscall(ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(fd), b"", ctypes.c_uint(flags))
    return _check(result, "open_tree")


def move_mount(tree: int, target: int) -> None:
    """Attach what `open_tree_clone` gave at an O_PATH descriptor."""
    from_and_to_empty_path = 0x4 | 0x40
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT), ctypes.c_int(tree), b"", ctypes.c_int(target), b"",
        ctypes.c_uint(from_and_to_empty_path),
    )  # fmt: skip
    _check(result, "move_mount")


def pivot_root(new_root: str, put_old: str) -> None:
    """Change the root mount."""
    number = _SYS_PIVOT_ROOT.get(this_machine())
    if number is None:
        raise OSError(errno.ENOSYS, "pivot_root: unknown machine", this_machine())
    _check(
        _libc.syscall(ctypes.c_long(number), os.fsencode(new_root), os.fsencode(put_old)),
        f"pivot_root {new_root}",
    )


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Process control with integer arguments."""
    zero = ctypes.c_ulong(0)
    return _check(
        _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(arg2), ctypes.c_ulong(arg3), zero, zero),
        f"prctl({option})",
    )


def default_signal(number: int) -> None:
    """Give a signal its default action, those included that libc keeps to itself (on glibc 32 and 33)."""
    call = _SYS_RT_SIGACTION.get(this_machine())
    if call is None:
        raise OSError(errno.ENOSYS, "rt_sigaction: unknown machine", this_machine())
    action = bytes(
        64
    )  # SIG_DFL, no flags, an empty mask: all zero, and longer than the kernel's struct sigaction anywhere
    _check(
        _libc.syscall(ctypes.c_long(call), ctypes.c_int(number), action, None, ctypes.c_size_t(8)),
        f"rt_sigaction({number})",
    )


def personality(persona: int) -> None:
    """Set the execution domain and its flags (personality(2))."""
    _check(_libc.personality(ctypes.c_ulong(persona)), "personality")


def sethostname(name: str) -> None:
    """Set the name of the UTS namespace."""
    raw = os.fsencode(name)
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), f"sethostname {name}")


def set_seccomp_filter(program: bytes) -> None:
    """Install a classic BPF program (8 bytes an instruction) as a seccomp filter."""
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    mode_filter = 2
    result = _libc.prctl(
        ctypes.c_int(PR_SET_SECCOMP), ctypes.c_ulong(mode_filter), prog,
        ctypes.c_ulong(0), ctypes.c_ulong(0),
    )  # fmt: skip
    _check(result, "seccomp filter")


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capabilities, a bit mask each (version 3 of the call)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = (ctypes.c_uint32 * 6)(
        effective & low, permitted & low, inheritable & low,
        effective >> high, permitted >> high, inheritable >> high,
    )  # fmt: skip
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


_M_ARENA_MAX = -8


def share_memory(arenas: int) -> None:
    """Let all threads take their memory from so many arenas. glibc gives nearly each thread its own otherwise, which
    keeps what is free in it: a process with many threads grows by what each of them had at times. To be called before
    there are threads.
    """
    option = getattr(_libc, "mallopt", None)  # glibc's
    if option is not None:
        option(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(arenas))


def trim_memory() -> None:
    """Give memory back that was freed: a C library with an arena for each thread keeps what many threads had at times."""
    trim = getattr(_libc, "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(ctypes.c_size_t(0))
