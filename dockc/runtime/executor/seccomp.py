"""The system call filter of containers: what is refused, as a BPF program and as an OCI profile.

A step may do what programs do; refused with EPERM is what steers the machine itself: mounting, modules,
keyrings, clocks, namespaces, other processes' memory policy. The set equals that of Docker's default
profile for the default capabilities. Calls newer than our tables answer ENOSYS, so that programs fall
back to older ones.

Sources: the kernel's system call tables; seccomp(2); Linux socket filters (struct sock_filter).
"""

from __future__ import annotations

import errno
import struct
import sys
from typing import Any

# Kernel numbers by table; -1 where a table lacks the call. "generic" is asm-generic: arm64, riscv64, loongarch64.
#   name: x86_64, i386, arm, generic
_DENIED: dict[str, tuple[int, int, int, int]] = {
    # mounts
    "mount": (165, 21, 21, 40),
    "umount": (-1, 22, -1, -1),
    "umount2": (166, 52, 52, 39),
    "pivot_root": (155, 217, 218, 41),
    "open_tree": (428, 428, 428, 428),
    "move_mount": (429, 429, 429, 429),
    "fsopen": (430, 430, 430, 430),
    "fsconfig": (431, 431, 431, 431),
    "fsmount": (432, 432, 432, 432),
    "fspick": (433, 433, 433, 433),
    "mount_setattr": (442, 442, 442, 442),
    # namespaces
    "unshare": (272, 310, 337, 97),
    "setns": (308, 346, 375, 268),
    # kernel code: modules, kexec, bpf
    "create_module": (174, 127, -1, -1),
    "init_module": (175, 128, 128, 105),
    "delete_module": (176, 129, 129, 106),
    "get_kernel_syms": (177, 130, -1, -1),
    "query_module": (178, 167, -1, -1),
    "finit_module": (313, 350, 379, 273),
    "kexec_load": (246, 283, 347, 104),
    "kexec_file_load": (320, -1, 401, 294),
    "bpf": (321, 357, 386, 280),
    "vm86": (-1, 166, -1, -1),
    "vm86old": (-1, 113, -1, -1),
    # keyrings are not namespaced
    "add_key": (248, 286, 309, 217),
    "request_key": (249, 287, 310, 218),
    "keyctl": (250, 288, 311, 219),
    # the machine: clocks, power, swap, ports, names, accounting, quotas, log, terminals
    "settimeofday": (164, 79, 79, 170),
    "stime": (-1, 25, -1, -1),
    "clock_settime": (227, 264, 262, 112),
    "clock_settime64": (-1, 404, 404, -1),
    "reboot": (169, 88, 88, 142),
    "swapon": (167, 87, 87, 224),
    "swapoff": (168, 115, 115, 225),
    "iopl": (172, 110, -1, -1),
    "ioperm": (173, 101, -1, -1),
    "sethostname": (170, 74, 74, 161),
    "setdomainname": (171, 121, 121, 162),
    "acct": (163, 51, 51, 89),
    "quotactl": (179, 131, 131, 60),
    "quotactl_fd": (443, 443, 443, 443),
    "syslog": (103, 103, 103, 116),
    "vhangup": (153, 111, 111, 58),
    # other processes and memory placement
    "kcmp": (312, 349, 378, 272),
    "pidfd_getfd": (438, 438, 438, 438),
    "process_madvise": (440, 440, 440, 440),
    "mbind": (237, 274, 319, 235),
    "set_mempolicy": (238, 276, 321, 237),
    "get_mempolicy": (239, 275, 320, 236),
    "set_mempolicy_home_node": (450, 450, 450, 450),
    "migrate_pages": (256, 294, 400, 238),
    "move_pages": (279, 317, 344, 239),
    # large attack surface, little use in a build step
    "perf_event_open": (298, 336, 364, 241),
    "userfaultfd": (323, 374, 388, 282),
    "io_uring_setup": (425, 425, 425, 425),
    "io_uring_enter": (426, 426, 426, 426),
    "io_uring_register": (427, 427, 427, 427),
    # files behind the back of path checks
    "open_by_handle_at": (304, 342, 371, 265),
    "fanotify_init": (300, 338, 367, 262),
    "lookup_dcookie": (212, 253, 249, 18),
    "lsm_get_self_attr": (459, 459, 459, 459),
    "lsm_set_self_attr": (460, 460, 460, 460),
    "lsm_list_modules": (461, 461, 461, 461),
    # relics
    "uselib": (134, 86, 86, -1),
    "ustat": (136, 62, 62, -1),
    "sysfs": (139, 135, 135, -1),
    "_sysctl": (156, 149, 149, -1),
    "nfsservctl": (180, 169, 169, 42),
    "getpmsg": (181, 188, -1, -1),
    "putpmsg": (182, 189, -1, -1),
    "afs_syscall": (183, 137, -1, -1),
    "vserver": (236, 273, -1, -1),
    "bdflush": (-1, 134, 134, -1),
}
# Calls judged by their arguments, or answered with ENOSYS: the flags of clone3 and the address family behind
# socketcall, the old gate to socket(2), lie in memory, out of a filter's sight.
_SPECIAL: dict[str, tuple[int, int, int, int]] = {
    "clone": (56, 120, 120, 220),
    "clone3": (435, 435, 435, 435),
    "personality": (135, 136, 136, 92),
    "socket": (41, 359, 281, 198),
    "socketcall": (-1, 102, -1, -1),
}
_LAST_KNOWN = 466
# Calls of the arm table outside of the common numbering (cacheflush, set_tls and the like).
_ARM_PRIVATE = 0x0F0000

