"""Which node of a builder builds what: by platform, then by what is built, then by weight.

A context goes to the same node each time as long as that node lives, so that its cache is warm; when a node goes or
comes, only its own share moves. That is weighted rendezvous hashing: each node draws a number from the identity of the
context and its own name, and the greatest wins. (Thaler and Ravishankar 1998; weights after Schindelhauer and
Schomaker 2005.)
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.client import address
from dockc.errors import DockcError, without_credentials
from dockc.oci import platform as platforms

if TYPE_CHECKING:
    from os import PathLike

    from dockc.client.builders import Node
    from dockc.oci.platform import Platform

RUNNING, LIMIT = "dockc.builds.running", "dockc.builds.limit"
"""Labels of a worker: how many builds run on its daemon, and how many may. BuildKit's daemons have none."""
_PATIENCE = 10.0
"""Seconds that a node may take to say what it is."""


class Health(Record):
    """What a node says of itself.

    Attributes:
        platforms: what it can run, its own first.
        version: of the daemon.
        full: whether it takes no more builds for now.
        problem: why it cannot be asked, or "".
    """

    platforms: tuple[Platform, ...] = ()
    version: str = ""
    full: bool = False
    problem: str = ""


async def ask(node: Node) -> Health:
    """Ask a node what it is; one that does not answer is no error."""
    from dockc.client.control import Remote
    from dockc.protocol import platforms as wire

    try:
        async with asyncio.timeout(_PATIENCE):
            link = await address.connect(address.parse(node.addr), node.tls or None)
            try:
                remote = Remote(link)
                version, workers = await asyncio.gather(remote.info(), remote.workers())
            finally:
                await link.close()
    except TimeoutError:
        return Health(problem="no answer")
    except DockcError as exc:
        return Health(problem=exc.message)
    found = [wire.from_wire(one) for worker in workers for one in worker.platforms]
    full = bool(workers) and all(_is_full(worker.Labels) for worker in workers)
    return Health(tuple(dict.fromkeys(found)), version.version, full)


def _is_full(labels: Mapping[str, str]) -> bool:
    running, limit = labels.get(RUNNING, ""), labels.get(LIMIT, "")
    return running.isdecimal() and limit.isdecimal() and int(limit) > 0 and int(running) >= int(limit)


def ranked(nodes: Sequence[Node], health: Mapping[Node, Health], platform: Platform, identity: str) -> tuple[Node, ...]:
    """The nodes that answer, the one to build on first.

    Nodes that were given the platform come first, then those whose own it is, then those that can run it, then the rest
    (a Dockerfile that only cross-compiles needs no more). Among equals the context decides. Full ones are last.
    """
    wanted = platforms.format_all(platforms.normalize(platform))

    def place(node: Node) -> tuple[bool, int, float, str]:
        said = health[node]
        given = {platforms.format_all(platforms.normalize(platforms.parse(text))) for text in node.platforms}
        able = [platforms.format_all(one) for one in said.platforms]
        if wanted in given:
            tier = 0
        elif given:  # it has been given others
            tier = 3
        else:
            tier = 1 if able[:1] == [wanted] else 2 if wanted in able else 3
        return said.full, tier, -score(node, identity), node.shown

    return tuple(sorted((node for node in nodes if not health[node].problem), key=place))


def score(node: Node, identity: str) -> float:
    """What a node draws for a context; the greatest wins, as often as its weight's share of all."""
    if node.weight <= 0:
        return 0.0
    drawn = hashlib.sha256(f"{node.shown}\0{identity}".encode("utf-8", "surrogateescape")).digest()
    share = (int.from_bytes(drawn[:8]) + 0.5) / 2**64  # within (0, 1)
    return node.weight / -math.log(share) if share < 1 else math.inf


def identity_of(context: str, file: str = "") -> str:
    """What makes a context the same, wherever it is built from.

    A remote one is its address without the commit. A directory within a clone is the clone's origin and the path in
    it, as every checkout of CI is another directory; any other is this machine's path.
    """
    if "://" in context or context.startswith("git@"):
        return without_credentials(context).partition("#")[0].partition("?")[0]
    if context == "-":
        return f"file:{os.path.realpath(file)}" if file else "-"
    place = os.path.realpath(context)
    folder = place
    while True:
        origin = _origin(os.path.join(folder, ".git"))  # noqa: PTH118
        if origin:
            return f"{without_credentials(origin)}:{os.path.relpath(place, folder)}"
        above = os.path.dirname(folder)  # noqa: PTH120
        if above == folder:
            import socket

            return f"{socket.gethostname()}:{place}"
        folder = above


def _text(path: PathLike[str]) -> str:
    from dockc.base.files import open_regular

    with open_regular(path) as file:
        return file.read(1 << 20).decode("utf-8", "replace")


def _origin(git: str) -> str:
    """The address of `origin` in a clone's configuration, or ""."""
    from pathlib import Path

    try:
        place = Path(git)
        if place.is_file():  # a work tree or a submodule: it names its directory
            own = place.parent / _text(place).removeprefix("gitdir:").strip()
            shared = own / "commondir"
            place = own / _text(shared).strip() if shared.is_file() else own
        if not place.is_dir():
            return ""
        text = _text(place / "config")
    except (OSError, ValueError):
        return ""
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == '[remote "origin"]' and line.partition("=")[0].strip() == "url":
            return line.partition("=")[2].strip().strip('"')
    return ""
