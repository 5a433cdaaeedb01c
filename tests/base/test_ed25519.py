"""Signatures of Ed25519."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.base import ed25519


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "", "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72", "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ],
)  # fmt: skip
def test_known_answers(seed: str, public: str, message: str, signature: str) -> None:
    """RFC 8032, 7.1, tests 1 and 2."""
    key, said, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert ed25519.public_key(bytes.fromhex(seed)) == key
    assert ed25519.sign(bytes.fromhex(seed), said) == signed
    assert ed25519.verify(key, signed, said)
    assert not ed25519.verify(key, signed, said + b"x")
    larger = int.from_bytes(signed[32:], "little") + ed25519.ORDER
    assert not ed25519.verify(key, signed[:32] + larger.to_bytes(32, "little"), said)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_only_the_key_that_signed_is_believed(seed: bytes, message: bytes, other: bytes) -> None:
    signed = ed25519.sign(seed, message)
    assert ed25519.verify(ed25519.public_key(seed), signed, message)
    assert ed25519.verify(ed25519.public_key(other), signed, message) == (other == seed)


def test_what_is_no_key_and_no_signature() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519.sign(b"short", b"")
    assert not ed25519.verify(b"short", bytes(64), b"")
    with pytest.raises(ValueError, match="no point"):
        ed25519.verify(b"\xff" * 32, bytes(64), b"")
