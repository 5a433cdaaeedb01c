"""Detached OpenPGP signatures: whether one of the keys that are given has signed some data.

Signatures and keys of version 4, by RSA (2048 bits and more) and Ed25519, over SHA-2. Nothing else is believed: no
weaker hash, no key that is revoked, had expired when it signed, was not made for signing, or is not bound to its
primary key. Source: RFC 9580 (packets, hashes of signatures), RFC 8017 (RSASSA-PKCS1-v1_5), RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from dockc.base import ed25519, rsa
from dockc.base.record import Record
from dockc.errors import SolveError

if TYPE_CHECKING:
    from hashlib import _Hash

_RSA, _RSA_SIGN, _EDDSA, _ED25519 = 1, 3, 22, 27
_HASHES = {8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_ED25519_OID = bytes.fromhex("2b06010401da470f01")
_SIGN = 0x02
_CHUNK = 1 << 20
_MOST = 1 << 20
_SKEW = 24 * 3600


class SignatureRefused(SolveError):
    """A signature that proves nothing; the message says why."""


class _Signature(Record):
    kind: int
    algorithm: int
    hash: int
    hashed: bytes  # from the version to the hashed subpackets
    subpackets: dict[int, bytes]  # the hashed ones
    issuer: bytes  # key id, b"" where it does not say
    left: bytes
    numbers: bytes

    @property
    def created(self) -> int:
        return int.from_bytes(self.subpackets.get(2, b""), "big")

    @property
    def trailer(self) -> bytes:
        return self.hashed + b"\x04\xff" + len(self.hashed).to_bytes(4, "big")


class _Key(Record):
    body: bytes
    created: int
    algorithm: int
    numbers: bytes

    @property
    def hashed(self) -> bytes:
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def id(self) -> bytes:
        return hashlib.sha1(self.hashed, usedforsecurity=False).digest()[-8:]


def verify(data: BinaryIO, signature: bytes, keys: bytes, *, reject_expired: bool = False) -> None:
    """Check an armored detached signature against armored public keys.

    `reject_expired`: keys must be good today, and not only when they signed.

    Raises:
        SignatureRefused: none of the keys has made it, or it cannot be understood.
    """
    packets = [body for tag, body in _packets(next(_armored(signature, b"SIGNATURE"), b"")) if tag == 2]
    if not packets:
        raise SignatureRefused("no signature packet found")
    found = _signature(packets[0])
    if found.kind != 0:
        raise SignatureRefused(f"a signature of type {found.kind:#x} is not one of a file")
    if found.created > time.time() + _SKEW:
        raise SignatureRefused("the signature is from the future")
    hasher = _hash(found)
    times = (found.created, int(time.time())) if reject_expired else (found.created,)
    usable = [key for block in _key_blocks(keys) for key in _signing_keys(block, times)]
    fitting = [key for key in usable if not found.issuer or key.id == found.issuer]
    if not fitting:
        raise SignatureRefused(f"signature made by unknown key {found.issuer.hex().upper()}")
    while chunk := data.read(_CHUNK):
        hasher.update(chunk)
    hasher.update(found.trailer)
    digest = hasher.digest()
    if not any(_proves(key, found, digest) for key in fitting):
        raise SignatureRefused(f"invalid signature by {fitting[0].id.hex().upper()}")


# --- keys -----------------------------------------------------------------------------------------------


def _key_blocks(keys: bytes) -> list[bytes]:
    try:
        return list(_armored(keys, b"PUBLIC KEY BLOCK"))
    except SignatureRefused as error:
        raise SignatureRefused(f"failed to read armored public key: {error.message}") from None


def _signing_keys(block: bytes, times: tuple[int, ...]) -> Iterator[_Key]:
    """The keys of a block that could sign at each of some times."""
    entities: list[list[tuple[int, bytes]]] = []
    for tag, body in _packets(block):
        if tag == 6:
            entities.append([])
        if entities:
            entities[-1].append((tag, body))
    if not entities:
        raise SignatureRefused("failed to read armored public key: no key in it")
    for packets in entities:
        first, *others = ({key.id: key for key in _of_entity(packets, when)} for when in times)
        yield from (key for name, key in first.items() if all(name in other for other in others))


_About = tuple["_Key | bytes | None", list[_Signature]]
"""A subkey, the name of a user (b"" for what is neither), or None for the key itself; and what is signed of it."""


def _of_entity(packets: list[tuple[int, bytes]], when: int) -> Iterator[_Key]:
    """The primary key and the subkeys with their signatures, each judged by what the primary key has said."""
    primary = _key(packets[0][1])
    if primary is None:
        return
    about = _grouped(packets[1:])
    if any(one.kind == 0x20 and _said(primary, one, primary.hashed) for _, made in about for one in made):
        return  # revoked as a whole
    latest = max(_own(primary, about), key=lambda one: one.created, default=None)
    if latest is None or _expired(primary, latest, when):
        return
    if _may_sign(latest, default=True) and primary.created <= when:
        yield primary
    for subject, made in about:
        if isinstance(subject, _Key) and _bound(primary, subject, made, when):
            yield subject


def _grouped(packets: list[tuple[int, bytes]]) -> list[_About]:
    about: list[_About] = [(None, [])]
    for tag, body in packets:
        if tag == 2:
            made = _try_signature(body)
            if made is not None:
                about[-1][1].append(made)
        elif tag == 13:
            about.append((body, []))
        elif tag in (14, 17):  # a picture is signed, too, but no picture decides here
            about.append(((_key(body) if tag == 14 else None) or b"", []))
    return about


def _own(primary: _Key, about: list[_About]) -> Iterator[_Signature]:
    """What a key has signed of itself: its names, and itself directly."""
    for subject, made in about:
        if isinstance(subject, _Key) or subject == b"":
            continue
        name = b"" if subject is None else b"\xb4" + len(subject).to_bytes(4, "big") + subject
        kinds = (0x1F,) if subject is None else (0x10, 0x11, 0x12, 0x13)
        yield from (one for one in made if one.kind in kinds and _said(primary, one, primary.hashed + name))


def _bound(primary: _Key, sub: _Key, made: list[_Signature], when: int) -> bool:
    """Whether a subkey is the primary key's own, made for signing, and was good at a time."""
    both = primary.hashed + sub.hashed
    if any(one.kind == 0x28 and _said(primary, one, both) for one in made):
        return False
    bindings = [one for one in made if one.kind == 0x18 and _said(primary, one, both)]
    latest = max(bindings, key=lambda one: one.created, default=None)
    if latest is None or not _may_sign(latest, default=False) or _expired(sub, latest, when) or sub.created > when:
        return False
    # A key that signs must say itself whose it is: else somebody could claim another's.
    back = _try_signature(latest.subpackets.get(32, b""))
    return back is not None and back.kind == 0x19 and _said(sub, back, both)


