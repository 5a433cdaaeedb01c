"""Which files a command means: files as named, directories searched for Dockerfiles, patterns expanded."""

from __future__ import annotations

import os

from dockc.base.files import dockerfiles_beside, need_directory, there_are
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: How names of Dockerfiles begin or end, compared without case.
_BEGIN = ("dockerfile", "containerfile")
_END = (".dockerfile", ".containerfile")
#: What follows the last dot in names of files about Dockerfiles: data, templates, leftovers of editors.
_OTHER = frozenset((
    "dockerignore", "lock", "json", "md", "rst", "txt", "html", "xml", "yaml", "yml", "toml", "ini", "j2", "jinja", "jinja2", "tmpl",
    "tpl", "template", "erb", "mustache", "log", "orig", "rej", "bak", "swp", "tmp",
))  # fmt: skip
#: Programs, unless all that stands before the dot is `Dockerfile`: that may be the one for Go.
_PROGRAMS = frozenset((
    "py", "go", "rs", "rb", "java", "kt", "scala", "js", "mjs", "ts", "tsx", "jsx", "c", "h", "cc", "cpp", "cs", "php", "pl", "lua",
    "sh", "bash", "zsh", "bat", "ps1", "sql",
))  # fmt: skip
_SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__"})

STDIN = "-"


def is_dockerfile(name: str) -> bool:
    """Whether a file name is one of a Dockerfile."""
    folded = name.lower()
    stem, _, end = folded.rpartition(".")
    if folded.endswith("~") or end in _OTHER or (end in _PROGRAMS and stem not in _BEGIN):
        return False
    return folded.startswith(_BEGIN) or folded.endswith(_END)


def find(arguments: Iterable[str], closed: Callable[[OSError], object] | None = None) -> list[str]:
    """Paths for command line arguments, each once, in order; `-` is standard input.

    A directory gives the Dockerfiles below it. A name that does not exist and holds `*`, `?` or `[` is a pattern (`**`
    crosses directories).

    Args:
        arguments: of the line.
        closed: hears of each directory that cannot be searched.

    Raises:
        UsageError: something that is not there.
    """
    found: dict[str, None] = {}
    for text in arguments:
        if text == STDIN:
            found[STDIN] = None
        elif os.path.isdir(text):
            found.update(dict.fromkeys(_below(text, closed)))
        elif os.path.exists(text):
            found[text] = None
        elif any(c in text for c in "*?["):
            found.update(dict.fromkeys(_matches(text, closed)))
        else:
            raise UsageError(f"{text} does not exist", hint=_near(text))
    return list(found)


def find_some(arguments: Iterable[str], if_none: str, log: Callable[[str], object]) -> list[str]:
    """As `find`; where nothing is found somebody is told.

    Args:
        arguments: of the line.
        if_none: what that means: `warn`, `error` or `ignore`.
        log: takes the warning.

    Raises:
        UsageError: as of `find`; nothing is found and that is an error; `if_none` is none of the three.
    """
    if if_none not in ("warn", "error", "ignore"):
        raise UsageError(f"--if-no-files cannot be {if_none!r}", hint="Choose one of warn, error, ignore.")
    places = list(arguments)

    def closed(error: OSError) -> None:
        log(f"warning: {_named(error.filename)} is not searched: {error.strerror}\n")

    found = find(places, closed)
    if not found and not all(map(os.path.isabs, places)):
        need_directory()
    if not found and if_none != "ignore":
        message = f"there is no Dockerfile in {' or '.join(places)}"
        hint = "names such as Dockerfile, Containerfile.dev and app.Dockerfile are searched; others must be given"
        if if_none == "error":
            raise UsageError(message, hint=hint)
        log(f"warning: {_named(message)}\n  help: {hint}\n")
    return found


def _near(path: str) -> str:
    """What may have been meant by a file that is not there."""
    from contextlib import suppress

    with suppress(OSError):
        if found := dockerfiles_beside(path):
            return f"{there_are(found)}."
    return ""


def _named(text: str) -> str:
    from dockc.console.errors import visible

    return visible(text)


def _matches(text: str, closed: Callable[[OSError], object] | None) -> list[str]:
    import glob

    found = _crossing(text, closed) if "**" in text.split("/") else glob.glob(text)
    matches = sorted(m for m in found if os.path.isfile(m))
    if not matches:
        raise UsageError(f"no file matches {text}")
    return matches


def _crossing(pattern: str, closed: Callable[[OSError], object] | None) -> Iterator[str]:
    """What a pattern with `**` means. Links to directories are not followed: they may lead in circles."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if any(c in part for c in "*?["))
    top = "/".join(parts[:fixed]) or ("/" if fixed else ".")
    wanted = [part for part in parts[fixed:] if part]
    for folder, folders, files in os.walk(top, onerror=closed):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED)
        inside = [part for part in os.path.relpath(folder, top).split(os.sep) if part != "."]
        for name in files:
            if _fits([*inside, name], wanted):
                yield os.path.normpath(os.path.join(folder, name))


def _fits(names: list[str], wanted: list[str]) -> bool:
    import fnmatch

    if not wanted or not names:
        return not names and all(part == "**" for part in wanted)
    if wanted[0] == "**":
        return _fits(names, wanted[1:]) or _fits(names[1:], wanted)
    return fnmatch.fnmatchcase(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def _below(top: str, closed: Callable[[OSError], object] | None) -> Iterator[str]:
    for folder, folders, files in os.walk(top, onerror=closed):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED)
        for name in sorted(files):
            if is_dockerfile(name):
                yield os.path.normpath(os.path.join(folder, name))
