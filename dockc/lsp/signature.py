"""Signature help: the forms of an instruction, and which part of them is being written."""

from __future__ import annotations

from typing import NamedTuple

from dockc.compiler.explain.instructions import INSTRUCTIONS
from dockc.lsp.completion import line_at
from dockc.lsp.features import Document


class Signatures(NamedTuple):
    """Forms of an instruction.

    Attributes:
        forms: each with its parts as offsets in it.
        form: the one that fits what is written; part: in it.
    """

    forms: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    doc: str
    form: int
    part: int


def signatures(document: Document, offset: int) -> Signatures | None:
    """What can be written at a place; None outside of instructions and inside of heredocs and comments."""
    line = line_at(document, offset)
    if line.comment or line.inside:
        return None
    words = line.text.split()
    if words and words[0].upper() == "ONBUILD" and len(words) > 1 and INSTRUCTIONS.get(words[1].upper()):
        words = words[1:]
    if not words or not (len(words) > 1 or line.text[-1:].isspace()):
        return None
    doc = INSTRUCTIONS.get(words[0].upper())
    if doc is None:
        return None
    forms = tuple((form, _parts(form)) for form in doc.syntax)
    written = words[1:] if not line.text[-1:].isspace() else [*words[1:], ""]
    form = _fitting(doc.syntax, written)
    plain = [word for word in written if not word.startswith("--")]
    has_options = doc.syntax[form].partition(" ")[2].startswith(("[OPTIONS]", "[--"))
    part = 0 if written[-1].startswith("--") else max(len(plain) - 1, 0) + has_options
    return Signatures(forms, doc.summary, form, min(part, max(len(forms[form][1]) - 1, 0)))


def _parts(form: str) -> tuple[tuple[int, int], ...]:
    """The words behind the keyword."""
    found, at = [], form.find(" ")
    while 0 <= at < len(form):
        at += 1
        depth, end = 0, at
        while end < len(form) and (form[end] != " " or depth):
            depth += (form[end] == "[") - (form[end] == "]")
            end += 1
        found.append((at, end))
        at = end if end < len(form) else -1
    return tuple(found)


def _fitting(forms: tuple[str, ...], written: list[str]) -> int:
    """The form that has a bracket, a heredoc or a word where the text has it."""
    first = next((word for word in written if word and not word.startswith("--")), "")
    for index, form in enumerate(forms):
        rest = form.partition(" ")[2].removeprefix("[OPTIONS] ")
        if first.startswith("<<") and "<<" in rest:
            return index
        if first.startswith("[") and rest.startswith('["'):
            return index
        if (
            first
            and rest.split(" ")[0].isupper()
            and first.upper() == rest.split(" ")[0]
            and first.upper() in {"CMD", "NONE"}
        ):
            return index
    return 0
