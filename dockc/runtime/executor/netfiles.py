"""/etc/hosts and /etc/resolv.conf of a container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dockc.runtime.executor.base import DEFAULT_HOSTNAME, HostEntry

_RESOLV_CONF = Path("/etc/resolv.conf")
_MAX = 1 << 20


def hosts(hostname: str, extra: Sequence[HostEntry]) -> str:
    """The hosts file: loopback names with the container's own, then the extra entries."""
    lines = [f"127.0.0.1\tlocalhost {hostname or DEFAULT_HOSTNAME}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{entry.ip}\t{entry.host}" for entry in extra]
    return "\n".join(lines) + "\n"


def resolv_conf(source: Path = _RESOLV_CONF) -> bytes:
    """The host's own resolver configuration, empty if it has none.

    The container shares the host's network or has none at all, so the host's name servers, loopback ones
    included, are the right ones; no public server is ever put in their place.
    """
    try:
        with source.open("rb") as stream:
            return stream.read(_MAX)
    except OSError:
        return b""
