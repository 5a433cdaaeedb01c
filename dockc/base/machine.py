"""What machine this process runs on."""

from __future__ import annotations

import os
import sys

#: What `setarch linux32` calls a machine, and what the machine is all the same where a program has 64 bits.
_WIDE = {
    "i386": "x86_64",
    "i486": "x86_64",
    "i586": "x86_64",
    "i686": "x86_64",
    "armv8l": "aarch64",
    "ppc": "ppc64",
    "ppcle": "ppc64le",
    "s390": "s390x",
    "mips": "mips64",
}


def machine() -> str:
    """The kernel's name of this machine, such as `x86_64`; "" where there is none.

    The caller's personality may have the kernel name its 32-bit relative. What this program was made for is no
    question of the caller: a build has the same platform, and steps the same filter of system calls.
    """
    name = os.uname().machine if hasattr(os, "uname") else ""
    return _WIDE.get(name, name) if sys.maxsize > 1 << 32 else name
