"""Signatures by RSA as RSASSA-PKCS1-v1_5 makes them (RFC 8017, 8.2.2), over SHA-2."""

from __future__ import annotations

_PREFIXES = {
    "sha224": "302d300d06096086480165030402040500041c",
    "sha256": "3031300d060960864801650304020105000420",
    "sha384": "3041300d060960864801650304020205000430",
    "sha512": "3051300d060960864801650304020305000440",
}
"""How a DigestInfo begins, by the hash that it is of (RFC 8017, 9.2)."""
_LEAST_BITS = 2048


def verify(modulus: int, exponent: int, signature: int, algorithm: str, digest: bytes) -> bool:
    """Whether a signature is that of a digest, which `algorithm` of hashlib has made, by a key of 2048 bits or more."""
    size = (modulus.bit_length() + 7) // 8
    if modulus.bit_length() < _LEAST_BITS or not 0 <= signature < modulus or exponent < 3 or not exponent & 1:
        return False
    info = bytes.fromhex(_PREFIXES[algorithm]) + digest
    wanted = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    return pow(signature, exponent, modulus).to_bytes(size, "big") == wanted
