"""What each key of `buildkitd.toml` is: its type, and whether it works here, is told to have no effect, or is refused.

Every key of BuildKit is in the table, by its name; others are refused. What keeps something from builds or their steps is
never passed over: somebody relies on it. Source: moby/buildkit, cmd/buildkitd/config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dockc.base.record import Record
from dockc.errors import UsageError

TEXT, BOOL, NUMBER, DURATION, ANY = "a text", "true or false", "a number", "a duration", ""
TEXTS, TABLES = "a list of texts", "a list of tables"


class Key(Record):
    """One key.

    Attributes:
        kind: what its value must be; "" leaves that to who reads it.
        idle: why it has no effect here, or "" for one that works.
        refused: why a value other than false, nothing or `fine` cannot be, or "".
        fine: the value that is no matter, beside those.
    """

    kind: str = ANY
    idle: str = ""
    refused: str = ""
    fine: object = None


class Each(Record):
    """A table whose names are free, with the keys of what is below each name (a table of them, or one key)."""

    keys: Mapping[str, Any] | Key


_TLS = {"cert": Key(TEXT), "key": Key(TEXT), "ca": Key(TEXT)}
_COLLECTION = {
    name: Key() for name in ("gc", "gckeepstorage", "reservedSpace", "maxUsedSpace", "minFreeSpace", "gcpolicy")
}
_NETWORK = {
    "networkMode": Key(TEXT),
    "cniConfigPath": Key(TEXT),
    "cniBinaryPath": Key(TEXT),
    "cniPoolSize": Key(NUMBER, idle="each step gets a network of its own when it starts"),
    "bridgeName": Key(TEXT),
    "bridgeSubnet": Key(TEXT),
}
_WORKER: dict[str, Any] = {
    "enabled": Key(BOOL),
    "labels": Each(Key()),
    "platforms": Key(TEXTS),
    "snapshotter": Key(TEXT),
    "max-parallelism": Key(NUMBER),
    "rootless": Key(BOOL, idle="who starts the daemon decides it"),
    "apparmor-profile": Key(TEXT, refused="is not supported"),
    "selinux": Key(BOOL, refused="is not supported"),
    "defaultCgroupParent": Key(TEXT, refused="is not supported"),
    **_COLLECTION,
    **_NETWORK,
}
_SIGNED: dict[str, Any] = {
    "sign": {
        name: Key(refused="is not supported: indexes of GitHub's cache are not signed here")
        for name in ("command", "cmd")
    },
    "verify": {
        "required": Key(BOOL, refused="= true is not supported: nothing verifies signatures of GitHub's cache here"),
        "policy": Key(idle="nothing verifies signatures of GitHub's cache here"),
    },
}
_NO_DEVICES = "this builder has no CDI devices to give"
KEYS: Mapping[str, Any] = {
    "root": Key(TEXT),
    "debug": Key(BOOL),
    "trace": Key(BOOL),
    "insecure-entitlements": Key(TEXTS),
    "proxyNetwork": Key(BOOL, refused="is not supported: a network for builds that only a proxy leads out of"),
    "provenanceEnvDir": Key(TEXT, idle="there are no attestations yet"),
    "log": {"format": Key(TEXT), "level": Key(TEXT)},
    "grpc": {
        "address": Key(TEXTS),
        "debugAddress": Key(TEXT),
        "uid": Key(NUMBER),
        "gid": Key(NUMBER),
        "securityDescriptor": Key(TEXT, refused="is for Windows"),
        "tls": _TLS,
    },
    "otel": {"socketPath": Key(TEXT)},
    "cdi": {
        "disabled": Key(BOOL, idle=_NO_DEVICES, fine=True),
        "specDirs": Key(TEXTS, idle=_NO_DEVICES),
        "autoAllowed": Key(TEXTS, idle=_NO_DEVICES),
    },
    "worker": {
        "oci": {
            **_WORKER,
            "noProcessSandbox": Key(BOOL, idle="steps have their own processes in any case"),
            "binary": Key(TEXT),
            "userRemapUnsupported": Key(TEXT, refused="is not supported"),
            "proxySnapshotterPath": Key(TEXT, refused="is not supported: the snapshotters are dockc's own"),
            "stargzSnapshotter": Key(refused="is not supported: the snapshotters are dockc's own"),
        },
        "containerd": {
            **{name: Key(found.kind) if isinstance(found, Key) else found for name, found in _WORKER.items()},
            "enabled": Key(BOOL, refused="= true is not supported: dockc has a worker of its own"),
            "address": Key(TEXT),
            "namespace": Key(TEXT),
            "runtime": {"name": Key(TEXT), "path": Key(TEXT), "options": Key()},
        },
    },
    "registry": Each(
        {
            "mirrors": Key(TEXTS),
            "http": Key(BOOL),
            "insecure": Key(BOOL),
            "ca": Key(TEXTS),
            "tlsconfigdir": Key(TEXTS),
            "keypair": Key(TABLES),
        }
    ),
    "dns": {"nameservers": Key(TEXTS), "options": Key(TEXTS), "searchDomains": Key(TEXTS)},
    "history": {"maxAge": Key(DURATION), "maxEntries": Key(NUMBER)},
    "frontend": {
        "dockerfile.v0": {"enabled": Key(BOOL)},
        "gateway.v0": {"enabled": Key(BOOL), "allowedRepositories": Key(TEXTS, refused="is not supported")},
    },
    "system": {
        "platformsCacheMaxAge": Key(DURATION),
        "maxRegistryConcurrency": Key(NUMBER, idle="an image moves four blobs at a time"),
    },
    "cache": {"gha": _SIGNED},
    "ghacache": _SIGNED,  # as BuildKit's page of this file spells it
}


def checked(file: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """What is to be told of a file: its keys that have no effect, with the reason.

    Raises:
        UsageError: a key that there is not, that is refused, or whose value is of another type.
    """
    told: list[str] = []
    for path, key, value in _walk(file, KEYS, "", name):
        _check(name, path, key, value)
        harmless = not value or value == key.fine
        if key.refused and not harmless:
            raise UsageError(f"{name}: {path} {key.refused}")
        if key.idle and (value != key.fine if key.fine is not None else value):
            told.append(f"{name}: {path} has no effect: {key.idle}")
    for frontend in file.get("frontend", {}):
        if file["frontend"][frontend].get("enabled") is False:  # all are there, and who relies on less is told
            raise UsageError(f'{name}: frontend."{frontend}".enabled = false is not supported')
    return tuple(told)


def _walk(
    table: Mapping[str, Any], keys: Mapping[str, Any], above: str, name: str
) -> Iterator[tuple[str, Key, object]]:
    for word, value in table.items():
        shown = f'"{word}"' if "." in word else word
        path = f"{above}.{shown}" if above else shown
        if word not in keys:
            raise UsageError(f"{name}: unknown key {path}")
        yield from _below(value, keys[word], path, name)


def _below(value: object, found: object, path: str, name: str) -> Iterator[tuple[str, Key, object]]:
    if isinstance(found, Key):
        yield path, found, value
        return
    if not isinstance(value, dict):
        raise UsageError(f"{name}: {path} is not a table")
    if isinstance(found, Each):
        for word, inner in value.items():
            yield from _below(inner, found.keys, f'{path}."{word}"', name)
    else:
        assert isinstance(found, dict)
        yield from _walk(value, found, path, name)


def _check(name: str, path: str, key: Key, value: object) -> None:
    if key.kind and not _FITS[key.kind](value):
        raise UsageError(f"{name}: {path} is not {key.kind}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(one, kind) for one in value)


_FITS: Mapping[str, Callable[[object], bool]] = {
    TEXT: lambda value: isinstance(value, str),
    BOOL: lambda value: isinstance(value, bool),
    NUMBER: _is_number,
    DURATION: lambda value: isinstance(value, str) or _is_number(value),
    TEXTS: _list_of(str),
    TABLES: _list_of(dict),
}
