"""DL3022 copy-from-unknown."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, unquoted


class CopyFromUnknown(Rule):
    """Reports `COPY --from` that names neither an earlier stage nor an image with a tag.

    ## Why

    A name that is no stage is taken for an image; a typo then pulls whatever is published under it.

    ## Known problems

    hadolint reports every image without a tag; dockc's own profile leaves out what has a `/` in it and so cannot be a
    stage.
    """

    code = "DL3022"
    name = "copy-from-unknown"
    summary = "COPY --from names no stage"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL3022",)
    bad = "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=biuld /a /b\n"
    good = "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=build /a /b\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        names: set[str] = set()
        lowered: set[str] = set()
        count = 0
        resembling = _Resembling(context)
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.From):
                count += 1
                names.add(alias(found))
                lowered.add(alias(found).lower())
            elif isinstance(found, ast.Copy) and found.from_.text:
                source = unquoted(found.from_.text)
                if ":" in source or found.from_.text in names or (not context.parity and _known(source, lowered)):
                    continue
                number = _number(found.from_.text, wraps=True) if context.parity else _number(source)
                if number is not None and number < count:
                    continue
                # A name like that of no stage is more likely a context that the build is given than a mistake.
                yield Hit(
                    found.from_.span,
                    "`COPY --from` should reference a previously defined `FROM` alias",
                    entry.node.lines,
                    strict=number is None and source not in resembling,
                )


class _Resembling:
    """Whether a name may be meant for one of the file's stages: one letter more, less or other, two swapped, or a part
    between dashes.
    """

    def __init__(self, context: Context) -> None:
        stages = {alias(from_).lower() for _, from_ in context.all(ast.From) if alias(from_)}
        self._near = {variant for stage in stages for variant in _variants(stage)}
        self._parts = {part for stage in stages for part in stage.split("-")}
        self._stages = stages

    def __contains__(self, source: str) -> bool:
        name = source.lower()
        return (
            name in self._parts
            or any(part in self._stages for part in name.split("-"))
            or not self._near.isdisjoint(_variants(name))
        )


def _variants(name: str) -> set[str]:
    """A name, and it without one of its letters; long ones stand for themselves alone."""
    if len(name) > _LONG:
        return {name}
    return {name, *(name[:i] + name[i + 1 :] for i in range(len(name)) if len(name) > 3)}


_LONG = 64


def _number(text: str, *, wraps: bool = False) -> int | None:
    """The number that a text begins with. hadolint 2.15.1 reads one of 64 bits: large ones wrap around, half of them
    below zero.
    """
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    if not digits:
        return None
    if not wraps:
        return int(digits.lstrip("0")[:18] or "0")
    value = int(digits[-64:]) % (1 << 64)  # 64 decimal digits decide the last 64 bits
    return value - (1 << 64) if value >> 63 else value


def _known(source: str, lowered: set[str]) -> bool:
    return any(sign in source for sign in "@$/") or source.lower() in lowered
