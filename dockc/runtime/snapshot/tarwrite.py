"""Writing changes as a layer's tar stream: a function of the changes alone.

ustar headers, with pax records only where ustar cannot say it (long or non-ASCII names, large numbers, extended
attributes). Modification times are whole seconds, as every builder writes them; user and group names are left
out. Whiteouts are empty files `.wh.NAME` of time 0.

Sources: OCI image specification, "Image Layer Filesystem Changeset"; POSIX.1-2017 pax.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable

from dockc.errors import StoreError
from dockc.runtime.archive.tarheader import (
    BLOCK,
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Member,
)
from dockc.runtime.cancel import check_cancelled
from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.changes import Change, Kind
from dockc.runtime.snapshot.tarread import WHITEOUT

_CHUNK = 1 << 20
_NANO = 1_000_000_000
_PAD = bytes(BLOCK)
_END = bytes(2 * BLOCK)
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}


def write_layer(
    changes: Iterable[Change],
    out: Callable[[bytes], object],
    *,
    rewrite_timestamp: int | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the tar of `changes` (in order) to `out`.

    Args:
        changes: from `changes.layer_changes` or `changes.tree_changes`.
        out: takes the bytes.
        rewrite_timestamp: Unix seconds; later modification times become this.
        cancelled: looked at between files.

    Raises:
        StoreError: a file that a layer cannot hold, or one that changed while it was read.
    """
    links: dict[tuple[int, int], str] = {}
    for change in changes:
        check_cancelled(cancelled)
        if change.kind is not Kind.SET:
            out(header(_whiteout(change)))
            continue
        assert change.status is not None
        if change.path.rpartition("/")[2].startswith(WHITEOUT):
            raise StoreError(f"{change.path}: names that begin with {WHITEOUT} cannot be in an image layer")
        member = describe(change.path, change.source, change.status, links)
        if member is None:
            continue
        if rewrite_timestamp is not None:
            member.mtime = min(member.mtime, rewrite_timestamp * _NANO)
        out(header(member))
        if member.size:
            _write_data(change.source, member.size, out)
    out(_END)


def _whiteout(change: Change) -> Member:
    folder, slash, base = change.path.rpartition("/")
    return Member(name=f"{folder}{slash}{WHITEOUT}{base}", kind=REGULAR, mode=0, uid=0, gid=0, size=0, mtime=0)


def describe(path: str, source: str, status: os.stat_result, links: dict[tuple[int, int], str]) -> Member | None:
    """The member for a file; None for sockets.

    Args:
        path: its name in the archive.
        source: where it is.
        status: its state.
        links: names of files with several links met so far, by device and inode; a later name becomes a hard
            link to the first.
    """
    if stat.S_ISSOCK(status.st_mode):
        return None
    uid, gid = marks.owner_of(source, status)
    member = Member(
        name=f"{path}/" if stat.S_ISDIR(status.st_mode) else path,
        kind=_KINDS[stat.S_IFMT(status.st_mode)],
        mode=stat.S_IMODE(status.st_mode),
        uid=uid,
        gid=gid,
        size=0,
        mtime=status.st_mtime_ns,
    )
    if capability := marks.capability(source):
        member.xattrs = {marks.CAPABILITY: capability}
    first = (
        path
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode)
        else links.setdefault((status.st_dev, status.st_ino), path)
    )
    node = marks.node_of(source, status)
    if node is not None:
        member.kind = _KINDS[node[0]]
        member.major, member.minor = os.major(node[1]), os.minor(node[1])
    if first != path:
        member.kind, member.linkname = HARDLINK, first
    elif member.kind == SYMLINK:
        member.linkname = os.readlink(source)  # noqa: PTH115 - one string per file
    elif member.kind == REGULAR:
        member.size = status.st_size
    return member


