"""The numbers of the wire that choose between ways to do something, each said here and nowhere else.

Plain numbers, not `enum.IntEnum`: a message may hold any number, so fields stay `int`, and the five classes would
cost a fiftieth of a short compile (ADR 12).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class Network:
    """Which network a process sees (`pb.NetMode`)."""

    SANDBOX: Final = 0
    HOST: Final = 1
    NONE: Final = 2
    NAMES: Final = ("sandbox", "host", "none")


class Security:
    """What a process may do (`pb.SecurityMode`)."""

    SANDBOX: Final = 0
    INSECURE: Final = 1
    NAMES: Final = ("sandbox", "insecure")


class MountKind:
    """What is mounted (`pb.MountType`)."""

    BIND: Final = 0
    SECRET: Final = 1
    SSH: Final = 2
    CACHE: Final = 3
    TMPFS: Final = 4
    NAMES: Final = ("bind", "secret", "ssh", "cache", "tmpfs")


class Sharing:
    """Who may use a cache mount at the same time (`pb.CacheSharingOpt`)."""

    SHARED: Final = 0
    PRIVATE: Final = 1
    LOCKED: Final = 2
    NAMES: Final = ("shared", "private", "locked")


class ContentCache:
    """Whether a mount's content makes a cache key (`pb.MountContentCache`)."""

    DEFAULT: Final = 0
    ON: Final = 1
    OFF: Final = 2
    NAMES: Final = ("default", "on", "off")
