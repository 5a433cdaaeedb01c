"""Sockets at paths that are longer than a socket's address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 107
"""Bytes of a path that a socket's address holds."""


@contextmanager
def address(path: str | os.PathLike[str]) -> Iterator[str]:
    """What to bind or connect a socket of a path to, while the block runs; for other processes of this machine it is there.

    Raises:
        OSError: the directory is not there.
    """
    text = os.fspath(path)
    if len(os.fsencode(text)) <= _LONGEST:
        yield text
        return
    folder = os.open(os.path.dirname(text), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(text)}"  # noqa: PTH119
    finally:
        os.close(folder)
