"""DK0302 package-cache-mount."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Applicability, Edit
from dockc.grammar.source import Span
from dockc.linter.context import Context
from dockc.linter.families import caches
from dockc.linter.rule import Fix, Hit, Rule
from dockc.linter.shell.commands import Command


class PackageCacheMount(Rule):
    """Reports installing and building commands whose downloads could be kept in a cache mount.

    ## Why

    When the step must run again, everything is downloaded again. What is in a cache mount stays on the builder, and is
    in no layer.

    ## Known problems

    Places of caches are those of root and of the official images.

    ## Fix

    Adds the mount, with `sharing=locked` where two at once would disturb each other.
    """

    code = "DK0302"
    name = "package-cache-mount"
    summary = "A package manager without a cache mount"
    severity = None
    fixable = "unsafe"
    bad = "FROM python:3.12\nRUN pip install flask==3.0\n"
    good = "FROM python:3.12\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask==3.0\n"
    fixed = "FROM python:3.12\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask==3.0\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            run = script.instruction
            if not isinstance(run, ast.Run) or run.network == "none":
                continue
            wanted: dict[str, Command] = {}
            for command in script.shell.commands:
                place = _place(command)
                if place and not caches(run, place.partition(",")[0]):
                    wanted.setdefault(place, command)
            for place, command in wanted.items():
                at = run.name_span.end
                fix = Fix(
                    "Add a cache mount",
                    (Edit(Span(at, at), f" --mount=type=cache,target={place}"),),
                    Applicability.UNSAFE,
                )
                path = place.partition(",")[0]
                yield Hit(
                    script.span(command.start, command.end),
                    f"downloads could be kept in a cache mount on {path}",
                    fix=fix,
                )


_PLACES = {
    "apk": (("add",), "/var/cache/apk,sharing=locked"),
    "apt": (("install", "update"), "/var/cache/apt,sharing=locked"),
    "apt-get": (("install", "update"), "/var/cache/apt,sharing=locked"),
    "bundle": (("install",), "/usr/local/bundle/cache"),
    "cargo": (("build", "fetch", "install"), "/usr/local/cargo/registry"),
    "composer": (("install",), "/root/.composer/cache"),
    "dnf": (("install",), "/var/cache/dnf,sharing=locked"),
    "dotnet": (("restore", "build", "publish"), "/root/.nuget/packages"),
    "go": (("build", "install", "mod"), "/go/pkg/mod"),
    "gradle": ((), "/root/.gradle"),
    "mvn": ((), "/root/.m2"),
    "npm": (("ci", "install", "i"), "/root/.npm"),
    "pip": (("install",), "/root/.cache/pip"),
    "pip3": (("install",), "/root/.cache/pip"),
    "pnpm": (("install", "i", "add"), "/root/.local/share/pnpm/store"),
    "uv": (("sync", "pip"), "/root/.cache/uv"),
    "yarn": (("install", "add"), "/usr/local/share/.cache/yarn"),
    "yum": (("install",), "/var/cache/yum,sharing=locked"),
}


def _place(command: Command) -> str:
    """Where the command keeps downloads, with the mount's further options; "" for one that has none."""
    verbs, place = _PLACES.get(command.name, ((), ""))
    return place if not verbs or (command.words[:1] and command.words[0] in verbs) else ""
