"""Slash paths, and the paths of the operating system an image is for.

`base` is a plain rule of slash paths, as are `clean` and `join`, which `llb.paths` has. The rest serves COPY, ADD and
WORKDIR: on Windows a
path may carry the letter of the system drive and either separator, and leaves here without both.
"""

from __future__ import annotations

from dockc.errors import DockcError
from dockc.golang.paths import clean, join
from dockc.golang.text import quote

__all__ = (
    "DEFAULT_PATH",
    "WrongPath",
    "base",
    "clean",
    "default_path",
    "is_absolute",
    "join",
    "normalize",
    "to_slash",
    "without_drive",
    "workdir",
)

#: The search path of a process in an image that sets none.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WINDOWS_PATH = "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0"


class WrongPath(DockcError):
    """A Windows path that is not on the system drive."""


def default_path(system: str) -> str:
    """The search path of images that set none."""
    return _WINDOWS_PATH if system == "windows" else DEFAULT_PATH


# --- slash paths --------------------------------------------------------------------------------------


def base(path: str) -> str:
    """The last element; `.` of nothing, `/` of the root."""
    if not path:
        return "."
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] if stripped else "/"


# --- paths of an operating system ---------------------------------------------------------------------


def to_slash(path: str, system: str) -> str:
    """Every separator of the system turned into a slash."""
    return path.replace("\\", "/") if system == "windows" else path


def without_drive(path: str, system: str, *, keep_slash: bool) -> str:
    """A Windows path without its drive letter, cleaned; any other path as it is.

    Raises:
        WrongPath: another drive, a drive without a path, a UNC path.
    """
    if system != "windows":
        return path
    if len(path) == 2 and path[1] == ":":
        raise WrongPath(f"No relative path specified in {quote(path)}")
    if to_slash(path[:2], system) == "//":
        raise WrongPath("UNC paths are not supported")
    drive, colon, rest = path.partition(":")
    if not colon:
        return _clean_windows(path, keep_slash)
    if drive.lower() != "c":
        raise WrongPath("The specified path is not on the system drive (C:)")
    return _clean_windows(rest, keep_slash)


def _clean_windows(path: str, keep_slash: bool) -> str:
    path = path.replace("\\", "/")
    short = clean(path)
    if keep_slash and len(short) > 1 and path.endswith("/"):
        return short + "/"
    return short


def is_absolute(path: str, system: str) -> bool:
    """Whether a path of that system starts at its root, a drive letter not counted."""
    if system != "windows":
        return path.startswith("/")
    try:
        return without_drive(path, system, keep_slash=False).startswith("/")
    except WrongPath:
        return False


def normalize(parent: str, path: str, system: str, *, keep_slash: bool) -> str:
    """The path, joined to `parent` when relative: absolute, with slashes, without a drive letter.

    Args:
        keep_slash: keep a `/` or `/.` at the end, which tells COPY that the target is a directory.

    Raises:
        WrongPath: a Windows path that is not on the system drive.
    """
    path = given = to_slash(path, system)
    parent = _without_drive_named(to_slash(parent, system) or "/", system, keep_slash)
    if not is_absolute(parent, system):
        parent = join("/", parent)
    path = _without_drive_named(path or parent, system, keep_slash)
    if not is_absolute(path, system):
        path = join(parent, path)
    if keep_slash:
        if given.endswith("/") and not path.endswith("/"):
            path += "/"
        elif given.endswith("/."):
            path = (path if path == "/" else path + "/") + "."
    return to_slash(path, system)


def _without_drive_named(path: str, system: str, keep_slash: bool) -> str:
    try:
        return without_drive(path, system, keep_slash=keep_slash)
    except WrongPath as error:
        raise WrongPath(f"removing drive letter: {error.message}") from None


def workdir(current: str, new: str, system: str) -> str:
    """The working directory after `WORKDIR new`, with the separators of the system.

    Raises:
        WrongPath: a Windows path that is not on the system drive.
    """
    try:
        path = normalize(current, new, system, keep_slash=False)
    except WrongPath as error:
        raise WrongPath(f"normalizing working directory: {error.message}") from None
    return path.replace("/", "\\") if system == "windows" else path
