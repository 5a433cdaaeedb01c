"""DL3062 go-pin."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.lint.context import Context
from dockc.compiler.lint.rule import Hit, Rule, Severity
from dockc.compiler.lint.shell.commands import Command


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
            if not all(_pinned(package) for package in packages):
                message = "Pin versions in go. Instead of `go install <package>` use `go install <package>@<version>`"
                yield Hit(script.instruction.span, message, script.entry.node.lines)


def _run(commands: tuple[Command, ...]) -> list[str]:
    # What comes after the package are arguments of the Go program.
    calls = (c.words for c in commands if c.name == "go" and c.has_argument("run"))
    return [word for words in calls for word in words[:2] if word != "run"]


def _installed(commands: tuple[Command, ...]) -> list[str]:
    calls = (c.words for c in commands if c.name == "go" and c.has_argument("install", "get"))
    return [word for words in calls for word in words if word not in {"install", "get", "tool"}]


def _pinned(package: str) -> bool:
    return package.startswith(("/", ".")) or ("@" in package and not package.endswith(("@latest", "@none")))
