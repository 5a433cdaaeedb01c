"""Signatures of files: made by GnuPG (`signatures/`, keys of nobody), damaged here in every way."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.errors import DockcError, SolveError
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.source import openpgp
from dockc.runtime.source.http import HttpSource, parse_options
from dockc.runtime.source.openpgp import SignatureRefused, verify
from tests.runtime.registry_servers import Answer, Script
from tests.runtime.source.conftest import Context, files_of

DATA = b"what is signed"
FOLDER = Path(__file__).with_name("signatures")


def kept(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def check(signature: bytes, keys: bytes, data: bytes = DATA) -> None:
    verify(io.BytesIO(data), signature, keys)


@pytest.mark.parametrize("name", ["rsa", "ed", "old"])
def test_signatures_that_hold(name: str) -> None:
    check(kept(f"{name}.asc"), kept(f"{name}.pub"))
    # Among other keys, in either order.
    others = kept("ed.pub" if name == "rsa" else "rsa.pub")
    check(kept(f"{name}.asc"), others + b"\n" + kept(f"{name}.pub"))
    check(kept(f"{name}.asc"), kept(f"{name}.pub") + others)


@pytest.mark.parametrize(
    ("signature", "keys", "data", "words"),
    [
        ("rsa.asc", "rsa.pub", b"something else", "invalid signature by"),
        ("ed.asc", "ed.pub", DATA + b"\n", "invalid signature by"),
        ("rsa.asc", "ed.pub", DATA, "signature made by unknown key"),
        ("weak.asc", "weak.pub", DATA, "signature made by unknown key"),
        ("gone.asc", "gone.pub", DATA, "signature made by unknown key"),
        ("sha1.asc", "rsa.pub", DATA, "hash algorithm 2 is not trusted"),
        ("text.asc", "rsa.pub", DATA, "a signature of type 0x1 is not one of a file"),
        ("rsa.pub", "rsa.pub", DATA, "no armored signature found"),
        ("rsa.asc", "rsa.asc", DATA, "no armored public key block found"),
    ],
)
def test_signatures_that_do_not(signature: str, keys: str, data: bytes, words: str) -> None:
    with pytest.raises(SignatureRefused, match=words):
        check(kept(signature), kept(keys), data)


def test_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 1_600_000_000.0)
        with pytest.raises(SignatureRefused, match="from the future"):
            check(kept("rsa.asc"), kept("rsa.pub"))
    key = openpgp._Key(b"", 1000, 1, b"")
    for lasts, when, expired in ((0, 10**9, False), (100, 1100, False), (100, 1101, True)):
        told = {9: lasts.to_bytes(4, "big")} if lasts else {}
        signature = openpgp._Signature(0x18, 1, 8, b"", told, b"", b"", b"")
        assert openpgp._expired(key, signature, when) is expired


def _damaged(text: bytes, at: int, bit: int) -> bytes:
    lines = text.splitlines()
    start = lines.index(b"") + 1
    end = next(n for n, line in enumerate(lines) if n >= start and line.startswith((b"=", b"-")))
    body = bytearray(base64.b64decode(b"".join(lines[start:end])))
    body[at % len(body)] ^= 1 << bit
    return b"\n".join([*lines[:start], base64.b64encode(bytes(body)), lines[-1]]) + b"\n"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["rsa", "ed"]), st.booleans(), st.integers(0, 4000), st.integers(0, 7))
def test_no_damage_makes_another_file_pass(name: str, of_key: bool, at: int, bit: int) -> None:
    signature, keys = kept(f"{name}.asc"), kept(f"{name}.pub")
    if of_key:
        keys = _damaged(keys, at, bit)
    else:
        signature = _damaged(signature, at, bit)
    with pytest.raises(SignatureRefused):
        check(signature, keys, b"another file")


@given(st.binary(max_size=300))
def test_nonsense(data: bytes) -> None:
    for kind in (b"SIGNATURE", b"PUBLIC KEY BLOCK"):
        text = b"-----BEGIN PGP %s-----\n\n%s\n-----END PGP %s-----\n" % (kind, base64.b64encode(data), kind)
        for signature, keys in ((text, kept("rsa.pub")), (kept("rsa.asc"), text)):
            with pytest.raises(SignatureRefused):
                check(signature, keys)


def test_a_download_with_a_signature(refs: RefManager, ctx: Context) -> None:
    def source(body: bytes, server: Script, **more: str) -> HttpSource:
        told = {"http.sig.signature": kept("ed.asc").decode(), "http.sig.pubkey": kept("ed.pub").decode()}
        return HttpSource(parse_options(f"{server.url}/x", {**told, **more}), refs)

    for body in (DATA, b"forged"):
        with Script(lambda _, body=body: Answer(200, body)) as server:  # type: ignore[misc]
            one = source(body, server)
            if body == DATA:
                one.key(ctx)
                with one.snapshot(ctx) as ref:
                    assert files_of(refs, ref) == {"x": DATA}
            else:
                with pytest.raises(SolveError, match="failed to verify pgp signature: invalid signature"):
                    one.key(ctx)
    with pytest.raises(DockcError, match="needs both the signature and the public key"):
        parse_options("http://x/y", {"http.sig.signature": "x"})