_NEW_NAMESPACES = 0x7E020000
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_ALG, _AF_VSOCK = 38, 40

# machine: ((audit architecture, column of the tables), ...), the native one first.
_ARCHES: dict[str, tuple[tuple[int, int], ...]] = {
    "x86_64": ((0xC000003E, 0), (0x40000003, 1)),
    "aarch64": ((0xC00000B7, 3), (0x40000028, 2)),
    "armv7l": ((0x40000028, 2),),
    "riscv64": ((0xC00000F3, 3),),
    "loongarch64": ((0xC0000102, 3),),
}
_OCI_ARCHES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "armv7l": ["SCMP_ARCH_ARM"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
}

_LD, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16


class _Assembler:
    """Collects instructions with labels; a jump must reach its label within 255 instructions."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, str, int]] = []
        self._labels: dict[str, int] = {}

    def emit(self, code: int, value: int, *, then: str = "", otherwise: str = "") -> None:
        self._rows.append((code, then, otherwise, value))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._rows)

    def assemble(self) -> bytes:
        out = bytearray()
        for here, (code, then, otherwise, value) in enumerate(self._rows):
            jt, jf = (self._labels[name] - here - 1 if name else 0 for name in (then, otherwise))
            out += struct.pack("=HBBI", code, jt, jf, value)
        return bytes(out)


def _argument(index: int) -> int:
    """Offset of the low half of a system call argument."""
    return _OFFSET_ARGS + 8 * index + (4 if sys.byteorder == "big" else 0)


def program(machine: str) -> bytes | None:
    """The filter for a machine (as `base.machine` names it), or None where no table is known."""
    arches = _ARCHES.get(machine)
    if arches is None:
        return None
    asm = _Assembler()
    for audit, column in arches:
        _arch_block(asm, f"{column}.", audit, column)
    asm.emit(_RET, _ERRNO | errno.ENOSYS)
    return asm.assemble()


def _arch_block(asm: _Assembler, tag: str, audit: int, column: int) -> None:
    asm.emit(_LD, _OFFSET_ARCH)
    asm.emit(_JEQ, audit, otherwise=tag + "next")
    asm.emit(_LD, _OFFSET_NR)
    if column == 2:
        asm.emit(_JGE, _ARM_PRIVATE, then=tag + "allow")
    asm.emit(_JGT, _LAST_KNOWN, then=tag + "nosys")  # the x32 numbers lie above as well
    numbers = {name: row[column] for name, row in _SPECIAL.items()}
    for name in ("clone3", "socketcall"):
        if numbers[name] >= 0:
            asm.emit(_JEQ, numbers[name], then=tag + "nosys")
    for name in ("clone", "personality", "socket"):
        asm.emit(_JEQ, numbers[name], then=tag + name)
    for row in _DENIED.values():
        if row[column] >= 0:
            asm.emit(_JEQ, row[column], then=tag + "deny")
    asm.label(tag + "allow")
    asm.emit(_RET, _ALLOW)
    asm.label(tag + "clone")
    asm.emit(_LD, _argument(0))
    asm.emit(_JSET, _NEW_NAMESPACES, then=tag + "deny", otherwise=tag + "fine")
    asm.label(tag + "personality")
    asm.emit(_LD, _argument(0))
    for value in _PERSONALITIES:
        asm.emit(_JEQ, value, then=tag + "fine")
    asm.label(tag + "deny")
    asm.emit(_RET, _ERRNO | errno.EPERM)
    asm.label(tag + "socket")
    asm.emit(_LD, _argument(0))
    asm.emit(_JEQ, _AF_ALG, then=tag + "deny2")
    asm.emit(_JEQ, _AF_VSOCK, then=tag + "deny2")
    asm.label(tag + "fine")
    asm.emit(_RET, _ALLOW)
    asm.label(tag + "deny2")
    asm.emit(_RET, _ERRNO | errno.EPERM)
    asm.label(tag + "nosys")
    asm.emit(_RET, _ERRNO | errno.ENOSYS)
    asm.label(tag + "next")


def oci_profile(machine: str) -> dict[str, Any] | None:
    """The same filter as `linux.seccomp` of the OCI runtime specification, or None as `program`."""
    from dockc.runtime.executor.seccomp_names import ALLOWED

    arches = _OCI_ARCHES.get(machine)
    if arches is None:
        return None
    allow = "SCMP_ACT_ALLOW"

    def rule(name: str, op: str, value: int, *, index: int = 0) -> dict[str, Any]:
        return {
            "names": [name],
            "action": allow,
            "args": [{"index": index, "value": value, "valueTwo": 0, "op": op}],
        }

    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": arches,
        "syscalls": [
            # First: libseccomp adds socketcall(SYS_SOCKET) to each rule for socket(2), without its condition.
            {"names": ["clone3", "socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
            {"names": sorted(ALLOWED), "action": allow},
            rule("clone", "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES, index=1 if machine == "s390x" else 0),
            *(rule("personality", "SCMP_CMP_EQ", value) for value in _PERSONALITIES),
            rule("socket", "SCMP_CMP_LT", _AF_ALG),
            rule("socket", "SCMP_CMP_EQ", _AF_ALG + 1),
            rule("socket", "SCMP_CMP_GT", _AF_VSOCK),
        ],
    }