def _write_data(source: str, size: int, out: Callable[[bytes], object]) -> None:
    left = size
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while left:
            data = os.read(descriptor, min(_CHUNK, left))
            if not data:
                raise StoreError(f"{source} became shorter while it was read")
            out(data)
            left -= len(data)
    finally:
        os.close(descriptor)
    if size % BLOCK:
        out(_PAD[size % BLOCK :])


def header(member: Member, *, fractions: bool = False) -> bytes:
    """The header blocks of a member: a pax extension where needed, then ustar.

    Args:
        member: what to describe.
        fractions: write its time with all that it has below seconds, which layers do not say.
    """
    records: dict[str, bytes] = {}
    name, prefix = _split_name(os.fsencode(member.name), records)
    link = os.fsencode(member.linkname)
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    uid = _fit("uid", member.uid, _MAX_ID, records)
    gid = _fit("gid", member.gid, _MAX_ID, records)
    size = _fit("size", member.size, _MAX_SIZE, records)
    mtime = _fit("mtime", member.mtime // _NANO, _MAX_SIZE, records)
    if fractions and member.mtime % _NANO and member.mtime > 0:
        records["mtime"] = b"%d.%09d" % divmod(member.mtime, _NANO)
    major = _fit("SCHILY.devmajor", member.major, _MAX_ID, records)
    minor = _fit("SCHILY.devminor", member.minor, _MAX_ID, records)
    for key, value in member.xattrs.items():
        records[f"SCHILY.xattr.{os.fsencode(key).decode('latin-1')}"] = value
    block = _block(name, prefix, ord(member.kind), _ascii(link), (member.mode, uid, gid, size, mtime, major, minor))
    return _extension(member, records) + block if records else block


def _fit(key: str, value: int, top: int, records: dict[str, bytes]) -> int:
    if 0 <= value <= top:
        return value
    records[key] = b"%d" % value
    return 0


def _split_name(name: bytes, records: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Name and prefix of the ustar header; a pax record when the name does not fit."""
    if name.isascii():
        if len(name) <= 100:
            return name, b""
        # The longest prefix that leaves a name: cut at a slash within 155 bytes, not at a directory's last one.
        cut = name.rfind(b"/", 0, min(156, len(name) - 1))
        if cut > 0 and len(name) - cut - 1 <= 100:
            return name[cut + 1 :], name[:cut]
    records["path"] = name
    return _ascii(name), b""


def _ascii(text: bytes) -> bytes:
    return bytes(byte for byte in text if byte < 128)[:100]


def _extension(member: Member, records: dict[str, bytes]) -> bytes:
    data = b"".join(_record(key.encode("latin-1"), value) for key, value in sorted(records.items()))
    folder, _, base = os.fsencode(member.name).rstrip(b"/").rpartition(b"/")
    name = _ascii(b"/".join(part for part in (folder, b"PaxHeaders.0", base) if part))
    block = _block(name, b"", ord("x"), b"", (0, 0, 0, len(data), 0, 0, 0))
    return block + data + _PAD[len(data) % BLOCK or BLOCK :]


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest)
    while True:
        total = len(str(size)) + len(rest)
        if total == size:
            return b"%d" % size + rest
        size = total


def _block(
    name: bytes, prefix: bytes, kind: int, link: bytes, numbers: tuple[int, int, int, int, int, int, int]
) -> bytes:
    mode, uid, gid, size, mtime, major, minor = numbers
    block = bytearray(
        b"%-100b%07o\0%07o\0%07o\0%011o\0%011o\0        %c%-100bustar\00000%64b%07o\0%07o\0%-155b%12b"
        % (name, mode, uid, gid, size, mtime, kind, link, b"", major, minor, prefix, b"")
    )
    # `%-100b` pads with blanks where the format wants NUL.
    for at, used, width in ((0, len(name), 100), (157, len(link), 100), (345, len(prefix), 155)):
        block[at + used : at + width] = bytes(width - used)
    block[265:329] = bytes(64)
    block[500:512] = bytes(12)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
