"""What /proc says of this process."""

from __future__ import annotations

from pathlib import Path

from dockc.errors import DockcError


def status(key: str) -> str:
    """A line of `/proc/self/status` by its name, such as `CapEff`; "" where the kernel has no such line.

    Raises:
        DockcError: there is no /proc.
    """
    try:
        text = Path("/proc/self/status").read_text()
    except OSError as error:
        raise DockcError(
            f"cannot read /proc/self/status: {error.strerror}", hint="Steps need /proc: mount -t proc proc /proc"
        ) from error
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return ""


def has_capability(number: int) -> bool:
    """Whether a capability is in effect, by its number in `capabilities(7)`.

    Raises:
        DockcError: there is no /proc.
    """
    return bool(int(status("CapEff") or "0", 16) >> number & 1)
