"""Writing the headers of tar archives: ustar, with pax records only where ustar cannot say it.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import os

from dockc.errors import StoreError
from dockc.runtime.archive.tarheader import BLOCK, Member

END = bytes(2 * BLOCK)
"""What an archive ends with."""
_NANO = 1_000_000_000
_PAD = bytes(BLOCK)
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777


def pad(size: int) -> bytes:
    """Zeros up to the next block."""
    return bytes(-size % BLOCK)


def header(member: Member, *, fractions: bool = False) -> bytes:
    """The header blocks of a member: a pax extension where needed, then ustar.

    Args:
        member: what to describe.
        fractions: write its time with all that it has below seconds, which layers do not say.

    Raises:
        StoreError: it has an extended attribute that no archive can hold.
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
        if "=" in key:  # where the key of a record ends
            raise StoreError(f"{member.name}: an archive cannot hold the extended attribute {key!r}")
        records[f"SCHILY.xattr.{os.fsencode(key).decode('latin-1')}"] = value
    block = _block(name, prefix, ord(member.kind), _ascii(link), (member.mode, uid, gid, size, mtime, major, minor))
    return _extension(member, records) + block if records else block


def _fit(key: str, value: int, top: int, records: dict[str, bytes]) -> int:
    if 0 <= value <= top:
        return value
    records[key] = b"%d" % value
    return 0


_NOT_ASCII = bytes(range(128, 256))


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
    return text.translate(None, _NOT_ASCII)[:100]


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
