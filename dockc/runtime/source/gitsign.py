"""Whether a commit, or the annotated tag that names it, is signed by somebody who may.

Source: git, Documentation/gitformat-signature; BuildKit, source/git (`verifyGitSignature`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping

from dockc.base.record import Record
from dockc.errors import SolveError
from dockc.llb import attrs
from dockc.runtime.source import openpgp, sshsig
from dockc.runtime.source.openpgp import SignatureRefused

_SHA1 = 40
_PGP = b"-----BEGIN PGP SIGNATURE-----"
_ATTRIBUTES = (
    attrs.GIT_SIGNATURE_PUBKEY,
    attrs.GIT_SIGNATURE_REJECT_EXPIRED,
    attrs.GIT_SIGNATURE_REQUIRE_SIGNED_TAG,
    attrs.GIT_SIGNATURE_IGNORE_SIGNED_TAG,
)


class Demand(Record):
    """What is asked of signatures.

    Attributes:
        keys: armored OpenPGP keys, or lines with keys of SSH.
        reject_expired: a key that has expired since it signed is no good.
        require_tag: the tag itself must be signed.
        ignore_tag: the commit itself must be signed, whatever the tag is.
    """

    keys: str = ""
    reject_expired: bool = False
    require_tag: bool = False
    ignore_tag: bool = False


def demand_of(attributes: Mapping[str, str]) -> Demand | None:
    """What the attributes of a source ask for; None for nothing."""
    if not any(name in attributes for name in _ATTRIBUTES):
        return None
    keys, *flags = (attributes.get(name, "") for name in _ATTRIBUTES)
    return Demand(keys, *(flag == "true" for flag in flags))


def check(demand: Demand, commit: bytes, commit_hash: str, tag: bytes = b"", tag_hash: str = "") -> None:
    """Look at the raw objects of a commit and, where an annotated tag names it, of that.

    Raises:
        SignatureRefused: they are not signed as is asked.
        SolveError: an object is not the one that its hash names, or the tag names another commit.
    """
    _is(b"commit", commit, commit_hash)
    refused: SignatureRefused | None = None
    if tag and not demand.ignore_tag:
        _is(b"tag", tag, tag_hash)
        if not tag.startswith(b"object %s\ntype commit\n" % commit_hash.encode()):
            raise SolveError(f"git tag object {tag_hash} does not name the commit {commit_hash}")
        try:
            _verify(demand, *_signed_tag(tag))
        except SignatureRefused as error:
            refused = error
        else:
            return
    if demand.require_tag:
        raise refused or SignatureRefused("signed tag required but no signed tag found")
    _verify(demand, *_signed_commit(commit, len(commit_hash)))


def _is(kind: bytes, data: bytes, name: str) -> None:
    hasher = hashlib.sha1(usedforsecurity=False) if len(name) == _SHA1 else hashlib.sha256()
    hasher.update(b"%s %d\x00" % (kind, len(data)) + data)
    if hasher.hexdigest() != name:
        raise SolveError(f"git {kind.decode()} object is not {name}, but {hasher.hexdigest()}")


def _verify(demand: Demand, data: bytes, signature: bytes) -> None:
    keys = demand.keys.encode("utf-8", "surrogateescape")
    if not signature:
        raise SignatureRefused("git object is not signed")
    if signature.startswith(_PGP):
        openpgp.verify(io.BytesIO(data), signature, keys, reject_expired=demand.reject_expired)
    elif signature.startswith(sshsig.BEGIN):
        sshsig.verify(data, signature, keys, "git")
    else:
        raise SignatureRefused("invalid signature format")


def _signed_tag(tag: bytes) -> tuple[bytes, bytes]:
    """What is signed of a tag, and the signature: the last block in its message, to its end."""
    at = max(tag.rfind(b"\n" + begin) for begin in (_PGP, sshsig.BEGIN)) + 1
    return (tag[:at], tag[at:]) if at else (tag, b"")


def _signed_commit(commit: bytes, size: int) -> tuple[bytes, bytes]:
    """What is signed of a commit, and the signature by the hashes of its repository: a header that is not signed itself,
    nor is the one by other hashes.
    """
    wanted = b"gpgsig" if size == _SHA1 else b"gpgsig-sha256"
    head, separator, message = commit.partition(b"\n\n")
    kept: list[bytes] = []
    found: dict[bytes, list[bytes]] = {}
    into = kept
    for line in head.split(b"\n"):
        if not line.startswith(b" "):
            name, _, value = line.partition(b" ")
            into = kept
            if name in (b"gpgsig", b"gpgsig-sha256"):
                if name in found:
                    raise SignatureRefused("git object is signed several times")
                into = found[name] = []
                line = b" " + value
        into.append(line if into is kept else line[1:])
    return b"\n".join(kept) + separator + message, b"\n".join(found.get(wanted, ()))
