"""The machine is what it is, whatever the caller's personality has the kernel call it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from dockc.base.machine import machine
from dockc.oci.platform import Platform, default


@pytest.mark.parametrize(
    ("told", "wide", "found"),
    [
        ("x86_64", True, "x86_64"), ("i686", True, "x86_64"), ("i686", False, "i686"), ("armv8l", True, "aarch64"),
        ("armv7l", False, "armv7l"), ("riscv64", True, "riscv64"),
    ],
)  # fmt: skip
def test_machines(told: str, wide: bool, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=told))
    monkeypatch.setattr(sys, "maxsize", (1 << 63 if wide else 1 << 31) - 1)
    assert machine() == found


def test_a_build_for_this_machine_has_its_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="i686"))
    monkeypatch.setattr(sys, "maxsize", (1 << 63) - 1)
    assert default() == Platform("linux", "amd64")
