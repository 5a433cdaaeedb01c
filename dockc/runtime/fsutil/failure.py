"""Errors of file operations, in the words of the reference: `mkdir /a/b: not a directory`."""

from __future__ import annotations

import errno
import os
import threading

from dockc.errors import SolveError
from dockc.runtime.cancel import Cancelled

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileError(SolveError):
    """A file operation that failed.

    Attributes:
        errno: the system's error number, 0 where the operation itself refused.
    """

    def __init__(self, message: str, *, number: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = number


def explain(error: OSError) -> str:
    """The system's words for an error number, in lower case."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def failed(call: str, path: str, error: OSError, *, wrap: str = "") -> FileError:
    """An error for a system call on `path` (as seen from the root, never a path of the host).

    Args:
        call: the name of the call, e.g. `mkdir`.
        path: what it was for.
        error: what the system said.
        wrap: what was attempted, e.g. `failed to copy files`.
    """
    number = error.errno or 0
    hint = "The disk is full: free some space, for example with `dockc prune`." if number in _FULL else ""
    message = f"{call} {path}: {explain(error)}"
    return FileError(f"{wrap}: {message}" if wrap else message, number=number, hint=hint)


def check(cancelled: threading.Event | None) -> None:
    """Raise `Cancelled` when the step has been given up."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled("cancelled")
