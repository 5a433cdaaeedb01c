"""Inlay hints: the value of a variable where it is used, and how large and old a base image is that the local store
has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.lsp.features import Document

_LONG = 40


class Hint(NamedTuple):
    """Text to show behind a place, and more of it for whoever points at it."""

    offset: int
    text: str
    tooltip: str


class ImageFacts(NamedTuple):
    """What the store knows of an image: bytes of its compressed layers, and days since it was made; None for
    unknown.
    """

    size: int | None
    days: int | None


def hints(document: Document, span: Span, images: Callable[[str], ImageFacts | None]) -> tuple[Hint, ...]:
    """Hints in a stretch of the file.

    Args:
        document: the file.
        span: the stretch that is asked about.
        images: what the local store knows of an image by its name, or None.
    """
    return tuple(
        sorted(h for h in (*_values(document), *_bases(document, images)) if span.start <= h.offset <= span.end)
    )


def _values(document: Document) -> Iterator[Hint]:
    text = document.text
    for site in document.names.variable_sites:
        if site.defines:
            continue
        entry = document.context.entries[site.entry]
        if entry.keyword in {"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"}:
            continue  # the shell reads them, and may set them anew
        from_ = entry.keyword == "FROM"
        values = document.context.values
        value = values.value(site.name, -1, entry.index) if from_ else values.at(site.name, entry)
        if value is None:
            continue
        end = site.span.end
        if text[site.span.start - 1 : site.span.start] == "{":
            close = text.find("}", end)
            end = close + 1 if close >= 0 else end
        shown = value if len(value) <= _LONG else f"{value[:_LONG]}…"
        yield Hint(end, f"={shown}" if shown else '=""', f"{site.name} is {value!r} here")


def _bases(document: Document, images: Callable[[str], ImageFacts | None]) -> Iterator[Hint]:
    for entry in document.context.entries:
        found = entry.instruction
        if not isinstance(found, ast.From) or entry.stage >= len(document.context.bases):
            continue
        base = document.context.bases[entry.stage]
        if base.below or not base.known or base.image == "scratch":
            continue
        facts = images(base.image)
        if facts is None:
            continue
        parts = []
        if facts.size is not None:
            parts.append(_size(facts.size))
        if facts.days is not None:
            parts.append(f"{facts.days} day{'s' * (facts.days != 1)} old")
        if parts:
            yield Hint(
                found.base.span.end,
                f" {', '.join(parts)}",
                f"{base.image} in the local store; the size is that of its compressed layers",
            )


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} GB"
