"""The parts of `State.run` and `State.file`: mounts and file actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.paths import clean, join, normalize
from dockc.llb import ops
from dockc.llb.author.state import State
from dockc.llb.author.vertex import FileAction, Mount

# --- parts ----------------------------------------------------------------------------------------------


def mount(
    target: str,
    state: State | None = None,
    *,
    selector: str = "",
    readonly: bool = False,
    no_output: bool = False,
    content_cache: int = ops.ContentCache.DEFAULT,
) -> Mount:
    """A file system, or an empty directory, that a command sees at `target`."""
    return Mount(target, state, selector, readonly, no_output, content_cache=content_cache)


def cache(target: str, id: str, *, sharing: int = ops.Sharing.SHARED, state: State | None = None) -> Mount:  # noqa: A002
    """A directory that lives on between builds under the name `id`; `state` is what it begins as."""
    return Mount(target, state, cache_id=id, sharing=sharing)


def tmpfs(target: str, *, size: int = 0) -> Mount:
    """A directory in memory."""
    return Mount(target, tmpfs=True, size=size)


Owner = tuple[str | int | None, str | int | None] | str | None


def copy(
    source: State,
    src: str,
    dest: str,
    *,
    owner: Owner = None,
    mode: int | str | None = None,
    follow_symlinks: bool = False,
    dir_contents: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    required: Sequence[str] = (),
    unpack: bool = False,
    create_dest: bool = False,
    wildcard: bool = False,
    empty_wildcard: bool = False,
    timestamp: int = -1,
    replace_existing: bool = False,
) -> FileAction:
    """Copy `src` of another file system; relative paths start from the working directories of the two.

    `owner` is `user[:group]` or a pair of names or numbers; `mode` a number, or text such as `u+x`;
    `timestamp` in nanoseconds.
    """
    path = clean(src)
    path = path if path.startswith("/") else join(source.directory or "/", path)

    def make(directory: str, who: Callable[[str | int | None], ops.User | None]) -> ops.Copy:
        return ops.Copy(
            src=path,
            dest=normalize(directory, dest, keep_slash=True),
            owner=_chown(owner, who),
            mode=mode if isinstance(mode, int) else 0 if mode else -1,
            follow_symlinks=follow_symlinks,
            dir_contents=dir_contents,
            unpack=unpack,
            create_dest=create_dest,
            wildcard=wildcard,
            empty_wildcard=empty_wildcard,
            timestamp=timestamp,
            include=tuple(include),
            exclude=tuple(exclude),
            replace_existing=replace_existing,
            mode_str=mode if isinstance(mode, str) else "",
            required=tuple(required),
        )

    return FileAction(make, source)


def mkdir(
    path: str, mode: int = 0o755, *, parents: bool = False, owner: Owner = None, timestamp: int = -1
) -> FileAction:
    """Make a directory."""
    return FileAction(
        lambda directory, who: ops.Mkdir(
            normalize(directory, path), mode & 0o777, parents, _chown(owner, who), timestamp
        )
    )


def mkfile(path: str, data: bytes | str, mode: int = 0o644, *, owner: Owner = None, timestamp: int = -1) -> FileAction:
    """Write a file."""
    content = data.encode() if isinstance(data, str) else data
    return FileAction(
        lambda directory, who: ops.Mkfile(
            normalize(directory, path), mode & 0o777, content, _chown(owner, who), timestamp
        )
    )


def rm(path: str, *, allow_missing: bool = False, wildcard: bool = False) -> FileAction:
    """Remove a path."""
    return FileAction(lambda directory, who: ops.Rm(normalize(directory, path), allow_missing, wildcard))


def symlink(oldpath: str, newpath: str, *, owner: Owner = None, timestamp: int = -1) -> FileAction:
    """Make a symbolic link at `newpath` that holds `oldpath`."""
    return FileAction(lambda directory, who: ops.Symlink(oldpath, newpath, _chown(owner, who), timestamp))


def _chown(owner: Owner, who: Callable[[str | int | None], ops.User | None]) -> ops.Chown | None:
    if owner is None:
        return None
    if isinstance(owner, str):
        user, colon, group = owner.partition(":")
        owner = (_id_or_name(user), _id_or_name(group) if colon else None)
    return ops.Chown(who(owner[0]), who(owner[1]))


def _id_or_name(text: str) -> str | int:
    if text in ("", "root"):
        return 0
    try:
        return parse_int(text, bits=32)
    except NumberError:
        return text
