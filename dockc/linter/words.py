"""Words of instructions as they are written: names of stages, options of mounts."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast


def unquoted(text: str) -> str:
    """A word without surrounding quotes."""
    return text.strip("\"'")


def alias(from_: ast.From) -> str:
    """The stage's name as written, or ""."""
    return from_.stage_name_word.text if from_.stage_name_word is not None else ""


def mounts(run: ast.Instruction) -> Iterator[dict[str, str]]:
    """The `--mount` options of a RUN as key and value; keys in lower case."""
    if not isinstance(run, ast.Run):
        return
    for word in run.mounts:
        pairs = (part.partition("=") for part in word.text.split(","))
        yield {key.strip().lower(): value.strip("\"'") for key, _, value in pairs}
