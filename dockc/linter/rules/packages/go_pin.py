"""DL3062 go-pin."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Script
from dockc.linter.families import hit_at
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import mounts, unquoted


class GoPin(Rule):
    """Reports `go install`, `go get` and `go run` of packages without a version, or with `@latest`.

    ## Why

    Two builds of one Dockerfile install different versions.
    """

    code = "DL3062"
    name = "go-pin"
    summary = "`go install` without versions"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3062",)
    bad = "FROM golang:1\nRUN go install example.org/tool\n"
    good = "FROM golang:1\nRUN go install example.org/tool@v1.2.3\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        copied: dict[int, int] | None = None
        for script in context.runs:
            if not script.shell.using("go"):
                continue
            packages = _run(script.shell.commands) or _installed(script.shell.commands)
            if not context.parity:
                # Both, and files of the build itself are no packages.
                packages = [*_run(script.shell.commands), *_installed(script.shell.commands)]
                packages = [(command, package) for command, package in packages if not package.endswith(".go")]
                copied = _copied(context) if copied is None else copied
                if _in_module(script, context, copied):  # go.mod has the version, and without one go asks for it
                    packages = [
                        (command, package)
                        for command, package in packages
                        if "@" in package or command.has_argument("get")
                    ]
            unpinned = next((command for command, package in packages if not _pinned(package)), None)
            if unpinned is not None:
                yield hit_at(context, script, unpinned, _MESSAGE)


_MESSAGE = "Pin versions in go. Instead of `go install <package>` use `go install <package>@<version>`"


def _in_module(script: Script, context: Context, copied: dict[int, int]) -> bool:
    """Whether a go.mod may lie where a script runs: files of the context were copied or are mounted, or a repository
    was cloned.
    """
    if any(mount.get("type", "bind") == "bind" for mount in mounts(script.instruction)):
        return True
    if any(
        c.name in {"cd", "git", "pushd"} or (c.name == "go" and c.has_argument("init")) for c in script.shell.commands
    ):
        return True
    return copied.get(script.entry.stage, script.entry.index) < script.entry.index


def _copied(context: Context) -> dict[int, int]:
    """By stage, the first instruction that may bring a go.mod, its own or that of a stage it stands on."""
    found: dict[int, int] = {}
    for entry in context.entries:
        if isinstance(entry.instruction, ast.SourcesAndDest) and any(map(_may_hold_module, entry.instruction.sources)):
            found.setdefault(entry.stage, entry.index)
    for stage, base in enumerate(context.bases):
        if base.on is not None and base.on in found:
            found[stage] = found[base.on]
    return found


def _may_hold_module(source: ast.Word) -> bool:
    name = unquoted(source.text).rstrip("/").rpartition("/")[2]
    return name in {"", ".", "go.mod", "src"} or "*" in name or "." not in name


def _run(commands: tuple[Command, ...]) -> list[tuple[Command, str]]:
    # What comes after the package are arguments of the Go program.
    calls = (c for c in commands if c.name == "go" and c.has_argument("run"))
    return [(call, word) for call in calls for word in call.words[:2] if word != "run"]


def _installed(commands: tuple[Command, ...]) -> list[tuple[Command, str]]:
    calls = (c for c in commands if c.name == "go" and c.has_argument("install", "get"))
    return [(call, word) for call in calls for word in call.words if word not in {"install", "get", "tool"}]


def _pinned(package: str) -> bool:
    return package.startswith(("/", ".")) or ("@" in package and not package.endswith(("@latest", "@none")))
