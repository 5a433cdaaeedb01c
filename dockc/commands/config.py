"""`dockc config`: what holds here, and where each value comes from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dockc.base.options import Options, argument, option
from dockc.base.record import Record
from dockc.commands import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dockc.base.output import Output
    from dockc.linter.config import Config

DEFAULT = "default"
_UNTOLD = "(not said)"
_OBEYED = {
    "build.platform": "DOCKER_DEFAULT_PLATFORM",
    "build.source-date-epoch": "SOURCE_DATE_EPOCH",
    "progress.colors": "BUILDKIT_COLORS",
    "progress.log-lines": "BUILDKIT_TTY_LOG_LINES",
    "progress.rate": "TTY_DISPLAY_RATE",
}


class ConfigOptions(Options):
    """Show what holds here, and where each value comes from. A value is of a file, of the environment, or dockc's
    default; lint's are those for files of a directory.
    """

    directory: str = argument(
        ".", metavar="DIR", help="Whose files. Default: the current directory.", completes="directory"
    )
    format: str = option(
        "--format",
        metavar="FORM",
        default="text",
        help="text, or json: one object. Default: text.",
        completes="text|json",
    )
    json: bool = shared.AS_JSON
    schema: bool = option("--schema", help="Print the JSON schema of dockc.toml, for editors.")
    examples = ("dockc config", "dockc config --format=json src", "dockc config --schema > dockc.schema.json")


class Value(Record):
    """One value that holds.

    Attributes:
        name: dotted, such as `lint.profile`.
        value: as JSON has it; None where nothing is said.
        source: a file, `$VARIABLE`, or `default`.
    """

    name: str
    value: object
    source: str


def run(options: ConfigOptions, out: Output) -> int:
    """`dockc config`.

    Raises:
        UsageError: no such directory or format, or a configuration file that is wrong.
    """
    import json

    from dockc.errors import UsageError

    if options.schema:
        from dockc.linter.schema import schema

        out.write(json.dumps(schema(), indent=2) + "\n")
        return 0
    form = shared.form(options.format, options.json)
    if form not in {"text", "json"}:
        raise UsageError(f"unknown format {form}", hint="text or json")
    if not os.path.isdir(options.directory):
        raise UsageError(f"{options.directory} is not a directory")
    values = [*_places(os.environ), *_variables(os.environ), *_lint(options.directory, os.environ)]
    if form == "json":
        shown = {one.name: {"value": one.value, "source": one.source} for one in values}
        out.write(json.dumps(shown, indent=1) + "\n")
        return 0
    from dockc.console.errors import visible
    from dockc.console.tables import table

    rows = [(one.name, _text(one.value), one.source) for one in values]
    out.write(visible(table(("NAME", "VALUE", "FROM"), rows)))
    return 0


def _text(value: object) -> str:
    import json

    if value is None:
        return _UNTOLD
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _places(env: Mapping[str, str]) -> Iterator[Value]:
    from dockc.base.cachefiles import place
    from dockc.base.files import builders_file, docker_folder
    from dockc.client import builders
    from dockc.runtime.store.place import default_root

    def source(*names: str) -> str:
        return next((f"${name}" for name in names if env.get(name)), DEFAULT)

    yield Value(
        "store",
        str(default_root()),
        source("DOCKC_STORE", *(() if sys.platform != "win32" and os.geteuid() == 0 else ("XDG_DATA_HOME",))),
    )
    yield Value("cache", place(env), source("XDG_CACHE_HOME"))
    file = builders_file()
    yield Value("builders", file, source("XDG_CONFIG_HOME"))
    yield Value("credentials", os.path.join(docker_folder(env), "config.json"), source("DOCKER_CONFIG"))
    if env.get("BUILDX_BUILDER"):
        yield Value("builder", env["BUILDX_BUILDER"], "$BUILDX_BUILDER")
    elif os.path.exists(file) and (current := builders.load().current):
        yield Value("builder", current, file)
    else:
        yield Value("builder", "default", DEFAULT)


def _variables(env: Mapping[str, str]) -> Iterator[Value]:
    """What options of builds take from the environment, and docker's and BuildKit's variables that are obeyed."""
    from dockc.base.options import FLAG, TRUE
    from dockc.commands.build import BuildOptions
    from dockc.errors import without_credentials

    for row in BuildOptions.table():
        if row.variable and row.name not in {"store", "builder"}:
            text = env.get(row.variable, "")
            value: object = text in TRUE if row.kind == FLAG else without_credentials(text) or row.default or None
            yield Value(f"build.{row.name.replace('_', '-')}", value, f"${row.variable}" if text else DEFAULT)
    for name, variable in _OBEYED.items():
        text = env.get(variable, "")
        yield Value(name, text or None, f"${variable}" if text else DEFAULT)


def _lint(directory: str, env: Mapping[str, str]) -> Iterator[Value]:
    from dockc.commands.lint.config import layers, load
    from dockc.linter.config import KEYS, Config
    from dockc.linter.options import PROFILES

    told = layers(directory, env)
    whole = load(directory, env)
    defaults: dict[str, object] = {"profile": PROFILES[0], "pragmas": True, "strict-labels": False}
    nothing = Config()
    for key in KEYS:
        value = _value(whole, key)
        sources = [_shown(where) for where, config in told if _value(config, key) != _value(nothing, key)]
        if sources:
            yield Value(f"lint.{key}", value, ", ".join(sources))
            continue
        if key == "fail-on":
            value = "info" if whole.profile == "hadolint" else "warning"
        yield Value(f"lint.{key}", defaults.get(key, value), DEFAULT)


def _shown(where: str) -> str:
    return "$HADOLINT_…" if where == "environment" else os.path.relpath(where)


def _value(config: Config, key: str) -> object:
    """A key's value as JSON has it."""
    if key == "severity":
        levels = {code: level.value for code, level in config.overrides}
        return levels | {code: "off" if level is None else level.value for code, level in config.severities.items()}
    found = getattr(config, key.replace("-", "_"))
    if isinstance(found, tuple):
        return list(found)
    return dict(found) if hasattr(found, "keys") else found
