"""Trees as values, tars from rows, and the private mount namespace that tests of the store need."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dockc.errors import DockcError
from dockc.oci import digest as digests
from dockc.oci.descriptor import Descriptor
from dockc.runtime.archive.compress import Compression, compress_bytes
from dockc.runtime.executor import rootless
from dockc.runtime.fsutil import marks
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.types import LayerDescriptor


def names_in(path: Path) -> set[str]:
    """What is directly in a directory."""
    return {entry.name for entry in path.iterdir()}


def need_mounts() -> None:
    """Enter a private mount namespace once, or skip the test with the reason."""
    if os.geteuid() != 0:
        pytest.skip("mounting in the test process needs root")
    try:
        rootless.enter_build_namespace()
    except DockcError as error:
        pytest.skip(f"no private mount namespace: {error.message}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree, as far as an image layer can say it."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: object
    mtime: int
    xattrs: tuple[tuple[str, bytes], ...] = ()
    same_as: str = ""


def tree(root: Path, *, times: bool = True) -> dict[str, Entry]:
    """All of a directory by path; the root itself is "."."""
    out: dict[str, Entry] = {}
    linked: dict[tuple[int, int], list[str]] = {}
    for folder, names, files in os.walk(root, followlinks=False):
        names.sort()
        here = Path(folder)
        for path in [here, *(here / name for name in sorted([*names, *files]))]:
            name = str(path.relative_to(root))
            if name in out:
                continue
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                linked.setdefault((status.st_dev, status.st_ino), []).append(name)
            out[name] = Entry(
                kind=stat.filemode(status.st_mode)[0],
                mode=0 if path.is_symlink() else stat.S_IMODE(status.st_mode),
                owner=marks.owner_of(str(path), status),
                content=_content(path, status),
                mtime=int(status.st_mtime) if times else 0,
                xattrs=tuple(marks.content_attributes(str(path)).items()),
            )
    for names in linked.values():
        for name in names if len(names) > 1 else ():
            out[name] = replace(out[name], same_as=min(names))
    return out


def _content(path: Path, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return str(path.readlink())
    if stat.S_ISREG(status.st_mode):
        return path.read_bytes()
    return status.st_rdev


@dataclass(slots=True)
class Row:
    """One member of a tar to be made; `kind` is a tarfile type constant."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_600_000_000
    device: tuple[int, int] = (0, 0)
    pax: dict[str, str] = field(default_factory=dict)


def folder(name: str, mode: int = 0o755, **more: object) -> Row:
    return Row(name, kind=tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]


def symlink(name: str, target: str) -> Row:
    return Row(name, kind=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> Row:
    return Row(name, kind=tarfile.LNKTYPE, link=target)


def make_tar(rows: Iterable[Row]) -> bytes:
    """A tar with exactly these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for row in rows:
            info = tarfile.TarInfo(row.name)
            info.type, info.linkname, info.mode = row.kind, row.link, row.mode
            info.uid, info.gid, info.mtime, info.size = row.uid, row.gid, row.mtime, len(row.data)
            info.devmajor, info.devminor = row.device
            info.pax_headers = row.pax
            archive.addfile(info, io.BytesIO(row.data))
    return out.getvalue()


def layer(refs: RefManager, tar: bytes, compression: Compression | None = None) -> LayerDescriptor:
    """A layer in the content store."""
    compression = compression or Compression()
    blob = compress_bytes(tar, compression)
    digest = refs.content.put(blob)
    return LayerDescriptor(digests.from_bytes(tar), Descriptor(compression.media_type, digest, len(blob)))


def write(**files: str) -> Callable[[Path], None]:
    """A step that writes files by name (`__` for a slash)."""

    def step(root: Path) -> None:
        for name, text in files.items():
            path = root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return step
