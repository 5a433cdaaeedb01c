"""The filter program, run by a small machine of our own, and its twin for OCI runtimes."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.runtime.executor import seccomp
from dockc.runtime.executor.seccomp_names import ALLOWED

ALLOW = 0x7FFF0000
EPERM = 0x00050000 | errno.EPERM
ENOSYS = 0x00050000 | errno.ENOSYS
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028


def run(program: bytes, number: int, arch: int, *args: int) -> int:
    """Interpret the program on one system call (linux/filter.h, the instructions it uses)."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    rows = list(struct.iter_unpack("=HBBI", program))
    at, acc = 0, 0
    while True:
        code, jt, jf, value = rows[at]
        at += 1
        match code:
            case 0x20:
                (acc,) = struct.unpack_from("=I", data, value)
            case 0x06:
                return int(value)
            case 0x15:
                at += jt if acc == value else jf
            case 0x25:
                at += jt if acc > value else jf
            case 0x35:
                at += jt if acc >= value else jf
            case 0x45:
                at += jt if acc & value else jf
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.fixture(scope="module")
def x86() -> bytes:
    program = seccomp.program("x86_64")
    assert program is not None
    return program


@pytest.mark.parametrize(("arch", "column"), [(X86_64, 0), (I386, 1)])
def test_every_denied_call(x86: bytes, arch: int, column: int) -> None:
    for name, row in seccomp._DENIED.items():
        if row[column] >= 0:
            assert run(x86, row[column], arch) == EPERM, name


@pytest.mark.parametrize("number", [0, 1, 2, 59, 60, 231, 257, 439, 451, 466])
def test_usual_calls_pass(x86: bytes, number: int) -> None:
    assert run(x86, number, X86_64) == ALLOW


def test_unknown_calls_and_machines(x86: bytes) -> None:
    assert run(x86, 467, X86_64) == ENOSYS
    assert run(x86, 0x40000000 | 1, X86_64) == ENOSYS  # the x32 form of write
    assert run(x86, 1, AARCH64) == ENOSYS


def test_calls_judged_by_their_arguments(x86: bytes) -> None:
    assert run(x86, 56, X86_64, 0x01200011) == ALLOW  # fork
    assert run(x86, 56, X86_64, 0x003D0F00) == ALLOW  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(x86, 56, X86_64, flag | 17) == EPERM
    assert run(x86, 435, X86_64) == ENOSYS
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert run(x86, 135, X86_64, value) == ALLOW
    assert run(x86, 135, X86_64, 0x40000) == EPERM
    for family, verdict in ((1, ALLOW), (2, ALLOW), (10, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (44, ALLOW)):
        assert run(x86, 41, X86_64, family) == verdict


def test_arm() -> None:
    program = seccomp.program("aarch64")
    assert program is not None
    assert run(program, 40, AARCH64) == EPERM
    assert run(program, 64, AARCH64) == ALLOW
    assert run(program, 21, ARM) == EPERM
    assert run(program, 0x0F0005, ARM) == ALLOW  # set_tls


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([X86_64, I386, AARCH64, 0]),
    st.lists(st.integers(0, 2**64 - 1), max_size=6),
)
def test_it_always_decides(number: int, arch: int, args: list[int]) -> None:
    for machine in ("x86_64", "aarch64", "riscv64"):
        program = seccomp.program(machine)
        assert program is not None
        assert run(program, number, arch, *args) in (ALLOW, EPERM, ENOSYS)


def test_unknown_machine_has_no_filter() -> None:
    assert seccomp.program("pdp11") is None
    assert seccomp.oci_profile("pdp11") is None


def test_profile_for_runtimes_says_the_same() -> None:
    assert not ALLOWED & set(seccomp._DENIED)
    assert not ALLOWED & set(seccomp._SPECIAL)
    profile: dict[str, Any] | None = seccomp.oci_profile("x86_64")
    assert profile is not None
    named = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert set(seccomp._SPECIAL) <= named
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
