"""DK0206 package-signature-check-off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command


class PackageSignatureCheckOff(Rule):
    """Reports `apt-get --allow-unauthenticated`, `--force-yes`, `apk --allow-untrusted`, `rpm --nosignature`, `dnf
    --nogpgcheck`, `zypper --no-gpg-checks` and sources with `trusted=yes`.

    ## Why

    Signatures are all that says who made a package. Install the repository's key instead.
    """

    code = "DK0206"
    name = "package-signature-check-off"
    summary = "Packages are installed without a look at their signatures"
    severity = Severity.WARNING
    equivalents = (
        "checkov:CKV2_DOCKER_7",
        "checkov:CKV2_DOCKER_8",
        "checkov:CKV2_DOCKER_9",
        "checkov:CKV2_DOCKER_10",
    )
    bad = "FROM debian:12\nRUN apt-get install -y --allow-unauthenticated tool=1\n"
    good = "FROM debian:12\nRUN apt-get install -y --no-install-recommends tool=1\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            for command in script.shell.commands:
                flags = _FLAGS.get(command.name.rpartition("/")[2], ())
                off = [argument for argument in command.arguments if argument.text in flags] if flags else []
                if off and not _installs_files(command):  # of the build itself, which nobody signs
                    for argument in off:
                        yield Hit(
                            script.span(argument.start, argument.end),
                            f"{argument.text}: signatures of packages are not checked",
                        )
            for found in re.finditer(r"deb(?:-src)?[ \t]+\[[^\]]*\btrusted=yes\b", script.shell.text):
                yield Hit(
                    script.span(found.start(), found.end()), "trusted=yes: signatures of packages are not checked"
                )


def _installs_files(command: Command) -> bool:
    """Whether all packages of an installation are files."""
    words = [word for word in command.words if word not in {"add", "install", "localinstall", "in"}]
    return bool(words) and all(
        word.startswith(("/", "./")) or (word.endswith((".apk", ".rpm", ".deb")) and "://" not in word)
        for word in words
    )


_APT = ("--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories")
_RPM = ("--nogpgcheck", "--no-gpg-checks", "--setopt=gpgcheck=0")
_FLAGS = {
    "apt": _APT,
    "apt-get": _APT,
    "apk": ("--allow-untrusted",),
    "rpm": ("--nosignature", "--nodigest"),
    "yum": _RPM,
    "dnf": _RPM,
    "microdnf": _RPM,
    "tdnf": _RPM,
    "zypper": ("--no-gpg-checks", "--allow-unsigned-rpm"),
}
