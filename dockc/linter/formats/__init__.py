"""Reports in the forms that people, editors and CI systems read: one file a form, each `render(reports) -> str`."""

from __future__ import annotations

import sys

from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dockc.linter.finding import FileReport

    Renderer = Callable[[Sequence[FileReport]], str]

#: Name to module, and its function where that is not `render`.
FORMATS = {
    "json": "dockc.linter.formats.json_",
    "sarif": "dockc.linter.formats.sarif",
    "github": "dockc.linter.formats.github",
    "gitlab": "dockc.linter.formats.codeclimate:render_gitlab",
    "gitlab_codeclimate": "dockc.linter.formats.codeclimate:render_gitlab",
    "codeclimate": "dockc.linter.formats.codeclimate",
    "codacy": "dockc.linter.formats.codacy",
    "sonarqube": "dockc.linter.formats.sonarqube",
    "checkstyle": "dockc.linter.formats.checkstyle",
    "junit": "dockc.linter.formats.junit",
    "tty": "dockc.linter.formats.tty",
    "gnu": "dockc.linter.formats.gnu",
    "text": "dockc.linter.formats.text",
    "full": "dockc.linter.formats.text:render_full",
    "concise": "dockc.linter.formats.text:render_concise",
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
    __import__(module)  # `importlib` loads `warnings`, which takes as long as reading a small file
    found: Renderer = getattr(sys.modules[module], function or "render")
    return found
