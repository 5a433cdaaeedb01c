"""Who is at the other end of a connection: what the system or a certificate vouches for, else nobody."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from dockc.rpc.transports import peer_of


class Shown(asyncio.Transport):
    """A transport that knows only this of itself."""

    def __init__(self, **extra: object) -> None:
        super().__init__(extra)


def test_a_local_socket_names_its_user() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(Shown(socket=ours)) == f"user {os.getuid()}"


@pytest.mark.parametrize("user", [65534, -1])
def test_a_user_without_a_number_here_is_nobody(user: int) -> None:
    link = SimpleNamespace(family=socket.AF_UNIX, getsockopt=lambda *_asked: struct.pack("3i", 1, user, user))
    assert peer_of(Shown(socket=link)) == ""


def test_a_socket_that_does_not_tell_is_nobody() -> None:
    def getsockopt(*_asked: object) -> bytes:
        raise OSError

    assert peer_of(Shown(socket=SimpleNamespace(family=socket.AF_UNIX, getsockopt=getsockopt))) == ""


def test_tcp_without_a_certificate_is_nobody() -> None:
    with socket.socket() as link:
        assert peer_of(Shown(socket=link)) == ""
    assert peer_of(Shown()) == ""


@pytest.mark.parametrize(
    ("mode", "shown", "expected"),
    [
        (ssl.CERT_REQUIRED, b"der", f"certificate {hashlib.sha256(b'der').hexdigest()}"),
        (ssl.CERT_REQUIRED, None, ""),
        (ssl.CERT_NONE, b"der", ""),
    ],
)
def test_only_a_certificate_that_was_verified_names_anybody(
    mode: ssl.VerifyMode, shown: bytes | None, expected: str
) -> None:
    def getpeercert(binary_form: bool = False) -> Any:
        assert binary_form
        return shown

    secured = SimpleNamespace(getpeercert=getpeercert, context=SimpleNamespace(verify_mode=mode))
    with socket.socket() as link:
        assert peer_of(Shown(ssl_object=secured, socket=link)) == expected
