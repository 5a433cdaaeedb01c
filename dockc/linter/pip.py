"""What is a pip call: `pip install`, `pip3 install`, `python -m pip install`."""

from __future__ import annotations

from dockc.linter.shell.commands import Command


def is_pip_install(command: Command) -> bool:
    """Whether a command installs with pip."""
    texts = command.texts
    if command.name.startswith("pip") and not command.name.startswith("pipenv"):
        return "install" in texts
    if not command.name.startswith("python"):
        return False
    return any(texts[i : i + 3] == ("-m", "pip", "install") for i in range(len(texts)))
