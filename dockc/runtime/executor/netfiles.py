"""/etc/hosts and /etc/resolv.conf of a container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dockc.runtime.executor.base import DEFAULT_HOSTNAME, Dns, HostEntry

_RESOLV_CONF = Path("/etc/resolv.conf")
_BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")
_MAX = 1 << 20


def hosts(hostname: str, extra: Sequence[HostEntry]) -> str:
    """The hosts file: loopback names with the container's own, then the extra entries."""
    lines = [f"127.0.0.1\tlocalhost {hostname or DEFAULT_HOSTNAME}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{entry.ip}\t{entry.host}" for entry in extra]
    return "\n".join(lines) + "\n"


def resolv_conf(source: Path = _RESOLV_CONF, *, apart: bool = False, dns: Dns | None = None) -> bytes:
    """The host's own resolver configuration, empty if it has none.

    A container that shares the host's network, or has none at all, gets the host's name servers, loopback ones
    included. One with a network of its own (`apart`) cannot reach those: it gets the others, and where there are none
    but systemd's, what systemd asks itself. No public server is ever put in their place. What `dns` names stands
    instead.
    """
    text = _read(source)
    if apart and not _away(text) and source == _RESOLV_CONF:
        text = _read(_BEHIND_STUB) or text
    if dns is None and not apart:
        return text
    lines = text.splitlines()
    if apart:
        away = set(_away(text))
        lines = [line for line in lines if line.split()[:1] != [b"nameserver"] or line in away]
    for word, values in (
        (("nameserver", dns.nameservers), ("search", dns.search), ("options", dns.options)) if dns else ()
    ):
        if values:
            taken = {b"search", b"domain"} if word == "search" else {word.encode()}
            lines = [line for line in lines if not taken & set(line.split()[:1])]
            said = [f"{word} {one}" for one in values] if word == "nameserver" else [f"{word} {' '.join(values)}"]
            lines += [one.encode() for one in said]
    return b"".join(line + b"\n" for line in lines)


def _read(source: Path) -> bytes:
    try:
        with source.open("rb") as stream:
            return stream.read(_MAX)
    except OSError:
        return b""


def _away(text: bytes) -> list[bytes]:
    """The lines of name servers that are not on this machine's loopback."""
    found = [line for line in text.splitlines() if line.split()[:1] == [b"nameserver"] and len(line.split()) > 1]
    return [line for line in found if not line.split()[1].startswith((b"127.", b"::1"))]
