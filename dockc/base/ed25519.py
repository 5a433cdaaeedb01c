"""Signatures over the curve Ed25519 (RFC 8032), in Python's own numbers.

How long signing takes depends on the key, so it is for keys that only those use who cannot measure it: see
`client.authority`, where a key proves nothing but that two sessions are of one user.
"""

from __future__ import annotations

import hashlib

_P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group that the base point generates."""
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]
_BASE_Y = 4 * pow(5, -1, _P) % _P


def public_key(seed: bytes) -> bytes:
    """The public key, 32 bytes, of a private one, which is any 32 bytes."""
    return _packed(_times(_secret(seed)[0], _point(_BASE_Y.to_bytes(32, "little"))))


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature, 64 bytes, of a message by a private key."""
    scalar, prefix = _secret(seed)
    base = _point(_BASE_Y.to_bytes(32, "little"))
    once = _number(prefix + message) % ORDER
    r = _packed(_times(once, base))
    h = _number(r + public_key(seed) + message) % ORDER
    return r + ((once + h * scalar) % ORDER).to_bytes(32, "little")


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature is that of a message by a public key's owner.

    Raises:
        ValueError: the key or the signature names no point of the curve.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= ORDER:
        return False
    key, r = _point(public), _point(signature[:32])
    h = _number(signature[:32] + public + message) % ORDER
    base = _point(_BASE_Y.to_bytes(32, "little"))
    left, right = _times(scalar, base), _sum(r, _times(h, key))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0


def _secret(seed: bytes) -> tuple[int, bytes]:
    """Scalar and prefix of a private key."""
    if len(seed) != 32:
        raise ValueError("a private key of Ed25519 has 32 bytes")
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254), digest[32:]


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little")


def _packed(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _point(data: bytes) -> _Point:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        raise ValueError("no point")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        raise ValueError("no point")
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _sum(one: _Point, two: _Point) -> _Point:
    a = (one[1] - one[0]) * (two[1] - two[0]) % _P
    b = (one[1] + one[0]) * (two[1] + two[0]) % _P
    c = 2 * one[3] * two[3] * _D % _P
    d = 2 * one[2] * two[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    total: _Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _sum(total, point)
        point = _sum(point, point)
        scalar >>= 1
    return total
