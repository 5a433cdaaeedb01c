"""Which files a command means: files as named, directories searched for Dockerfiles, patterns expanded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from dockc.errors import UsageError

#: Names of Dockerfiles, compared without case.
PATTERNS = ("dockerfile", "dockerfile.*", "dockerfile-*", "*.dockerfile", "containerfile", "containerfile.*", "*.containerfile")
_NOT_THESE = ("*.dockerignore", "*.json", "*.md", "*.yaml", "*.yml", "*.lock", "*.orig", "*.rej", "*.swp", "*~")
_SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__"})

STDIN = "-"


def is_dockerfile(name: str) -> bool:
    """Whether a file name is one of a Dockerfile."""
    import fnmatch

    folded = name.lower()
    if any(fnmatch.fnmatchcase(folded, pattern) for pattern in _NOT_THESE):
        return False
    return any(fnmatch.fnmatchcase(folded, pattern) for pattern in PATTERNS)


def find(arguments: Iterable[str]) -> list[str]:
    """Paths for command line arguments, each once, in order; `-` is standard input.

    A directory gives the Dockerfiles below it. A name that does not exist and holds `*`, `?` or `[` is a pattern (`**` crosses
    directories).

    Raises:
        UsageError: something that is not there.
    """
    found: dict[str, None] = {}
    for text in arguments:
        if text == STDIN:
            found[STDIN] = None
        elif os.path.isdir(text):
            found.update(dict.fromkeys(_below(text)))
        elif os.path.exists(text):
            found[text] = None
        elif any(c in text for c in "*?["):
            found.update(dict.fromkeys(_matches(text)))
        else:
            raise UsageError(f"{text} does not exist")
    return list(found)


def _matches(text: str) -> list[str]:
    import glob

    matches = sorted(m for m in glob.glob(text, recursive=True) if os.path.isfile(m))
    if not matches:
        raise UsageError(f"no file matches {text}")
    return matches


def _below(top: str) -> Iterator[str]:
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED)
        for name in sorted(files):
            if is_dockerfile(name):
                yield os.path.normpath(os.path.join(folder, name))
