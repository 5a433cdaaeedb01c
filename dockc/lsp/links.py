"""Document links: base images to their pages, downloads to what they fetch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dockc.compiler.syntax import ast
from dockc.errors import DockcError
from dockc.grammar.cst import DirectiveLine
from dockc.grammar.source import Span
from dockc.lsp.features import Document

#: Registries with a page for every repository: the host of a reference, and what stands before its path there.
_PAGES = {
    "docker.io": "https://hub.docker.com/r/",
    "quay.io": "https://quay.io/repository/",
    "ghcr.io": "https://ghcr.io/",
    "gcr.io": "https://gcr.io/",
    "public.ecr.aws": "https://gallery.ecr.aws/",
    "mcr.microsoft.com": "https://mcr.microsoft.com/en-us/artifact/mar/",
}


class Link(NamedTuple):
    """A stretch that leads somewhere."""

    span: Span
    target: str
    tooltip: str


def links(document: Document) -> tuple[Link, ...]:
    """All links of a file, in order."""
    return tuple(sorted(_all(document)))


def _all(document: Document) -> Iterator[Link]:
    values = document.context.values
    stages = {f.stage_name for _, f in document.names.froms if f is not None}
    for entry in document.context.entries:
        found = entry.instruction
        if (
            isinstance(found, ast.From)
            and entry.stage < len(document.names.bases)
            and document.names.bases[entry.stage] is None
        ):
            yield from _image(found.base.span, values.word(found.base, entry))
        elif (
            isinstance(found, ast.Copy)
            and found.from_.text
            and not found.from_.text.isdecimal()
            and found.from_.text.lower() not in stages
        ):
            yield from _image(found.from_.span, values.word(found.from_, entry))
        elif isinstance(found, ast.Add):
            for source in found.sources:
                text = values.word(source, entry)
                if text is not None and text.startswith(("https://", "http://")):
                    yield Link(source.span, text, "what ADD fetches")
    for item in document.front.parsed.file.items:
        if isinstance(item, DirectiveLine) and item.name == "syntax" and item.value:
            at = document.source.text.find(item.value, item.span.start, item.span.end)
            if at >= 0:
                yield from _image(Span(at, at + len(item.value)), item.value)


def _image(span: Span, text: str | None) -> Iterator[Link]:
    target = page_of(text) if text else ""
    if target:
        yield Link(span, target, f"page of {text}")


def page_of(text: str) -> str:
    """Where people read about an image; "" where that is not known."""
    from dockc.oci import reference as references

    if text.lower() == "scratch":
        return ""
    try:
        name = references.parse_normalized(text).name
    except DockcError:
        return ""
    host, _, path = name.partition("/")
    if host == "docker.io" and path.startswith("library/"):
        return f"https://hub.docker.com/_/{path.removeprefix('library/')}"
    return f"{_PAGES[host]}{path}" if host in _PAGES else ""