def _said(key: _Key, signature: _Signature, about: bytes) -> bool:
    try:
        hasher = _hash(signature)
    except SignatureRefused:
        return False
    hasher.update(about + signature.trailer)
    return _proves(key, signature, hasher.digest())


def _may_sign(signature: _Signature, *, default: bool) -> bool:
    flags = signature.subpackets.get(27)
    return default if flags is None else bool(flags[:1] and flags[0] & _SIGN)


def _expired(key: _Key, signature: _Signature, when: int) -> bool:
    lasts = int.from_bytes(signature.subpackets.get(9, b""), "big")
    return bool(lasts) and when > key.created + lasts


# --- numbers --------------------------------------------------------------------------------------------


def _hash(signature: _Signature) -> _Hash:
    if signature.hash not in _HASHES:
        raise SignatureRefused(f"hash algorithm {signature.hash} is not trusted")
    return hashlib.new(_HASHES[signature.hash])


def _proves(key: _Key, signature: _Signature, digest: bytes) -> bool:
    if digest[:2] != signature.left:
        return False
    try:
        if key.algorithm in (_RSA, _RSA_SIGN) and signature.algorithm in (_RSA, _RSA_SIGN):
            (modulus, exponent), (value,) = _mpis(key.numbers, 2), _mpis(signature.numbers, 1)
            return rsa.verify(modulus, exponent, value, _HASHES[signature.hash], digest)
        if key.algorithm == _EDDSA and signature.algorithm == _EDDSA:
            size = key.numbers[0]
            (point,) = _mpis(key.numbers[1 + size :], 1)
            r, s = _mpis(signature.numbers, 2)
            compressed = point.to_bytes(33, "big")
            if key.numbers[1 : 1 + size] != _ED25519_OID or compressed[0] != 0x40:
                return False
            return ed25519.verify(compressed[1:], r.to_bytes(32, "big") + s.to_bytes(32, "big"), digest)
        if key.algorithm == _ED25519 and signature.algorithm == _ED25519:
            return ed25519.verify(key.numbers[:32], signature.numbers[:64], digest)
    except (ValueError, IndexError, OverflowError):
        return False
    raise SignatureRefused(f"keys of algorithm {key.algorithm} are not supported", hint="Those of RSA and Ed25519 are.")


