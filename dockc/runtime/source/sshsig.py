"""Signatures that `ssh-keygen -Y sign` makes: whether one of the keys that are given has signed some data.

Keys of Ed25519, on a security token too, and of RSA with 2048 bits and more, over SHA-2. Source: OpenSSH, PROTOCOL.sshsig,
PROTOCOL.u2f; RFC 4253 (6.6), RFC 8332 (RSA with SHA-2), RFC 8709 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from itertools import pairwise

from dockc.base import ed25519, rsa
from dockc.golang.text import quote
from dockc.runtime.source.openpgp import SignatureRefused

BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_END = b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_ED25519, _SK_ED25519, _RSA = b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com", b"ssh-rsa"
_RSA_HASHES = {b"rsa-sha2-256": "sha256", b"rsa-sha2-512": "sha512"}
_MOST = 1 << 20


class _Reader:
    """The fields of a message of SSH, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, size: int) -> bytes:
        """The next bytes; raises ValueError where there are fewer."""
        if len(self.rest) < size:
            raise ValueError("a field that ends early")
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())


def verify(data: bytes, signature: bytes, keys: bytes, namespace: str) -> None:
    """Check an armored signature against public keys.

    Args:
        data: what is signed.
        signature: with its armor.
        keys: one a line, as in `authorized_keys` or a `.pub` file.
        namespace: what the signature must be for, such as `git`.

    Raises:
        SignatureRefused: none of the keys has made it, or it cannot be understood.
    """
    try:
        reader = _Reader(_unarmored(signature))
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise ValueError("no signature of SSH")
        version = reader.number()
        signer, said, reserved, hashing, made = (reader.string() for _ in range(5))
    except (ValueError, binascii.Error) as error:
        raise SignatureRefused(f"failed to parse ssh signature: {error}") from None
    if version != 1:
        raise SignatureRefused(f"unsupported SSH signature version: {version}")
    if hashing not in (b"sha256", b"sha512"):
        raise SignatureRefused(f"unsupported SSH signature hash algorithm: {_shown(hashing)}")
    if said != namespace.encode():
        raise SignatureRefused(f"unexpected SSH signature namespace: {_shown(said)}")
    known = list(_public_keys(keys))
    if not known:
        raise SignatureRefused("failed to parse ssh public key: no key found")
    if signer not in known:
        raise SignatureRefused("failed to verify ssh signature: it was made by another key")
    digest = hashlib.new(hashing.decode(), data).digest()
    signed = _MAGIC + b"".join(len(one).to_bytes(4, "big") + one for one in (said, reserved, hashing, digest))
    try:
        proven = _proves(_Reader(signer), _Reader(made), signed)
    except (ValueError, OverflowError):
        proven = False
    if not proven:
        raise SignatureRefused("failed to verify ssh signature: it is not valid")


def _proves(key: _Reader, made: _Reader, signed: bytes) -> bool:
    kind, by, value = key.string(), made.string(), made.string()
    if kind == _ED25519 and by == kind:
        return _ed25519(key.string(), value, signed)
    if kind == _SK_ED25519 and by == kind:
        point, application = key.string(), key.string()
        # What a token signs holds what it counts and whether somebody has touched it.
        about = hashlib.sha256(application).digest() + made.take(5) + hashlib.sha256(signed).digest()
        return _ed25519(point, value, about)
    if kind == _RSA and by in _RSA_HASHES:
        exponent, modulus = (int.from_bytes(key.string(), "big") for _ in range(2))
        algorithm = _RSA_HASHES[by]
        digest = hashlib.new(algorithm, signed).digest()
        return rsa.verify(modulus, exponent, int.from_bytes(value, "big"), algorithm, digest)
    raise SignatureRefused(
        f"ssh signatures of {_shown(by)} by keys of {_shown(kind)} are not supported",
        hint="Those of Ed25519, and of RSA with SHA-2, are.",
    )


def _ed25519(point: bytes, value: bytes, message: bytes) -> bool:
    return len(point) == 32 and len(value) == 64 and ed25519.verify(point, value, message)


def _unarmored(text: bytes) -> bytes:
    if len(text) > _MOST:
        raise ValueError("more than a megabyte")
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 2 or lines[0] != BEGIN or lines[-1] != _END:
        raise ValueError("its armor is damaged")
    return base64.b64decode(b"".join(lines[1:-1]), validate=True)


def _public_keys(text: bytes) -> Iterator[bytes]:
    """The keys of all lines that have one; options before it and words after it are passed over."""
    if len(text) > _MOST:
        raise SignatureRefused("failed to parse ssh public key: more than a megabyte")
    for line in text.splitlines():
        words = line.split()
        if not line.lstrip().startswith(b"#"):
            for kind, word in pairwise(words):
                try:
                    blob = base64.b64decode(word, validate=True)
                    if _Reader(blob).string() == kind:
                        yield blob
                        break
                except (ValueError, binascii.Error):
                    continue


def _shown(text: bytes) -> str:
    return quote(text[:64].decode("ascii", "replace"))
