"""Which certificates are trusted: the same with every Python, and those that BuildKit trusts."""

from __future__ import annotations

import os
import ssl

from dockc.base.files import need_regular
from dockc.errors import UsageError

LIMIT = 64 << 20
"""Bytes of a file of certificates at most; the largest bundles have less than one."""


def context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, *, ca: str = "") -> ssl.SSLContext:
    """What Python recommends, with Go's rules for chains (`crypto/x509`).

    Python 3.13 refuses authorities without a key usage or a key's identifier, which Go and older versions take, and
    takes, as Go does, an intermediate authority that is trusted by itself, which older versions refuse.

    Args:
        purpose: whose certificate is looked at: a server's, or with CLIENT_AUTH a client's.
        ca: a file of authorities; "" is the machine's.

    Raises:
        OSError: the file cannot be read.
        UsageError: that of the environment (`SSL_CERT_FILE`) is there and cannot be read.
        ssl.SSLError: it has no certificates.
    """
    # OpenSSL opens what it is told of by itself, and would wait for a pipe and read a device for ever.
    if ca:
        need_regular(ca, LIMIT)
    elif (own := os.environ.get("SSL_CERT_FILE")) and os.path.exists(own):  # noqa: PTH110  lean
        try:
            need_regular(own, LIMIT)
        except OSError as exc:
            raise UsageError(f"cannot read SSL_CERT_FILE={own}: {exc.strerror}") from exc
    made = ssl.create_default_context(purpose, cafile=ca or None)
    # Python's own default leaves it to how OpenSSL was built and configured, and some builds have no limit.
    made.minimum_version = max(made.minimum_version, ssl.TLSVersion.TLSv1_2)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def show(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Have a context show a certificate of ours. Nobody is asked for the password of a key: nobody may be there.

    Raises:
        UsageError: the key has one.
        OSError, ssl.SSLError: a file cannot be read, or the two do not belong together.
    """

    def password() -> str:
        raise UsageError(f"the key {key} has a password", hint="Write it without one: openssl pkey -in KEY -out PLAIN.")

    for file in (cert, key):
        need_regular(file, LIMIT)
    context.load_cert_chain(cert, key, password)
