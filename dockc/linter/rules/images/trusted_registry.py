"""DL3026 trusted-registry."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.families import Image, image
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, mounts


class TrustedRegistry(Rule):
    """Reports images from registries that the configuration does not list.

    ## Why

    An organisation wants to know where its images come from. Without configuration the rule says nothing.

    ## Options

    `trusted-registries`: names of registries; `*`, `*suffix` and `prefix*` match several.
    """

    code = "DL3026"
    name = "trusted-registry"
    summary = "The image comes from a registry that is not trusted"
    severity = Severity.ERROR
    hadolint_severity = Severity.ERROR
    equivalents = ("hadolint:DL3026",)
    bad = '# dockc.toml: trusted-registries = ["quay.io"]\nFROM debian:12\n'
    good = '# dockc.toml: trusted-registries = ["quay.io"]\nFROM quay.io/team/app:1\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        allowed = context.settings.trusted_registries
        if not allowed:
            return
        names: set[str] = set()
        for entry in context.entries:
            found = entry.instruction
            wanted: list[Image] = []
            read = _used if context.parity else image
            if isinstance(found, ast.From):
                wanted = [image(found.base.text)]
            elif isinstance(found, ast.Copy) and found.from_.text:
                wanted = [read(found.from_.text)]
            elif isinstance(found, ast.Run):
                used = [m.get("from") or "scratch" for m in mounts(found) if m.get("type", "bind") in {"bind", "cache"}]
                wanted = [read(text) for text in used]
            if any(not _trusted(found, names, allowed) for found in wanted):
                yield Hit(entry.node.span, "Use only an allowed registry in the FROM image", entry.node.lines)
            if isinstance(found, ast.From):
                names.add(alias(found))


def _used(text: str) -> Image:
    """An image that COPY or a mount names, as hadolint takes it apart: what follows the registry is all name."""
    first, slash, rest = text.partition("/")
    return Image(first, rest, "", "") if slash and "." in first else Image("", text, "", "")


def _trusted(found: Image, names: set[str], allowed: tuple[str, ...]) -> bool:
    if found.name in names:
        return True
    if found.registry:
        return any(_matches(pattern, found.registry) for pattern in allowed)
    if found.name == "scratch":
        return True
    return any(_matches(pattern, registry) for pattern in allowed for registry in ("docker.io", "hub.docker.com"))


def _matches(pattern: str, registry: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return registry.endswith(pattern[1:])
    if pattern.endswith("*"):
        return registry.startswith(pattern[:-1])
    return registry == pattern
