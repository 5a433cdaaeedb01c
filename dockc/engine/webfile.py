"""A Dockerfile from the web, as `--file https://...` asks for."""

from __future__ import annotations

from dockc.base.files import FILE_LIMIT
from dockc.engine.connect import registry_client
from dockc.errors import DockcError


def fetch(url: str, *, offline: bool = False) -> bytes:
    """The file.

    Raises:
        DockcError: it cannot be had, or is larger than a Dockerfile may be.
    """
    client = registry_client(offline=offline)
    try:
        with client.transport.request("GET", url) as answer:
            if not 200 <= answer.status < 300:
                raise DockcError(f"failed to read dockerfile: {answer.url}: invalid response status {answer.status}")
            return answer.read_all(FILE_LIMIT)
    finally:
        client.close()
