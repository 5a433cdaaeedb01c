"""Go's file modes (`io/fs.FileMode`), which travel in place of the system's own."""

from __future__ import annotations

import stat

_DIR, _LINK, _DEVICE, _PIPE, _SOCKET, _SETUID, _SETGID, _CHAR, _STICKY, _IRREGULAR = (
    1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 23, 1 << 22, 1 << 21, 1 << 20, 1 << 19,
)  # fmt: skip
_TYPES = {
    stat.S_IFDIR: _DIR,
    stat.S_IFLNK: _LINK,
    stat.S_IFIFO: _PIPE,
    stat.S_IFSOCK: _SOCKET,
    stat.S_IFBLK: _DEVICE,
    stat.S_IFCHR: _DEVICE | _CHAR,
}
_KINDS = {0: stat.S_IFREG} | {bits: kind for kind, bits in _TYPES.items()}
_MASK = _DIR | _LINK | _DEVICE | _PIPE | _SOCKET | _CHAR | _IRREGULAR
_SPECIAL = _SETUID | _SETGID | _STICKY
_EXTRA = ((_SETUID, stat.S_ISUID), (_SETGID, stat.S_ISGID), (_STICKY, stat.S_ISVTX))


def to_go(mode: int) -> int:
    """The system's mode as Go's."""
    plain = mode & 0o777 | _TYPES.get(stat.S_IFMT(mode), 0)
    return plain | sum(go for go, unix in _EXTRA if mode & unix) if mode & 0o7000 else plain


def from_go(mode: int) -> int:
    """Go's mode as the system's; 0 for a type that there is not."""
    kind = _KINDS.get(mode & _MASK, 0)
    if not (kind and mode & _SPECIAL):
        return kind and kind | mode & 0o777
    return kind | mode & 0o777 | sum(unix for go, unix in _EXTRA if mode & go)
