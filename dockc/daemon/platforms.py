"""What a daemon can run: this machine's own platforms, and those that the kernel hands to an emulator.

Source: Linux, Documentation/admin-guide/binfmt-misc.rst; ELF, `e_ident` and `e_machine`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dockc.oci import platform as platforms
from dockc.oci.platform import Platform

_FOLDER = Path("/proc/sys/fs/binfmt_misc")
_LIMIT = 4096
#: By `e_machine`, bits (1: 32, 2: 64) and order of bytes (1: the lowest first).
_MACHINES: dict[tuple[int, int, int], tuple[Platform, ...]] = {
    (0x3E, 2, 1): (Platform("linux", "amd64"),),
    (0x03, 1, 1): (Platform("linux", "386"),),
    (0xB7, 2, 1): (Platform("linux", "arm64"),),
    (0x28, 1, 1): (Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6")),
    (0xF3, 2, 1): (Platform("linux", "riscv64"),),
    (0x15, 2, 1): (Platform("linux", "ppc64le"),),
    (0x15, 2, 2): (Platform("linux", "ppc64"),),
    (0x16, 2, 2): (Platform("linux", "s390x"),),
    (0x08, 2, 1): (Platform("linux", "mips64le"),),
    (0x08, 2, 2): (Platform("linux", "mips64"),),
    (0x0102, 2, 1): (Platform("linux", "loong64"),),
}


def emulated(folder: Path = _FOLDER) -> tuple[Platform, ...]:
    """Platforms whose programs the kernel hands to an emulator that it holds open (`F`): a step's root has none."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return ()
    found: dict[Platform, None] = {}
    for entry in entries:
        try:
            with entry.open("rb") as file:
                text = file.read(_LIMIT).decode("ascii", "replace")
        except OSError:
            continue  # `register` can only be written
        found |= dict.fromkeys(_told(text))
    return tuple(found)


def _told(text: str) -> tuple[Platform, ...]:
    first, *lines = text.splitlines() or [""]
    said = dict(line.replace(":", "", 1).split(" ", 1) for line in lines if " " in line)
    try:
        magic = bytes.fromhex(said.get("magic", ""))
    except ValueError:
        return ()
    if first != "enabled" or "F" not in said.get("flags", "") or said.get("offset", "0") != "0":
        return ()
    if len(magic) < 20 or magic[:4] != b"\x7fELF":
        return ()
    order = "little" if magic[5] == 1 else "big"
    return _MACHINES.get((int.from_bytes(magic[18:20], order), magic[4], magic[5]), ())  # type: ignore[arg-type]


class Runnable:
    """What can be run now, looked up anew when the answer has become old."""

    def __init__(self, given: Sequence[str], age: float) -> None:
        """Take what is `given` for the whole truth; without any, ask the machine every `age` seconds."""
        self._given = tuple(platforms.normalize(platforms.parse(text)) for text in given)
        self._age = age
        self._found: tuple[Platform, ...] = ()
        self._when = 0.0

    def now(self) -> tuple[Platform, ...]:
        """The platforms, this machine's own first."""
        if self._given:
            return self._given
        moment = time.monotonic()
        if not self._found or moment - self._when >= self._age:
            own = platforms.normalize(platforms.default())
            more = (Platform("linux", "386"),) if own.architecture == "amd64" else ()
            self._found = tuple(dict.fromkeys((own, *more, *map(platforms.normalize, emulated()))))
            self._when = moment
        return self._found
