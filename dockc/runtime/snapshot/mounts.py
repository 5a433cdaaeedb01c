"""Mounting overlayfs: the new mount calls where the kernel has them, mount(2) elsewhere.

Directories are handed over as `/proc/self/fd/N`, so that neither the length of paths nor characters in them that
mean something in mount options matter.

Sources: Linux Documentation/filesystems/overlayfs.rst; fsopen(2), fsconfig(2), fsmount(2), move_mount(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from dockc.runtime.kernel import syscalls

MAX_LOWERS = 150
"""Lower directories of one mount: all that an image has (127), within mount(2)'s page of options, and below the kernel's
own 500.
"""

MountPoint = AbstractContextManager[Path]

_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC = 1
_MOVE_EMPTY_PATH = 4
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)
_modern = [True]

# What a mount may store in the upper directory beyond plain files would tie it to this stack: switched off,
# whatever the kernel's defaults are; nor is it believed in what lies below. Without syncing: an unfinished snapshot is
# thrown away after a crash anyway.
_PLAIN = ("redirect_dir=nofollow", "metacopy=off", "index=off")
_OPTION_SETS = ((*_PLAIN, "volatile"), _PLAIN, ())


def mount_overlay(
    lowers: Sequence[Path | str],
    target: Path,
    *,
    upper: Path | None = None,
    work: Path | None = None,
    user: bool = False,
) -> None:
    """Mount a stack of directories (lowest first) on `target`.

    Args:
        lowers: at most `MAX_LOWERS`; at least two without `upper`.
        target: the mount point.
        upper: directory that takes the changes; None for a read-only mount.
        work: empty directory on the same file system as `upper`.
        user: read `user.overlay.` attributes instead of `trusted.overlay.` ones (user namespaces).

    Raises:
        OSError: the kernel refuses.
    """
    with ExitStack() as opened:
        layers = [_descriptor(opened, lower) for lower in reversed(lowers)]
        fixed: list[str] = ["userxattr"] if user else []
        if upper is not None and work is not None:
            fixed.append(f"upperdir={_descriptor(opened, upper)}")
            fixed.append(f"workdir={_descriptor(opened, work)}")
        sets = _OPTION_SETS if upper is not None else _OPTION_SETS[1:]
        for number, options in enumerate(sets):
            try:
                _mount(layers, [*fixed, *options], target)
                return
            except OSError as error:
                if error.errno != errno.EINVAL or number == len(sets) - 1:
                    raise


def _descriptor(opened: ExitStack, path: Path | str) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"


def _mount(layers: Sequence[str], options: Sequence[str], target: Path) -> None:
    if _modern[0]:
        try:
            _mount_modern(layers, options, target)
            return
        except OSError as error:
            # ENOSYS: before Linux 5.2; a refused `lowerdir+`: before 6.5. The old call tells the two from a refusal.
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
                raise
    data = ",".join([f"lowerdir={':'.join(layers)}", *options])
    syscalls.mount("overlay", str(target), "overlay", 0, data)


def _mount_modern(layers: Sequence[str], options: Sequence[str], target: Path) -> None:
    try:
        context = _call(_SYS_FSOPEN, b"overlay", _CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            _modern[0] = False
        raise
    try:
        for layer in layers:
            _configure(context, _SET_STRING, "lowerdir+", layer)
        for option in options:
            key, equals, value = option.partition("=")
            _configure(context, _SET_STRING if equals else _SET_FLAG, key, value if equals else None)
        _configure(context, _CREATE, None, None)
        mounted = _call(_SYS_FSMOUNT, context, _CLOEXEC, 0)
        try:
            _call(_SYS_MOVE_MOUNT, mounted, b"", _AT_FDCWD, os.fsencode(target), _MOVE_EMPTY_PATH)
        finally:
            os.close(mounted)
    finally:
        os.close(context)


def _configure(context: int, command: int, key: str | None, value: str | None) -> None:
    _call(
        _SYS_FSCONFIG,
        context,
        command,
        None if key is None else key.encode(),
        None if value is None else os.fsencode(value),
        0,
    )


def _call(number: int, *arguments: int | bytes | None) -> int:
    raw = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *raw))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "overlay mount")
    return result


def unmount(target: Path) -> None:
    """Unmount; what is still open of it keeps working until it is closed."""
    try:
        syscalls.umount(str(target))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return  # not mounted (any more)
        syscalls.umount(str(target), syscalls.MNT_DETACH)


def mounted_below(root: Path) -> list[Path]:
    """Mount points inside `root`, innermost first, as this process sees them."""
    top = str(root.resolve())
    found: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        place = line.split(" ")[4]
        for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
            place = place.replace(code, char)
        if place.startswith(f"{top}/"):
            found.append(Path(place))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


@contextmanager
def mount_point(folder: Path, name: str) -> Iterator[Path]:
    """A directory to mount on, gone at the end; whatever is mounted there is unmounted first."""
    target = folder / name
    target.mkdir(parents=True)
    try:
        yield target
    finally:
        unmount(target)
        try:
            target.rmdir()
        except OSError:
            # Still mounted in some namespace, or not empty: the next cleaning looks again. Never reach inside.
            pass
