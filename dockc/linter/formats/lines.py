"""What the forms share that give a finding a line."""

from __future__ import annotations


def one_line(path: str) -> str:
    """A file's name that stays on its line."""
    return path if path.isprintable() else path.replace("\n", "\ufffd").replace("\r", "\ufffd")
