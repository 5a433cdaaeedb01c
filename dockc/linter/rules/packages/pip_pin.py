"""DL3013 pip-pin."""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.linter.context import Context, Script
from dockc.linter.families import InstallRule
from dockc.linter.pip import is_pip_install
from dockc.linter.rule import Severity
from dockc.linter.shell.commands import Command

_WITH_VALUES = (
    "abi", "b", "build", "e", "editable", "extra-index-url", "f", "find-links", "i", "index-url", "implementation",
    "no-binary", "only-binary", "platform", "prefix", "progress-bar", "proxy", "python", "python-version", "root",
    "root-user-action", "src", "t", "target", "trusted-host", "upgrade-strategy",
)  # fmt: skip
_ARCHIVE = pattern(r"\.(?:whl|zip|tar\.\w+|tgz)(?:$|[?#\[])")
_OPERATORS = ("==", ">=", "<=", ">", "<", "!=", "~=", "===")
_VCS = ("git+", "hg+", "svn+", "bzr+")


class PipPin(InstallRule):
    """Reports `pip install` of packages without a version.

    ## Why

    Two builds of one Dockerfile install different versions. A requirements file with hashes pins everything,
    dependencies included.
    """

    code = "DL3013"
    name = "pip-pin"
    summary = "`pip install` without versions"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3013",)
    message = (
        "Pin versions in pip. Instead of `pip install <package>` use `pip install <package>==<version>` or "
        "`pip install --requirement <requirements file>`"
    )
    bad = "FROM python:3.13\nRUN pip install flask\n"
    good = "FROM python:3.13\nRUN pip install flask==3.0.3\n"

    def packages(self, command: Command) -> list[str]:
        """See the base class."""
        if not is_pip_install(command) or command.has_flag("constraint", "c"):
            return []
        if command.has_argument("--requirement", "-r", "."):
            return []
        if not self.parity and (
            command.has_flag("requirement", "group", "r") or any(a.text.startswith("-r") for a in command.arguments)
        ):
            return []  # a file says which versions
        words = list(command.without_values_of(_WITH_VALUES).words)
        if "install" not in words:
            return []
        return [w for w in words[words.index("install") :] if w != "install"]

    def minor(self, command: Command, script: Script, context: Context) -> bool:
        """The installer itself, to install others with."""
        return all(
            self.pinned(package) or package.partition("[")[0] in {"pip", "setuptools", "wheel"}
            for package in self.packages(command)
        )

    def pinned(self, package: str) -> bool:
        """See the base class."""
        vcs = package.startswith(_VCS)
        if not self.parity and (
            package.partition("[")[0] in {"", ".", ".."}
            or package.startswith("file:")
            or _ARCHIVE.search(package)
            or "@" in package
        ):
            return True  # the project itself, a file, or `name @ URL`
        return (
            any(operator in package for operator in _OPERATORS)
            or (vcs and "@" in package)
            or package.endswith((".whl", ".tar.gz"))
            or (not vcs and "/" in package)
        )
