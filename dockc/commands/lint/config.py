"""Finds and reads the configuration of lint: dockc's own nearest file, hadolint's file, the environment.

Later sources win: hadolint's environment variables, its file (lists of both add up), dockc's own file. What the command
line says comes on top of that.
"""

from __future__ import annotations

import os

from dockc.base.files import open_regular
from dockc.base.output import log
from dockc.base.record import replace
from dockc.errors import UsageError
from dockc.linter.config import (
    Config,
    NoYaml,
    hadolint_environment,
    hadolint_file,
    hadolint_places,
    hadolint_unknown,
    own_file,
    place_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

_OWN = ("dockc.toml", "pyproject.toml")
_LIMIT = 1 << 20


def load(
    directory: str | PathLike[str],
    env: Mapping[str, str],
    *,
    explicit: str | PathLike[str] | None = None,
    profile: str = "",
    warn: Callable[[UsageError], None] | None = None,
) -> Config:
    """All configuration that holds for files of a directory.

    Args:
        directory: where the search begins: upwards for dockc's own file; hadolint's is looked for in this directory
            alone.
        env: environment variables.
        explicit: the only file to be read: hadolint's if its name ends with `.yaml` or `.yml`, else dockc's own.
        profile: what the command line asks for; "" leaves it to the configuration.
        warn: is told what is wrong with hadolint's file where hadolint's findings are wanted: hadolint goes on without
            a broken one.

    Raises:
        UsageError: a file cannot be read or is wrong.
    """
    return combined(*(config for _, config in layers(directory, env, explicit=explicit, profile=profile, warn=warn)))


def combined(variables: Config, peer: Config, own: Config) -> Config:
    """What the environment, hadolint's file and dockc's own say together."""
    types = {**peer.label_schema, **variables.label_schema}  # of a label's types hadolint takes the variable's
    return replace(variables.merged(peer), label_schema=types).merged(own)


def layers(
    directory: str | PathLike[str],
    env: Mapping[str, str],
    *,
    explicit: str | PathLike[str] | None = None,
    profile: str = "",
    warn: Callable[[UsageError], None] | None = None,
) -> tuple[tuple[str, Config], tuple[str, Config], tuple[str, Config]]:
    """What each source says, and where it is: the environment, hadolint's file and dockc's own; "" where there is none.

    Arguments and errors are those of `load`.
    """
    own: tuple[str, Config] = ("", Config())
    peer = own
    if explicit is not None:
        path = os.fspath(explicit)
        if path.endswith((".yaml", ".yml")):
            peer = (path, _peer(path, warn if profile == "hadolint" else None))
        else:
            own = (path, _own(path) or Config())
    else:
        own = _nearest(os.fspath(directory))
        if (profile or own[1].profile) != "buildkit":
            places = (place.removeprefix("./") for place in hadolint_places(os.fspath(directory), env))
            found = next((place for place in places if os.path.isfile(place)), None)
            if found is not None:
                peer = (found, _peer(found, warn if (profile or own[1].profile) == "hadolint" else None))
    if (profile or own[1].profile) == "buildkit":
        return ("", Config()), peer, own
    variables = hadolint_environment(env)
    return ("environment" if variables != Config() else "", variables), peer, own


def _peer(path: str, warn: Callable[[UsageError], None] | None) -> Config:
    """Hadolint's file; a broken one is nothing but a warning where somebody takes warnings."""
    text = _read(path)
    try:
        found = hadolint_file(text, path)
        _report_unknown(text, path)
        return found
    except NoYaml:
        raise
    except UsageError as error:
        if warn is None:
            raise
        warn(error)
        return Config()


_reported: set[str] = set()


def _report_unknown(text: str, path: str) -> None:
    """Say once what hadolint's file names and there is not: a misspelt rule is not ignored, and nobody would know."""
    from dockc.linter.table import RULES

    codes = (*(code for code in RULES if code.startswith("DL")), "DL1000")
    for message in hadolint_unknown(text, path, codes):
        if message not in _reported:
            _reported.add(message)
            log(f"warning: {message}\n")


def _nearest(directory: str) -> tuple[str, Config]:
    """Own configuration in the directory or the nearest one above it, and its file."""
    folder = os.path.realpath(directory)
    while True:
        for name in _OWN:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and (found := _own(path)) is not None:
                return path, found
        if (parent := os.path.dirname(folder)) == folder:
            return "", Config()
        folder = parent


def _own(path: str) -> Config | None:
    """A file of dockc's own; the rules that it names must be there."""
    text = _read(path)
    found = own_file(text, path)
    if found is not None:
        from dockc.linter.table import RULES

        for code in (*found.select, *found.extend, *found.ignore, *found.severities):
            if code not in RULES:
                _must_be(code, text, path)
    return found


def _must_be(code: str, text: str, path: str) -> None:
    from dockc.linter.codes import check_codes

    try:
        check_codes(Config(ignore=(code,)))
    except UsageError as error:
        raise UsageError(f"{place_of(text, path, code)}: {error.message}", hint=error.hint) from None


def _read(path: str) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LIMIT:
        raise UsageError(f"{path} is larger than {_LIMIT} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8") from None
