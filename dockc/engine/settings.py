"""The user's settings: `$DOCKC_CONFIG`, else `$XDG_CONFIG_HOME/dockc/config.toml` (`~/.config/dockc/config.toml`).

[registries."localhost:5000"]
http = true

[registries."docker.io"]
mirrors = ["https://mirror.example.org"]

[gc]
maxUsedSpace = "50GB"

[history]
maxEntries = 100        # builds that are remembered
maxAge = "48h"          # younger ones are, however many

[daemon]                # a resident builder, which `dockc build` starts for the builds to come
autostart = true
idle = 600              # seconds after which it ends, if nobody has built

How a store is collected, and how many builds it remembers, may also stand in the store itself, in `dockc.toml`: then
that counts for all who use it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.files import open_regular
from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.engine.keep import Keep
    from dockc.runtime.refs.policy import Policy

_TABLES = frozenset({"daemon", "gc", "history", "registries"})
_GC = frozenset({"enabled", "reservedSpace", "maxUsedSpace", "minFreeSpace", "gckeepstorage", "policy"})
OF_THE_STORE = "dockc.toml"
"""The file in a store whose `[gc]` and `[history]` come before the user's."""
_OF_THE_STORE = frozenset({"gc", "history"})
#: Seconds after which a resident builder ends that was started by itself.
IDLE = 600.0


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where the settings file is, whether it exists or not."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get("DOCKC_CONFIG"):
        return Path(chosen)
    home = environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if home.startswith("/") else Path(environ.get("HOME", "/")) / ".config"
    return base / "dockc" / "config.toml"


def load(environ: Mapping[str, str] | None = None) -> Mapping[str, Mapping[str, object]]:
    """The settings by table; empty where there is no file.

    Raises:
        UsageError: the file named by `$DOCKC_CONFIG` is missing, or a file cannot be understood.
    """
    environ = os.environ if environ is None else environ
    path = config_path(environ)
    found = _read(path, _TABLES)
    if found is None and environ.get("DOCKC_CONFIG"):
        raise UsageError(f"DOCKC_CONFIG: {path} does not exist")
    return found or {}


def _read(path: Path, tables: frozenset[str]) -> Mapping[str, Mapping[str, Any]] | None:
    """The tables of a file; None where there is none."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    import tomllib

    try:
        raw = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: {exc}") from exc
    for name, table in raw.items():
        if name not in tables:
            raise UsageError(f"{path}: unknown table [{name}]", hint=f"Known: {', '.join(sorted(tables))}.")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is not a table")
    return raw


def collection(root: Path, environ: Mapping[str, str] | None = None) -> Policy:
    """How a store is collected: by the `[gc]` of its own `dockc.toml`, else of the user's settings, else by default.

    Raises:
        UsageError: a file that cannot be understood.
    """
    from dockc.runtime.refs.policy import Policy, read_policy

    own = root / OF_THE_STORE
    for path, found in ((own, _read(own, _OF_THE_STORE)), (config_path(environ), load(environ))):
        if found is None or "gc" not in found:
            continue
        table = found["gc"]
        for key in table:
            if key not in _GC:
                raise UsageError(f"{path}: unknown key gc.{key}", hint=f"Known: {', '.join(sorted(_GC))}.")
        try:
            return read_policy(table, "gc", enabled="enabled", rules="policy")
        except UsageError as error:
            raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    return Policy()


def remembered(root: Path, environ: Mapping[str, str] | None = None) -> Keep | None:
    """Which builds a store remembers: by the `[history]` of its own `dockc.toml`, else of the user's settings; None
    where neither says.

    Raises:
        UsageError: a file that cannot be understood.
    """
    own = root / OF_THE_STORE
    for path, found in ((own, _read(own, _OF_THE_STORE)), (config_path(environ), load(environ))):
        if found is not None and "history" in found:
            from dockc.engine.keep import Keep, read_keep

            return read_keep(found["history"], str(path), Keep())
    return None


def registries(environ: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """The `[registries.*]` tables, with what `add_registries` said on top."""
    return {**load(environ).get("registries", {}), **_added}


def autostart(environ: Mapping[str, str] | None = None) -> float:
    """Seconds that a resident builder shall wait for builds, where one is to be started; 0 where none is.

    Raises:
        UsageError: the table `[daemon]` cannot be understood.
    """
    table = load(environ).get("daemon", {})
    for key in table:
        if key not in {"autostart", "idle"}:
            raise UsageError(f"unknown setting daemon.{key}", hint="Known: autostart, idle.")
    wanted, idle = table.get("autostart", False), table.get("idle", IDLE)
    if not isinstance(wanted, bool):
        raise UsageError("daemon.autostart is true or false")
    if isinstance(idle, bool) or not isinstance(idle, int | float) or not 0 < idle < 1e9:
        raise UsageError("daemon.idle is a number of seconds")
    return float(idle) if wanted else 0.0


_added: dict[str, object] = {}


def add_registries(tables: Mapping[str, object]) -> None:
    """Add tables for the rest of this process: a daemon's own configuration file has some."""
    _added.update(tables)


def forget_registries() -> None:
    """Forget what `add_registries` added."""
    _added.clear()
