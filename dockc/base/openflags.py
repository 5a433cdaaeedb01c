"""Flags of open(2) by name, 0 where the system does not have them: Windows has none of these, macOS has no O_PATH.

What goes by these says how to be safe on the systems that can; what needs the flag to be right (a sandbox, a store)
runs on Linux alone and takes `os.O_…` itself.
"""

from __future__ import annotations

import os


def _flag(name: str) -> int:
    number: int = getattr(os, name, 0)
    return number


NOFOLLOW = _flag("O_NOFOLLOW")
"""A symbolic link in the last place is an error."""
NONBLOCK = _flag("O_NONBLOCK")
"""A pipe without a writer is opened at once."""
CLOEXEC = _flag("O_CLOEXEC")
"""Children do not get it (elsewhere Python sees to it)."""
DIRECTORY = _flag("O_DIRECTORY")
"""Anything but a directory is an error."""
PATH = _flag("O_PATH")
"""Only a place, not to be read; elsewhere it is opened for reading."""
BINARY = _flag("O_BINARY")
"""Bytes as they are: Windows turns line ends otherwise."""
