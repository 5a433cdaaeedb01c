"""DL3049 label-missing."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.base.record import NamedTuple
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.families import image
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import alias, unquoted


class LabelMissing(Rule):
    """Reports stages that lack a label of the schema, unless they inherit it or only feed stages that have it.

    ## Why

    Images are found and audited by their labels.

    ## Options

    `label-schema`.
    """

    code = "DL3049"
    name = "label-missing"
    summary = "A label of the schema is missing"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3049",)
    options = ("label-schema",)
    bad = "FROM debian:12\n"
    good = "FROM debian:12\nLABEL l=x\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for wanted in context.settings.label_schema:
            for entry in _lacking(context, wanted):
                yield Hit(entry.node.span, f"Label `{wanted}` is missing.", entry.node.lines)


class _Stage(NamedTuple):
    base: str
    alias: str
    entry: Entry


def _lacking(context: Context, wanted: str) -> list[Entry]:
    """FROM entries of the stages that ought to have the label and do not.

    A stage that builds on a good one is good. A stage is let off when a later one copies from it, or has the label and
    builds on it.
    """
    good: list[_Stage] = []
    bad: list[_Stage] = []
    current: _Stage | None = None
    for entry in context.entries:
        found = entry.instruction
        if isinstance(found, ast.From):
            current = _Stage(image(found.base.text).name, alias(found), entry)
            inherits = any(stage.alias and stage.alias == current.base for stage in good)
            (good if inherits else bad).append(current)
        elif current is None:
            continue
        elif isinstance(found, ast.Copy) and found.from_.text:
            bad = [stage for stage in bad if stage.alias != found.from_.text]
        elif isinstance(found, ast.Label) and _names(context, found, wanted):
            own = current.alias or current.base
            bad = [stage for stage in bad if stage.alias != own and stage is not current]
            good.append(current)
    return [stage.entry for stage in bad]


def _names(context: Context, label: ast.Label, wanted: str) -> bool:
    keys = (pair.key.text for pair in label.pairs)
    return wanted in (keys if context.parity else map(unquoted, keys))
