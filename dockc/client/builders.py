"""Builders by name: a file of this user, `builders.json` below `$XDG_CONFIG_HOME/dockc`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dockc.base.alone import alone
from dockc.base.files import builders_file, open_regular
from dockc.base.record import Record, made, replace
from dockc.client import address
from dockc.errors import DockcError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMIT = 1 << 20
_LOCAL = "default"
"""What this machine is called among the builders."""
MAX_WEIGHT = 1000
_SHOWN = 80


class Node(Record):
    """One daemon of a builder.

    Attributes:
        addr: its address.
        tls: certificates; empty for none.
        name: within its builder; "" is the address.
        platforms: what it shall build, whatever else it could; empty leaves that to what it says of itself.
        weight: its share of the contexts, in proportion to the others'; 0 builds only when no other can.
    """

    addr: str
    tls: address.Tls = made(address.Tls)
    name: str = ""
    platforms: tuple[str, ...] = ()
    weight: int = 1

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.name or self.addr


class Builders(Record):
    """All builders of a user.

    Attributes:
        nodes: of each builder, by its name; one at least.
        current: the one that is used where nothing else is said, or "".
    """

    nodes: Mapping[str, tuple[Node, ...]] = made(dict)
    current: str = ""


def path() -> Path:
    """Where they are kept."""
    return Path(builders_file())


def load() -> Builders:
    """Read them; none is no error.

    Raises:
        DockcError: the file cannot be read or understood.
    """
    file = path()
    try:
        with open_regular(file) as stream:
            data = stream.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Builders()
    except OSError as exc:
        raise DockcError(f"cannot read {file}: {exc.strerror}") from exc
    try:
        found = json.loads(data)
        nodes = {}
        for name, entry in found["builders"].items():
            # A builder of one node was kept without a list once.
            nodes[str(name)] = tuple(_node(str(name), one) for one in entry.get("nodes", [entry]))
            if not nodes[str(name)]:
                raise ValueError(f"the builder {name} has no nodes")
        return Builders(nodes, str(found.get("current", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as exc:
        raise DockcError(
            f"{file} is no list of builders: {_reason(exc, len(data))}",
            hint="Move it away and create the builders anew.",
        ) from None


def _reason(error: Exception, size: int) -> str:
    if size > _LIMIT:
        return f"it is larger than {_LIMIT} bytes"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, ValueError):
        return str(error)
    return "it does not have the form in which dockc writes it"


_TLS = ("ca", "cert", "key", "server_name")


def _node(builder: str, entry: Mapping[str, Any]) -> Node:
    from dockc.oci import platform as platforms

    tls = {key: str(entry.get("tls", {}).get(key, "")) for key in _TLS}
    given = entry.get("platforms", [])
    if not isinstance(entry["addr"], str) or not isinstance(given, list):
        raise TypeError
    for one in given:
        try:
            platforms.parse(str(one))
        except platforms.InvalidPlatform as exc:
            raise ValueError(
                f"a node of the builder {builder[:_SHOWN]!r} has a platform that is none: {exc.message}"
            ) from exc
    return Node(
        str(entry["addr"]),
        address.Tls(**tls),
        name=str(entry.get("name", "")),
        platforms=tuple(map(str, given)),
        weight=min(max(0, int(entry.get("weight", 1))), MAX_WEIGHT),
    )


def _entry(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"addr": node.addr}
    if tls := {key: getattr(node.tls, key) for key in _TLS if getattr(node.tls, key)}:
        found["tls"] = tls
    if node.name:
        found["name"] = node.name
    if node.platforms:
        found["platforms"] = list(node.platforms)
    if node.weight != 1:
        found["weight"] = node.weight
    return found


def _save(builders: Builders) -> None:
    file = path()
    entries = {name: {"nodes": [_entry(node) for node in nodes]} for name, nodes in sorted(builders.nodes.items())}
    text = json.dumps({"builders": entries, "current": builders.current}, indent=2) + "\n"
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.replace(file)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DockcError(f"cannot write {file}: {exc.strerror}") from exc


@contextmanager
def _changing() -> Iterator[Builders]:
    """What is known, while nobody else changes it."""
    file = path()
    with alone(file.with_name(f"{file.name}.lock")):
        yield load()


def create(name: str, node: Node, *, use: bool = False) -> None:
    """Keep a builder of one node under a name.

    Raises:
        UsageError: no name, an address that is none, or there is one of that name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid name of a builder: {_short(name)}",
            hint="Letters, digits, dots, dashes and underscores; 64 at most.",
        )
    if name == _LOCAL:
        raise UsageError(f"{name} is this machine's own builder", hint="Give the builder another name.")
    _check(node)
    with _changing() as known:
        if name in known.nodes:
            raise UsageError(
                f"there is a builder {name} already",
                hint=f"Remove it first (dockc builder rm {name}), or add a node to it with --append.",
            )
        _save(replace(known, nodes={**known.nodes, name: (node,)}, current=name if use else known.current))


