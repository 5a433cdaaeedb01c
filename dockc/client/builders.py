"""Builders by name: a file of this user, `builders.json` below `$XDG_CONFIG_HOME/dockc`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from dockc.base.files import builders_file
from dockc.base.record import Record, made, replace
from dockc.client import address
from dockc.errors import DockcError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMIT = 1 << 20


class Node(Record):
    """One daemon of a builder.

    Attributes:
        addr: its address.
        tls: certificates; empty for none.
    """

    addr: str
    tls: address.Tls = made(address.Tls)


class Builders(Record):
    """All builders of a user.

    Attributes:
        nodes: by name.
        current: the one that is used where nothing else is said, or "".
    """

    nodes: Mapping[str, Node] = made(dict)
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
        with file.open("rb") as stream:
            data = stream.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Builders()
    except OSError as exc:
        raise DockcError(f"cannot read {file}: {exc.strerror}") from exc
    try:
        found = json.loads(data)
        nodes = {}
        for name, entry in found["builders"].items():
            tls = {key: str(entry.get("tls", {}).get(key, "")) for key in ("ca", "cert", "key", "server_name")}
            nodes[str(name)] = Node(str(entry["addr"]), address.Tls(**tls))
        return Builders(nodes, str(found.get("current", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise DockcError(
            f"{file} is no list of builders: {exc!r}", hint="Move it away and create the builders anew."
        ) from None


def _save(builders: Builders) -> None:
    file = path()
    entries = {}
    for name, node in sorted(builders.nodes.items()):
        tls = {key: getattr(node.tls, key) for key in ("ca", "cert", "key", "server_name") if getattr(node.tls, key)}
        entries[name] = {"addr": node.addr} | ({"tls": tls} if tls else {})
    text = json.dumps({"builders": entries, "current": builders.current}, indent=2) + "\n"
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.replace(file)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise DockcError(f"cannot write {file}: {exc.strerror}") from exc


def create(name: str, node: Node, *, use: bool = False) -> None:
    """Keep a builder under a name.

    Raises:
        UsageError: no name, an address that is none, or there is one of that name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid name of a builder: {name!r}", hint="Letters, digits, dots, dashes and underscores; 64 at most."
        )
    address.parse(node.addr)
    known = load()
    if name in known.nodes:
        raise UsageError(f"there is a builder {name} already", hint=f"Remove it first: dockc builder rm {name}")
    _save(replace(known, nodes={**known.nodes, name: node}, current=name if use else known.current))


def remove(name: str) -> None:
    """Forget a builder; the daemon is left alone.

    Raises:
        UsageError: there is none of that name.
    """
    known = load()
    find(name, known)
    nodes = {key: node for key, node in known.nodes.items() if key != name}
    _save(Builders(nodes, "" if known.current == name else known.current))


def use(name: str) -> None:
    """Make a builder the current one; "" makes none so: builds are done here.

    Raises:
        UsageError: there is none of that name.
    """
    known = load()
    if name:
        find(name, known)
    _save(replace(known, current=name))


def find(name: str, known: Builders | None = None) -> Node:
    """A builder by its name.

    Raises:
        UsageError: there is none.
    """
    known = known or load()
    if name not in known.nodes:
        names = ", ".join(sorted(known.nodes)) or "none yet"
        raise UsageError(f"no builder {name}", hint=f"There are: {names}. Make one with `dockc builder create`.")
    return known.nodes[name]
