"""Clients of registries: every one of them is made here, from the user's settings and credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockc.engine import settings

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.runtime.registry.client import Client


def registry_client(*, insecure: bool = False, offline: bool = False, uploads: Mapping[str, Path] | None = None) -> Client:
    """A client of all registries and of the web; the caller closes it.

    Args:
        insecure: registries are spoken to by plain HTTP or with any certificate.
        offline: ask nobody; what would have to be asked fails.
        uploads: files by the addresses that they answer for.

    Raises:
        UsageError: the settings cannot be understood.
    """
    from dockc.runtime.registry.client import Client
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.registry.hosts import HostsConfig

    client = Client(config=DockerConfig.load(), hosts=HostsConfig.from_mapping(settings.registries()), insecure=insecure)
    client.transport.offline = offline
    if uploads is not None:
        client.transport.uploads = uploads
    return client
