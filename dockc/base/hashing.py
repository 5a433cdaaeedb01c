"""Digests of short texts without loading OpenSSL, which takes longer than hashing them."""

from __future__ import annotations


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of a short text; does not load OpenSSL where the interpreter brings its own."""
    found: str = _sha256(data).hexdigest()
    return found


try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:
        from hashlib import sha256 as _sha256  # type: ignore[no-redef, unused-ignore]
