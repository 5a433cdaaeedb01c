"""From what was typed to a request, which is data, and a session, which is what this process lends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.engine.compile import initial_answers
from dockc.engine.request import Asked, BuildRequest, find
from dockc.runtime.session import secrets
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import Directory, HeldFiles, HostDirectory

if TYPE_CHECKING:
    from dockc.engine.images import Showing


def lend(asked: Asked, *, measure: bool = False, showing: Showing | None = None) -> tuple[BuildRequest, Session]:
    """What was asked for as data, and what this process lends to it.

    Args:
        asked: what was typed.
        measure: sizes of the steps' results are to be told.
        showing: shows that archives of images are read, or None.

    Raises:
        UsageError: a directory, secret or agent that there is not.
        DockcError: an answers file, an image layout or standard input that cannot be read.
    """
    compiling = asked.compile
    found = find(compiling, fetch=True, showing=showing)
    directories: dict[str, Directory] = {name: HostDirectory(path) for name, path in found.directories.items()}
    if found.dockerfile is not None:
        shown = "stdin" if compiling.file == "-" else ""
        directories["dockerfile"] = HeldFiles(
            {found.attrs.get("filename", "Dockerfile"): found.dockerfile}, shown=shown
        )
    session = Session(
        directories=directories,
        stores=found.stores,
        secrets=secrets.ClientSecrets([secrets.parse_secret(text) for text in asked.secrets]),
        ssh=secrets.ClientSsh(asked.ssh),
        uploads=asked.uploads,
    )
    named = compiling.locked or compiling.answers
    request = BuildRequest(
        attrs=found.attrs,
        outputs=asked.outputs,
        names=asked.names,
        allow=asked.allow,
        cache_from=asked.cache_from,
        cache_to=asked.cache_to,
        insecure=asked.insecure,
        offline=compiling.offline,
        answers=initial_answers(compiling) if named is not None else None,
        locked=str(compiling.locked or ""),
        level=compiling.level,
        passes=compiling.passes,
        squash=compiling.squash,
        measure=measure,
    )
    return request, session
