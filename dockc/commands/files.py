"""Files that the user wants from a build besides its outputs: the image's id, the metadata."""

from __future__ import annotations

from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def check_place(path: Path) -> None:
    """Refuse before the build what could not be written after it.

    Raises:
        UsageError: a directory is in the place, or the one around it is missing.
    """
    trouble = "is a directory" if path.is_dir() else "" if path.parent.is_dir() else "no such directory"
    if trouble:
        raise UsageError(f"cannot write {path}: {trouble}")


def write(path: Path, data: bytes) -> None:
    """Write a file that the user wants.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
