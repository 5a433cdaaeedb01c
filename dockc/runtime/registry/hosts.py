"""Which hosts serve a registry name, and how to reach them.

A name in a reference (`docker.io`, `localhost:5000`) is not always where the bytes are: Docker Hub lives on
another host, mirrors are asked first, and loopback registries speak plain HTTP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from dockc.base.record import Record, made, replace
from dockc.errors import UsageError
from dockc.runtime.registry.trust import Trust

DOCKER_HUB = "registry-1.docker.io"


class Host(Record):
    """One place that serves a registry's API.

    Attributes:
        address: host with optional port.
        scheme: "https" or "http".
        trust: which certificates count, and which are shown.
        mirror: a mirror: asked for pulls only, and with `?ns=` telling whose image is meant.
        name: the registry name in references; credentials are looked up under it (a mirror's under its own).
    """

    address: str
    scheme: str = "https"
    trust: Trust = Trust()
    mirror: bool = False
    name: str = ""

    @property
    def base(self) -> str:
        """Root of the API, without a slash at the end."""
        return f"{self.scheme}://{self.address}"


class RegistrySettings(Record):
    """What the user says about one registry.

    Attributes:
        http: plain HTTP instead of TLS; None lets loopback addresses speak HTTP and all others TLS.
        insecure: accept any certificate, and fall back to HTTP.
        mirrors: hosts to ask first when pulling, best first; `http://` or `https://` may stand before one.
        trust: further authorities, and certificates of ours.
    """

    http: bool | None = None
    insecure: bool = False
    mirrors: tuple[str, ...] = ()
    trust: Trust = Trust()


class HostsConfig(Record):
    """Settings by registry name (`docker.io`, `localhost:5000`)."""

    registries: Mapping[str, RegistrySettings] = made(dict)

    def settings(self, name: str) -> RegistrySettings:
        """Settings of a registry; the defaults when none were given."""
        return self.registries.get(name, RegistrySettings())

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> HostsConfig:
        """Read `{name: {http, insecure, mirrors, ca, keypair}}`, the form of the configuration file.

        Raises:
            UsageError: an unknown key or a value of the wrong type.
        """
        return cls({name: _settings(name, table) for name, table in raw.items()})

    def hosts(self, name: str, *, insecure: bool = False) -> tuple[Host, ...]:
        """Hosts to try for pulls, in order.

        Args:
            name: the registry name of a reference.
            insecure: the user asked for this one operation to accept anything.
        """
        found: list[Host] = []
        for mirror in self.settings(name).mirrors:
            scheme, _, rest = mirror.rpartition("://")
            address = rest.rstrip("/")
            settings = self.settings(address)
            if scheme:
                settings = replace(settings, http=scheme == "http")
            found += [
                Host(h.address, h.scheme, h.trust, mirror=True, name=address)
                for h in _plain(address, settings, insecure=False)
            ]
        return (*found, *self.origin(name, insecure=insecure))

    def origin(self, name: str, *, insecure: bool = False) -> tuple[Host, ...]:
        """The registry itself, without mirrors: what pushes go to."""
        address = DOCKER_HUB if name in ("docker.io", "index.docker.io") else name
        return tuple(
            Host(h.address, h.scheme, h.trust, name=name)
            for h in _plain(address, self.settings(name), insecure=insecure)
        )


def _plain(address: str, settings: RegistrySettings, *, insecure: bool) -> tuple[Host, ...]:
    use_http = is_loopback(address) if settings.http is None else settings.http
    if use_http and (settings.http or not insecure):
        return (Host(address, "http"),)
    if insecure or settings.insecure:
        return (Host(address, "https", replace(settings.trust, verify=False)), Host(address, "http"))
    return (Host(address, "https", settings.trust),)


def _settings(name: str, table: object) -> RegistrySettings:
    if not isinstance(table, Mapping):
        raise UsageError(f"registry {name}: expected a table of settings")
    unknown = sorted(set(table) - {"http", "insecure", "mirrors", "ca", "keypair"})
    if unknown:
        raise UsageError(f"registry {name}: unknown setting {unknown[0]!r}")
    http, insecure = table.get("http"), table.get("insecure", False)
    mirrors, files = table.get("mirrors", []), table.get("ca", [])
    if not (http is None or isinstance(http, bool)) or not isinstance(insecure, bool):
        raise UsageError(f"registry {name}: http and insecure must be true or false")
    if not isinstance(mirrors, list) or not all(isinstance(item, str) for item in mirrors):
        raise UsageError(f"registry {name}: mirrors must be a list of hosts")
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list) or not all(isinstance(item, str) for item in files):
        raise UsageError(f"registry {name}: ca must be the path of a PEM file, or a list of paths")
    trust = Trust(ca_files=tuple(filter(None, files)), pairs=tuple(_pair(name, one) for one in _list(name, table)))
    return RegistrySettings(http, insecure, tuple(mirrors), trust)


def _list(name: str, table: Mapping[str, object]) -> list[object]:
    found = table.get("keypair", [])
    if not isinstance(found, list):
        raise UsageError(f"registry {name}: keypair must be a list of tables")
    return found


def _pair(name: str, table: object) -> tuple[str, str]:
    if isinstance(table, Mapping) and set(table) == {"cert", "key"}:
        cert, key = table["cert"], table["key"]
        if isinstance(cert, str) and cert and isinstance(key, str) and key:
            return cert, key
    raise UsageError(f"registry {name}: a keypair is a table of cert and key, paths of PEM files")


def is_loopback(address: str) -> bool:
    """Whether a `host[:port]` is this very machine by its spelling; no name is looked up."""
    host = hostname(address)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_near(address: str) -> bool:
    """Whether a `host[:port]` is reached without any router, as this machine and its metadata services are."""
    try:
        return is_loopback(address) or ipaddress.ip_address(hostname(address)).is_link_local
    except ValueError:
        return False


def hostname(address: str) -> str:
    """The host of `host[:port]`, brackets of IPv6 removed, in lower case."""
    if address.startswith("["):
        return address[1:].partition("]")[0].lower()
    return address.rpartition(":")[0].lower() if ":" in address else address.lower()
