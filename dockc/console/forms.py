"""`--format`: records by a template of their fields, a line each, or as a table of templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dockc.console.tables import table
from dockc.errors import UsageError
from dockc.golang.template import Struct, Template, TemplateError


def formatted(rows: Callable[[bool], Sequence[Struct]], form: str, titles: Mapping[str, str], hint: str) -> str:
    """What a template makes of each row; `json` stands for `{{json .}}`, and `table ...` makes a table of templates
    between tabs.

    Args:
        rows: the records, and whether they are for a table.
        form: the template.
        titles: what stands above a field in a table.
        hint: what a form may look like.

    Raises:
        UsageError: the form is none.
    """
    columns = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    text = "{{json .}}" if text == "json" else text
    try:
        made = Template(text)
        found = [made.render(row) for row in rows(columns)]
        if not columns:
            return "".join(f"{row}\n" for row in found)
        head = made.render(Struct(titles))
    except TemplateError as error:
        raise UsageError(f"--format: {error}", hint=hint) from None
    cells = [row.split("\t") for row in (head, *found)]
    wide = max(map(len, cells))
    return table([*cells[0], *[""] * (wide - len(cells[0]))], [[*row, *[""] * (wide - len(row))] for row in cells[1:]])
