"""Finds and reads the configuration of lint: dockc's own nearest file, hadolint's file, the environment.

Later sources win: hadolint's environment variables, its file (lists of both add up), dockc's own file. What the command line says comes on top of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dockc.compiler.lint.config import Config, hadolint_environment, hadolint_file, hadolint_places, own_file
from dockc.errors import UsageError

_OWN = ("dockc.toml", "pyproject.toml")
_LIMIT = 1 << 20


def load(directory: Path, env: Mapping[str, str], *, explicit: Path | None = None, profile: str = "") -> Config:
    """All configuration that holds for files of a directory.

    Args:
        directory: where the search begins: upwards for dockc's own file; hadolint's is looked for in this directory alone.
        env: environment variables.
        explicit: the only file to be read: hadolint's if its name ends with `.yaml` or `.yml`, else dockc's own.
        profile: what the command line asks for; "" leaves it to the configuration.

    Raises:
        UsageError: a file cannot be read or is wrong.
    """
    own, peer = Config(), Config()
    if explicit is not None:
        if explicit.suffix in {".yaml", ".yml"}:
            peer = hadolint_file(_read(explicit), str(explicit))
        else:
            own = own_file(_read(explicit), str(explicit)) or Config()
    else:
        own = _nearest(directory)
        if (profile or own.profile) != "buildkit":
            found = next((p for p in map(Path, hadolint_places(str(directory), env)) if p.is_file()), None)
            if found is not None:
                peer = hadolint_file(_read(found), str(found))
    if (profile or own.profile) != "buildkit":
        peer = hadolint_environment(env).merged(peer)
    return peer.merged(own)


def _nearest(directory: Path) -> Config:
    """Own configuration in the directory or the nearest one above it."""
    start = directory.resolve()
    for folder in (start, *start.parents):
        for name in _OWN:
            path = folder / name
            if path.is_file() and (found := own_file(_read(path), str(path))) is not None:
                return found
    return Config()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LIMIT:
        raise UsageError(f"{path} is larger than {_LIMIT} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8") from None