def _mpis(data: bytes, count: int) -> list[int]:
    """Numbers with their lengths in bits before them; raises ValueError."""
    found = []
    for _ in range(count):
        size = (int.from_bytes(data[:2], "big") + 7) // 8
        if len(data) < 2 + size:
            raise ValueError("a number that ends early")
        found.append(int.from_bytes(data[2 : 2 + size], "big"))
        data = data[2 + size :]
    return found


# --- forms ----------------------------------------------------------------------------------------------


def _armored(text: bytes, kind: bytes) -> Iterator[bytes]:
    """The contents of all armored blocks of a kind."""
    if len(text) > _MOST:
        raise SignatureRefused("keys or a signature of more than a megabyte")
    begin, end = b"-----BEGIN PGP " + kind + b"-----", b"-----END PGP " + kind + b"-----"
    lines = iter(text.splitlines())
    found = False
    for line in lines:
        if line.strip() != begin:
            continue
        body: list[bytes] = []
        in_headers = True
        for each in lines:
            stripped = each.strip()
            if stripped == end:
                break
            if in_headers and b":" in stripped:
                continue
            in_headers = False
            if stripped and not stripped.startswith(b"="):
                body.append(stripped)
        else:
            raise SignatureRefused(f"the armor of the {kind.decode().lower()} does not end")
        try:
            yield base64.b64decode(b"".join(body), validate=True)
        except binascii.Error as exc:
            raise SignatureRefused(f"the armor of the {kind.decode().lower()} is damaged") from exc
        found = True
    if not found:
        raise SignatureRefused(f"no armored {kind.decode().lower()} found")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise SignatureRefused("a packet that makes no sense")
        if head & 0x40:
            tag, size, at = head & 0x3F, *_length(data, at + 1)
        else:
            tag, width = (head >> 2) & 0xF, (1, 2, 4, 0)[head & 3]
            if not width:
                raise SignatureRefused("a packet of no length")
            size, at = int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width
        if at + size > len(data):
            raise SignatureRefused("a packet that ends early")
        yield tag, data[at : at + size]
        at += size


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length of the new form, and where it ends."""
    first = data[at] if at < len(data) else 0
    if first < 192:
        return first, at + 1
    if first < 224:
        second = data[at + 1] if at + 1 < len(data) else 0
        return ((first - 192) << 8) + second + 192, at + 2
    if first < 255:
        raise SignatureRefused("a packet in parts")
    return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5


def _key(body: bytes) -> _Key | None:
    """A key of version 4; None for others."""
    if len(body) < 6 or body[0] != 4:
        return None
    return _Key(body, int.from_bytes(body[1:5], "big"), body[5], body[6:])


def _try_signature(body: bytes) -> _Signature | None:
    try:
        return _signature(body)
    except SignatureRefused:
        return None


def _signature(body: bytes) -> _Signature:
    if len(body) < 8 or body[0] != 4:
        raise SignatureRefused("only signatures of version 4 are supported")
    size = int.from_bytes(body[4:6], "big")
    hashed = _subpackets(body[6 : 6 + size])
    at = 6 + size
    more = int.from_bytes(body[at : at + 2], "big")
    if at + 4 + more > len(body):
        raise SignatureRefused("a signature that ends early")
    loose = _subpackets(body[at + 2 : at + 2 + more])
    at += 2 + more
    issuer = hashed.get(33, loose.get(33, b""))[-8:] or hashed.get(16, loose.get(16, b""))
    # A signature back is a signature itself: where it stands makes no difference.
    subpackets = {**({32: loose[32]} if 32 in loose else {}), **hashed}
    return _Signature(
        body[1], body[2], body[3], body[: 6 + size], subpackets, issuer, body[at : at + 2], body[at + 2 :]
    )


def _subpackets(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        first = data[at]
        if first < 192:
            size, at = first, at + 1
        elif first < 255:
            size, at = ((first - 192) << 8) + (data[at + 1] if at + 1 < len(data) else 0) + 192, at + 2
        else:
            size, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
        if not size or at + size > len(data):
            raise SignatureRefused("a signature that ends early")
        found[data[at] & 0x7F] = data[at + 1 : at + size]
        at += size
    return found
