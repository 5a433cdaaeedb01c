"""Clients of registries: every one of them is made here, from the user's settings and credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockc.engine import settings

if TYPE_CHECKING:
    from pathlib import Path

    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.auth import CredentialStore


def registry_client(
    *,
    insecure: bool = False,
    offline: bool = False,
    uploads: Mapping[str, Path] | None = None,
    credentials: CredentialStore | None = None,
) -> Client:
    """A client of all registries and of the web; the caller closes it.

    Args:
        insecure: registries are spoken to by plain HTTP or with any certificate.
        offline: ask nobody; what would have to be asked fails.
        uploads: files by the addresses that they answer for.
        credentials: of registries; None for those in the user's Docker configuration.

    Raises:
        UsageError: the settings cannot be understood.
    """
    from dockc.runtime.registry.client import Client
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.registry.hosts import HostsConfig

    client = Client(
        config=DockerConfig.load() if credentials is None else credentials,
        hosts=HostsConfig.from_mapping(settings.registries()),
        insecure=insecure,
    )
    client.transport.offline = offline
    if uploads is not None:
        client.transport.uploads = uploads
    return client
