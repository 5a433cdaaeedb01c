"""What a copy did as it was told and hardly anybody means: warnings in place of surprises. The files stay BuildKit's."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.runtime.fsutil.users import Owner

Remark = Callable[[str], object]

_USUAL = frozenset(
    posixpath.join("/", path)
    for path in [
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "lib64",
        "media",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "srv",
        "sys",
        "tmp",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "usr/local",
        "usr/local/bin",
        "usr/local/etc",
        "usr/local/lib",
        "usr/local/sbin",
        "usr/local/share",
        "usr/sbin",
        "usr/share",
        "var",
        "var/cache",
        "var/lib",
        "var/log",
        "var/opt",
        "var/run",
        "var/spool",
        "var/tmp",
        "var/www",
    ]
)
"""Directories that nearly every base image has."""


def written_over(pattern: str, dest: str, names: Sequence[str]) -> str:
    """Several files that a pattern matched went to one name."""
    last = posixpath.basename(names[-1])
    return (
        f"{len(names)} files match {pattern}, and each was written over the one before: {dest} is {last}. "
        f"A slash at the end makes the destination a directory: {dest}/"
    )


def taken_over(made: Sequence[str], owner: Owner) -> str:
    """A copy that knows nothing of what is below it (`--link`) gives directories of the base image to its owner."""
    usual = [path for path in made if path in _USUAL]
    if not usual or (owner.uid, owner.gid) == (0, 0):
        return ""
    return (
        f"{_listed(usual)} will belong to {owner.uid}:{owner.gid} in the image, also where the base image has "
        f"{'it' if len(usual) == 1 else 'them'}: COPY --link makes the way to its destination itself. Without --link what is "
        "there stays as it is."
    )


def closed(made: Sequence[str], mode: int) -> str:
    """Directories got the mode that was meant for files: nobody but root can look into them."""
    if mode & 0o111 or not made:
        return ""
    return (
        f"{_listed(made)} {'was' if len(made) == 1 else 'were'} made with --chmod={mode:o} as well: without the right to "
        "search nobody but root gets in. Make directories first, or say --chmod=u=rwX,go=rX or the like."
    )


def _listed(paths: Sequence[str]) -> str:
    shown = [*paths[:3], *(["more"] if len(paths) > 3 else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
