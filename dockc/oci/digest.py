"""Content digests: `algorithm:encoded`, checked, computed and verified while reading.

Source: OCI image specification, "Descriptors: Digests". Digests travel as plain `str`; the functions here
are the only ones that take them apart.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.errors import DigestMismatch, DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol
else:
    Protocol = object

CANONICAL = "sha256"
_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_SHAPE = pattern(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_LOWER_HEX = pattern(r"[a-f0-9]*")


class InvalidDigest(DockcError):
    """A text that is not a digest we can check."""


def validate(text: str) -> str:
    """Return the digest unchanged.

    Raises:
        InvalidDigest: wrong shape, wrong length, or an algorithm that is not sha256, sha384 or sha512.
    """
    algorithm, colon, encoded = text.partition(":")
    if not colon or not algorithm or not encoded:
        raise InvalidDigest("invalid checksum digest format")
    digits = _HEX_DIGITS.get(algorithm)
    if digits is None:
        shaped = _SHAPE.fullmatch(text) is not None
        raise InvalidDigest("unsupported digest algorithm" if shaped else "invalid checksum digest format")
    if len(encoded) != digits:
        raise InvalidDigest("invalid checksum digest length")
    if _LOWER_HEX.fullmatch(encoded) is None:
        raise InvalidDigest("invalid checksum digest format")
    return text


def is_valid(text: str) -> bool:
    """Whether `validate` would accept the text."""
    try:
        validate(text)
    except InvalidDigest:
        return False
    return True


def algorithm(digest: str) -> str:
    """The part before the colon of a valid digest."""
    return digest.partition(":")[0]


def encoded(digest: str) -> str:
    """The part after the colon of a valid digest (lower-case hex)."""
    return digest.partition(":")[2]


def from_bytes(data: bytes | memoryview, algorithm: str = CANONICAL) -> str:
    """Digest of the bytes."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.digest()


class Hasher:
    """A running digest.

    Attributes:
        size: bytes seen so far.
    """

    __slots__ = ("_algorithm", "_hash", "size")

    def __init__(self, algorithm: str = CANONICAL) -> None:
        if algorithm not in _HEX_DIGITS:
            raise InvalidDigest("unsupported digest algorithm")
        import hashlib  # loads OpenSSL, which compiling a file does without

        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take in more bytes."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> str:
        """`algorithm:hex` of everything seen so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class Reader(Protocol):
    """Anything with `read(n) -> bytes`."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end."""


class VerifyingReader:
    """Passes bytes on and raises at the end when they are not what was promised.

    Reading stops with an error as soon as more bytes arrive than `size`: a lying peer cannot fill the disk.
    """

    def __init__(self, inner: Reader, expected: str, size: int | None = None) -> None:
        self._inner = inner
        self._expected = validate(expected)
        self._size = size
        self._hasher = Hasher(algorithm(expected))

    def read(self, size: int = -1) -> bytes:
        """Next bytes; raises `DigestMismatch` at the end of a stream that is not the promised one."""
        data = self._inner.read(size)
        self._hasher.update(data)
        if self._size is not None and self._hasher.size > self._size:
            raise DigestMismatch(f"{self._expected}: more than the expected {self._size} bytes")
        if not data and size != 0:
            self._check()
        return data

    def _check(self) -> None:
        if self._size is not None and self._hasher.size != self._size:
            raise DigestMismatch(
                f"{self._expected}: unexpected end of data: got {self._hasher.size} of {self._size} bytes"
            )
        actual = self._hasher.digest()
        if actual != self._expected:
            raise DigestMismatch(f"unexpected digest: expected {self._expected}, got {actual}")

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(1 << 20):
            yield data


def check(data: bytes, expected: str) -> bytes:
    """Return the data when its digest is the expected one, else raise `DigestMismatch`."""
    actual = from_bytes(data, algorithm(validate(expected)))
    if actual != expected:
        raise DigestMismatch(f"unexpected digest: expected {expected}, got {actual}")
    return data
