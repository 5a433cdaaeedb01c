"""DL3062 go-pin."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.families import hit_at
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command


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
        for script in context.runs:
            packages = _run(script.shell.commands) or _installed(script.shell.commands)
            if not context.parity:
                # Both, and files of the build itself are no packages.
                packages = [*_run(script.shell.commands), *_installed(script.shell.commands)]
                packages = [(command, package) for command, package in packages if not package.endswith(".go")]
            unpinned = next((command for command, package in packages if not _pinned(package)), None)
            if unpinned is not None:
                yield hit_at(context, script, unpinned, _MESSAGE)


_MESSAGE = "Pin versions in go. Instead of `go install <package>` use `go install <package>@<version>`"


def _run(commands: tuple[Command, ...]) -> list[tuple[Command, str]]:
    # What comes after the package are arguments of the Go program.
    calls = (c for c in commands if c.name == "go" and c.has_argument("run"))
    return [(call, word) for call in calls for word in call.words[:2] if word != "run"]


def _installed(commands: tuple[Command, ...]) -> list[tuple[Command, str]]:
    calls = (c for c in commands if c.name == "go" and c.has_argument("install", "get"))
    return [(call, word) for call in calls for word in call.words if word not in {"install", "get", "tool"}]


def _pinned(package: str) -> bool:
    return package.startswith(("/", ".")) or ("@" in package and not package.endswith(("@latest", "@none")))