def _short(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")


def append(name: str, node: Node, *, use: bool = False) -> Node:
    """Add a node to a builder, in the place of the node of its name if there is one; the node with the name it got.

    Raises:
        UsageError: there is no such builder, or the node cannot be.
    """
    with _changing() as known:
        nodes = find(name, known)
        if not node.name:
            taken = {one.name for one in nodes}
            free = next(text for n in range(len(nodes), 10**6) if (text := f"{name}{n}") not in taken)
            node = replace(node, name=free)
        _check(node)
        if any(one.addr == node.addr and one.name != node.name for one in nodes):
            raise UsageError(f"the builder {name} has a node at {node.addr} already")
        kept = [node if one.name == node.name else one for one in nodes]
        if node not in kept:
            kept.append(node)
        _save(replace(known, nodes={**known.nodes, name: tuple(kept)}, current=name if use else known.current))
    return node


def leave(name: str, node: str) -> None:
    """Take a node from a builder, which keeps one at least.

    Raises:
        UsageError: there is no such builder or node, or it is the last.
    """
    with _changing() as known:
        nodes = find(name, known)
        kept = tuple(one for one in nodes if node not in {one.name, one.addr})
        if len(kept) == len(nodes):
            raise UsageError(
                f"the builder {name} has no node {node}", hint=f"It has: {', '.join(one.shown for one in nodes)}."
            )
        if not kept:
            raise UsageError(f"{node} is the last node of {name}", hint=f"Forget the builder: dockc builder rm {name}")
        _save(replace(known, nodes={**known.nodes, name: kept}))


def _check(node: Node) -> None:
    from dockc.oci import platform as platforms

    scheme = address.parse(node.addr).scheme
    if node.tls and scheme != "tcp":
        raise UsageError(f"{node.addr} has no TLS", hint="Certificates are for tcp:// addresses.")
    if bool(node.tls.cert) != bool(node.tls.key):
        raise UsageError("a client certificate needs its key, and a key its certificate")
    if node.name and not _NAME.fullmatch(node.name):
        raise UsageError(
            f"invalid name of a node: {_short(node.name)}",
            hint="Letters, digits, dots, dashes and underscores; 64 at most.",
        )
    for text in node.platforms:
        try:
            platforms.parse(text)
        except platforms.InvalidPlatform as exc:
            raise UsageError(f"invalid platform {text}: {exc.message}") from exc


def remove(name: str) -> None:
    """Forget a builder; the daemon is left alone.

    Raises:
        UsageError: there is none of that name.
    """
    with _changing() as known:
        find(name, known)
        nodes = {key: node for key, node in known.nodes.items() if key != name}
        _save(Builders(nodes, "" if known.current == name else known.current))


def use(name: str) -> None:
    """Make a builder the current one; "" makes none so: builds are done here.

    Raises:
        UsageError: there is none of that name.
    """
    with _changing() as known:
        if name:
            find(name, known)
        _save(replace(known, current=name))


def find(name: str, known: Builders | None = None) -> tuple[Node, ...]:
    """The nodes of a builder by its name.

    Raises:
        UsageError: there is none.
    """
    known = known or load()
    if name not in known.nodes:
        names = ", ".join(sorted(known.nodes)) or "none yet"
        raise UsageError(
            f"no builder {name if name.isprintable() and len(name) <= _SHOWN else _short(name)}",
            hint=f"There are: {names}. Make one with `dockc builder create`.",
        )
    return known.nodes[name]
