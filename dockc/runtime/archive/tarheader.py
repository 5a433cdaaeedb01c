"""Reading the headers of tar archives, whoever wrote them: members with name, type, owner, times, attributes.

v7, ustar, pax (with GNU's sparse maps 0.0, 0.1 and 1.0) and GNU (long names, old sparse maps, binary numbers).
Hostile archives are expected: numbers are checked, and headers of headers are bounded. Where readers differ this one
sides with Go's `archive/tar`, so that an image has the files that BuildKit gives it: pax records for all members are
passed over, and of two extended headers before one member the second counts.

Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar
Format", "Storing Sparse Files".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping

from dockc.base.record import Mutable, made
from dockc.errors import StoreError
from dockc.oci.digest import Reader
from dockc.runtime.cancel import check_cancelled

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
_REGULAR_TYPES = frozenset("\x000\x377")
_NO_DATA = frozenset("123456")
_XATTR = "SCHILY.xattr."
_NAMES = frozenset((b"path", b"linkpath", b"uname", b"gname"))
_NO_ID = 0xFFFFFFFF
_MOST = (1 << 63) - 1
_NANO = 1_000_000_000
_FARTHEST = (1 << 40) * _NANO  # some 35,000 years: beyond every file system, within every integer


class InvalidTar(StoreError):
    """An archive that breaks the format, or asks for more than the limits."""


class Member(Mutable):
    """One entry.

    Attributes:
        name, linkname: as the archive has them, undecodable bytes as surrogates.
        kind: one of the type constants of this module; others are unknown types.
        size: bytes of data in the archive that follow the header.
        real_size: size of the file (differs from `size` for sparse files).
        mtime: nanoseconds since the epoch.
        sparse: `(offset, length)` of each piece of data, in order; None for a file without holes.
    """

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = made(dict)
    real_size: int = 0
    sparse: list[tuple[int, int]] | None = None


class TarReader:
    """Iterates over the members of a stream; the data of the current member is read with `read`.

    Args:
        stream: the uncompressed archive.
        max_header: bytes allowed for one extended header or long name.
        max_sparse: entries allowed in one sparse map.
        skip: passes over so many bytes of the stream and tells how many there were; None reads them.
        cancelled: looked at before every read: a small archive may unpack to endless headers.

    Raises:
        InvalidTar: while iterating and reading.
        Cancelled: `cancelled` was set.
    """

    def __init__(
        self,
        stream: Reader,
        *,
        max_header: int = 1 << 20,
        max_sparse: int = 1 << 20,
        skip: Callable[[int], int] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._stream = stream
        self._pass = skip
        self._cancelled = cancelled
        self._max_header = max_header
        self._max_sparse = max_sparse
        self._extended = {"g": 0, "x": 0}
        self._left = 0
        self._padding = 0

    def read(self, size: int) -> bytes:
        """The next bytes of the current member's data; empty at its end."""
        check_cancelled(self._cancelled)
        data = self._stream.read(min(size, self._left))
        if not data and self._left and size:
            raise InvalidTar("unexpected end of archive inside a file")
        self._left -= len(data)
        return data

    def __iter__(self) -> Iterator[Member]:
        own: dict[str, bytes] = {}
        long_name = long_link = b""
        while (header := self._next_header()) is not None:
            kind = chr(header[156])
            if kind in ("x", "g"):
                records = parse_pax(self._extension(header, kind))
                if kind == "x":
                    own = records
            elif kind == "L":
                long_name = self._extension(header).split(b"\0", 1)[0]
            elif kind == "K":
                long_link = self._extension(header).split(b"\0", 1)[0]
            else:
                member = self._member(header, kind, own, long_name, long_link)
                own, long_name, long_link = {}, b"", b""
                self._extended["x"] = 0
                yield member

    def _next_header(self) -> bytes | None:
        self._skip()
        header = self._block()
        if header is None:
            return None
        if not any(header):
            second = self._block()
            if second is not None and any(second):
                raise InvalidTar("invalid tar header")
            return None
        expected = _number(header, 148, 8)
        unsigned = sum(header) - sum(header[148:156]) + 8 * 32
        if expected != unsigned:
            signed = sum(b - 256 if b > 127 else b for b in header[:148] + header[156:]) + 8 * 32
            if expected != signed:
                raise InvalidTar("invalid tar header")
        return header

    def _block(self) -> bytes | None:
        check_cancelled(self._cancelled)
        block = self._stream.read(BLOCK)
        if not block:
            return None
        if len(block) < BLOCK:
            raise InvalidTar("unexpected end of archive")
        return block

    def _skip(self) -> None:
        rest = self._left + self._padding
        if rest and self._pass is not None:
            rest -= self._pass(rest)
            if rest > self._padding:
                raise InvalidTar("unexpected end of archive inside a file")
            rest = 0
        while rest:
            check_cancelled(self._cancelled)
            data = self._stream.read(min(rest, 1 << 20))
            if not data:
                if rest > self._padding:
                    raise InvalidTar("unexpected end of archive inside a file")
                break
            rest -= len(data)
        self._left = self._padding = 0

    def _begin_data(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _extension(self, header: bytes, kind: str = "x") -> bytes:
        """The data of a header that speaks of others; those of one member, and all global ones, are one sum."""
        size = _number(header, 124, 12)
        if size < 0 or (total := self._extended[kind] + size + BLOCK) > self._max_header:
            raise InvalidTar(f"an extended header of {size} bytes is larger than {self._max_header}")
        self._extended[kind] = total
        self._begin_data(size)
        data = self._stream.read(size)
        if len(data) < size:
            raise InvalidTar("unexpected end of archive in an extended header")
        self._left = 0
        return data

    def _member(self, header: bytes, kind: str, pax: Mapping[str, bytes], long_name: bytes, long_link: bytes) -> Member:
        member = Member(
            name=_decode(long_name or pax.get("path") or _name(header)),
            kind=REGULAR if kind in _REGULAR_TYPES else kind,
            mode=_number(header, 100, 8) & 0o7777,
            uid=_owner(pax, "uid", header, 108),
            gid=_owner(pax, "gid", header, 116),
            size=_pax_number(pax, "size", header, 124, 12),
            mtime=max(-_FARTHEST, min(_FARTHEST, _mtime(pax, header))),
            linkname=_decode(long_link or pax.get("linkpath") or _text(header, 157, 100)),
        )
        if member.size < 0:
            raise InvalidTar(f"{member.name}: negative size")
        if member.kind in (CHAR, BLOCK_DEVICE):
            member.major = _pax_number(pax, "SCHILY.devmajor", header, 329, 8)
            member.minor = _pax_number(pax, "SCHILY.devminor", header, 337, 8)
        if kind == "\0" and member.name.endswith("/"):
            member.kind = DIRECTORY  # v7 has no other way to say so
        member.xattrs = {
            _decode(key.encode("latin-1"))[len(_XATTR) :]: value for key, value in pax.items() if key.startswith(_XATTR)
        }
        # A hard link may say the size of its target; the data is not repeated for it.
        self._begin_data(0 if member.kind in _NO_DATA else member.size)
        member.size = self._left
        member.real_size = member.size
        self._sparse(member, header, kind, pax)
        return member

    def _sparse(self, member: Member, header: bytes, kind: str, pax: Mapping[str, bytes]) -> None:
        if kind == "S":
            member.kind = REGULAR
            member.sparse = self._old_sparse(header)
            member.real_size = _number(header, 483, 12)
        elif member.kind == REGULAR and "GNU.sparse.major" in pax:
            if (pax["GNU.sparse.major"], pax.get("GNU.sparse.minor")) != (b"1", b"0"):
                raise InvalidTar(f"{member.name}: unknown sparse format")
            member.sparse = self._sparse_1_0()
            member.size = self._left
        elif member.kind == REGULAR and "GNU.sparse.map" in pax:
            numbers = [_decimal(part) for part in pax["GNU.sparse.map"].split(b",")]
            member.sparse = list(zip(numbers[::2], numbers[1::2], strict=False))
        else:
            return
        if "GNU.sparse.name" in pax:
            member.name = _decode(pax["GNU.sparse.name"])
        for key in ("GNU.sparse.size", "GNU.sparse.realsize"):
            if key in pax:
                member.real_size = _decimal(pax[key])
        self._check_sparse(member)

    def _check_sparse(self, member: Member) -> None:
        at = total = 0
        assert member.sparse is not None
        if len(member.sparse) > self._max_sparse:
            raise InvalidTar(f"{member.name}: more than {self._max_sparse} pieces")
        for offset, length in member.sparse:
            if offset < at or length < 0 or offset + length > member.real_size:
                raise InvalidTar(f"{member.name}: invalid sparse map")
            at = offset + length
            total += length
        if total != member.size:
            raise InvalidTar(f"{member.name}: invalid sparse map")

    def _old_sparse(self, header: bytes) -> list[tuple[int, int]]:
        pieces: list[tuple[int, int]] = []
        block, at, count, more = header, 386, 4, header[482]
        while True:
            for i in range(at, at + count * 24, 24):
                if block[i] == 0:
                    break
                pieces.append((_number(block, i, 12), _number(block, i + 12, 12)))
            if not more:
                return pieces
            if len(pieces) > self._max_sparse:
                raise InvalidTar("a sparse map is too long")
            following = self._block()
            if following is None:
                raise InvalidTar("unexpected end of archive in a sparse map")
            block, at, count, more = following, 0, 21, following[504]

    def _sparse_1_0(self) -> list[tuple[int, int]]:
        """The map stands in front of the data: decimal lines, padded to a block."""
        text = b""
        numbers: list[int] = []
        wanted = 1
        while len(numbers) < wanted:
            line, newline, rest = text.partition(b"\n")
            if not newline:
                block = self.read(BLOCK)
                if len(block) < BLOCK or len(text) > 64:
                    raise InvalidTar("invalid sparse map")
                text += block
                continue
            text = rest
            numbers.append(_decimal(line))
            if len(numbers) == 1:
                if numbers[0] > self._max_sparse:
                    raise InvalidTar("a sparse map is too long")
                wanted = 1 + 2 * numbers[0]
        return list(zip(numbers[1::2], numbers[2::2], strict=True))


def parse_pax(data: bytes) -> dict[str, bytes]:
    """The records `length key=value\\n` of an extended header; an empty value is as if there was none."""
    records: dict[str, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(data):
        if data[at] == 0:
            break  # padding
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if end <= space or end > len(data) or data[end - 1] != 0x0A:
            raise InvalidTar("invalid extended header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in (value if key in _NAMES else key):
            raise InvalidTar("invalid extended header")
        name = key.decode("latin-1")
        # Format 0.0 repeats these two keys, one pair a piece.
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(value)
        else:
            records[name] = value
        at = end
    if sparse:
        records["GNU.sparse.map"] = b",".join(sparse)
    return records


def _decode(raw: bytes) -> str:
    return os.fsdecode(raw)


def _text(header: bytes, at: int, size: int) -> bytes:
    return header[at : at + size].split(b"\0", 1)[0]


def _name(header: bytes) -> bytes:
    name = _text(header, 0, 100)
    prefix = b""
    if header[257:263] == b"ustar\0":
        prefix = _text(header, 345, 155)
    elif header[257:265] == b"ustar  \0" and not _are_times(header):
        # GNU's format has two times where ustar has the prefix, but Go's writer before 1.8, of many an old image, put
        # the prefix there all the same.
        prefix = _text(header, 345, 155)
        prefix = prefix if prefix.isascii() else b""
    return prefix + b"/" + name if prefix else name


def _are_times(header: bytes) -> bool:
    """Whether GNU's times of access and change are what is in their places."""
    try:
        _ = [_number(header, at, 12) for at in (345, 357) if header[at]]
    except InvalidTar:
        return False
    return True


def _number(header: bytes, at: int, size: int) -> int:
    raw = header[at : at + size]
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (size - 1))
        if raw[0] & 0x40:  # negative, two's complement of the remaining bits
            value -= 1 << (8 * size - 1)
        if not -_MOST <= value <= _MOST:
            raise InvalidTar("invalid tar header")
        return value
    text = raw.strip(b" \0").split(b"\0", 1)[0].rstrip(b" ")
    if not text:
        return 0
    if text.strip(b"01234567"):
        raise InvalidTar("invalid tar header")
    return int(text, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20 or (number := int(text)) > _MOST:
        raise InvalidTar("invalid number in an extended header")
    return number


def _pax_number(pax: Mapping[str, bytes], key: str, header: bytes, at: int, size: int) -> int:
    value = pax.get(key)
    return _decimal(value) if value else _number(header, at, size)


def _owner(pax: Mapping[str, bytes], key: str, header: bytes, at: int) -> int:
    """A user or group as the kernel takes it, which has 32 bits for it; -1 asks it to change nothing: root's, then."""
    value = pax.get(key)
    if value:
        number = _decimal(value[1:] if value[:1] in b"+-" else value) * (-1 if value.startswith(b"-") else 1)
    else:
        number = _number(header, at, 8)
    number &= _NO_ID
    return 0 if number == _NO_ID else number


def _mtime(pax: Mapping[str, bytes], header: bytes) -> int:
    text = pax.get("mtime")
    if not text:
        return _number(header, 136, 12) * _NANO
    whole, _, fraction = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    digits = whole.lstrip(b"+-")
    if not (digits.isdigit() and (not fraction or fraction.isdigit())) or len(digits) > 18:
        raise InvalidTar("invalid time in an extended header")
    return sign * (int(digits) * _NANO + int(fraction[:9].ljust(9, b"0") or b"0"))
