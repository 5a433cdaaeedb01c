"""Reports in the forms that people, editors and CI systems read: one file a form, each `render(reports) -> str`."""

from __future__ import annotations

from importlib import import_module

from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dockc.compiler.lint.finding import FileReport

    Renderer = Callable[[Sequence[FileReport]], str]

#: Name to module; `text` and `tty` are the console's.
FORMATS = {
    "json": "dockc.compiler.lint.formats.json_",
    "sarif": "dockc.compiler.lint.formats.sarif",
    "github": "dockc.compiler.lint.formats.github",
    "gitlab": "dockc.compiler.lint.formats.codeclimate:render_gitlab",
    "codeclimate": "dockc.compiler.lint.formats.codeclimate",
    "checkstyle": "dockc.compiler.lint.formats.checkstyle",
    "junit": "dockc.compiler.lint.formats.junit",
    "tty": "dockc.compiler.lint.formats.tty",
    "gnu": "dockc.compiler.lint.formats.gnu",
    "text": "dockc.compiler.lint.formats.text",
}


def renderer(name: str) -> Renderer:
    """The renderer of a form.

    Raises:
        UsageError: there is no such form.
    """
    try:
        module, _, function = FORMATS[name].partition(":")
    except KeyError:
        raise UsageError(f"unknown format: {name}", hint=f"Choose one of {', '.join(sorted(FORMATS))}.") from None
    found: Renderer = getattr(import_module(module), function or "render")
    return found
