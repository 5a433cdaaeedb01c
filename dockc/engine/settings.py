"""The user's settings: `$DOCKC_CONFIG`, else `$XDG_CONFIG_HOME/dockc/config.toml` (`~/.config/dockc/config.toml`).

[registries."localhost:5000"]
http = true

[registries."docker.io"]
mirrors = ["https://mirror.example.org"]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dockc.errors import UsageError

_TABLES = frozenset({"registries"})


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
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if environ.get("DOCKC_CONFIG"):
            raise UsageError(f"DOCKC_CONFIG: {path} does not exist") from None
        return {}
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    import tomllib

    try:
        raw = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: {exc}") from exc
    for name, table in raw.items():
        if name not in _TABLES:
            raise UsageError(f"{path}: unknown table [{name}]", hint=f"Known: {', '.join(sorted(_TABLES))}.")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is not a table")
    return raw


def registries(environ: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """The `[registries.*]` tables, with what `add_registries` said on top."""
    return {**load(environ).get("registries", {}), **_added}


_added: dict[str, object] = {}


def add_registries(tables: Mapping[str, object]) -> None:
    """Add tables for the rest of this process: a daemon's own configuration file has some."""
    _added.update(tables)
