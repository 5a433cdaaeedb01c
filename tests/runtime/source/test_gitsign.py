"""Signed commits and tags, made by git with GnuPG and OpenSSH."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockc.errors import SolveError
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.source import gitsign, sshsig
from dockc.runtime.source.found import FoundGit
from dockc.runtime.source.git import find_commit
from dockc.runtime.source.gitsign import Demand, check
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.openpgp import SignatureRefused
from tests.runtime.registry_servers import need
from tests.runtime.source.conftest import Context
from tests.runtime.source.test_git import Repository, checkout, daemon, make

__all__ = ["daemon"]
PGP, SSH = ("pgp-rsa", "pgp-ed25519", "pgp-expired"), ("ssh-ed25519", "ssh-rsa")
USABLE = (*PGP[:2], *SSH)


@dataclass
class Keys:
    """Keys of nobody, by kind; `config` is what git is told, `public` what a verifier is given."""

    home: Path

    def config(self, kind: str) -> tuple[str, ...]:
        if kind in SSH:
            return ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.home / kind}.pub")
        return ("-c", f"gpg.program={self.home / kind}.sh", "-c", f"user.signingkey={kind}@nowhere")

    def public(self, kind: str) -> str:
        return (self.home / f"{kind}.pub").read_text()


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    gpg, keygen = need("gpg"), need("ssh-keygen")
    need("git")
    home = Path(tempfile.mkdtemp(prefix="dk"))  # a short path: the agent's socket lies in it
    (home / "gnupg").mkdir(mode=0o700)
    try:
        for kind in SSH:
            subprocess.run([keygen, "-q", "-t", kind[4:], "-N", "", "-C", "nobody", "-f", str(home / kind)], check=True)
        for kind in PGP:
            past = ["--faked-system-time", "20240101T000000"] if kind == "pgp-expired" else []
            command = [gpg, "--homedir", str(home / "gnupg"), "--batch", "--quiet", *past, "--pinentry-mode", "loopback", "--passphrase", ""]
            program = home / f"{kind}.sh"
            program.write_text(f'#!/bin/sh\nexec {" ".join(command[:-1])} "" "$@"\n')
            program.chmod(0o755)
            name, algorithm = f"{kind}@nowhere", "ed25519" if kind == "pgp-ed25519" else "rsa2048"
            subprocess.run([*command, "--quick-generate-key", name, algorithm, "sign", "1d" if past else "0"], check=True, capture_output=True)
            armored = subprocess.run([*command, "--armor", "--export", name], check=True, capture_output=True).stdout
            (home / f"{kind}.pub").write_bytes(armored)
        yield Keys(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home / "gnupg"), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Signed:
    """The raw objects of a commit and of the tag that names it."""

    commit: bytes
    commit_hash: str
    tag: bytes
    tag_hash: str

    def check(self, keys: str, **more: bool) -> None:
        check(Demand(keys, **more), self.commit, self.commit_hash, self.tag, self.tag_hash)


def objects(repo: Repository, tag: str = "v1") -> Signed:
    names = repo.git("rev-parse", f"{tag}^{{commit}}"), repo.git("rev-parse", tag)
    raw = [subprocess.run(["git", "cat-file", kind, name], cwd=repo.path, check=True, capture_output=True).stdout for kind, name in zip(("commit", "tag"), names, strict=True)]
    return Signed(raw[0], names[0], raw[1], names[1])


def signed(keys: Keys, path: Path, commit: str = "", tag: str = "", *init: str) -> Repository:
    """A repository with a commit and an annotated tag `v1` on it, each signed by a kind of key, or not."""
    repo = Repository(path, *init)
    (path / "a").write_text("A")
    repo.git("add", "a")
    repo.git(*(keys.config(commit) if commit else ()), "commit", "-q", *(["-S"] if commit else []), "-m", "one\n\nmore\n")
    repo.git(*(keys.config(tag) if tag else ()), "tag", "-s" if tag else "-a", "v1", "-m", "release")
    return repo


@pytest.mark.parametrize("kind", USABLE)
@pytest.mark.parametrize("init", [(), ("--object-format=sha256",)], ids=["sha1", "sha256"])
def test_who_has_signed(keys: Keys, tmp_path: Path, kind: str, init: tuple[str, ...]) -> None:
    found = objects(signed(keys, tmp_path / "repo", kind, "", *init))
    found.check(keys.public(kind), reject_expired=True)
    found.check(keys.public(kind), ignore_tag=True)
    # Among other keys of its sort.
    found.check("".join(map(keys.public, PGP if kind in PGP else SSH)))
    for other in USABLE:
        if other != kind:
            with pytest.raises(SignatureRefused):
                found.check(keys.public(other))
    with pytest.raises(SignatureRefused, match=r"failed to read armored public key|failed to parse ssh public key"):
        found.check(keys.public("ssh-rsa" if kind in PGP else "pgp-rsa"))
    with pytest.raises(SignatureRefused, match="git object is not signed"):
        found.check(keys.public(kind), require_tag=True)
    tagged = objects(signed(keys, tmp_path / "tagged", "", kind, *init))
    tagged.check(keys.public(kind))
    tagged.check(keys.public(kind), require_tag=True)
    with pytest.raises(SignatureRefused, match="git object is not signed"):
        tagged.check(keys.public(kind), ignore_tag=True)


def test_the_commit_counts_where_the_tag_is_somebody_else_s(keys: Keys, tmp_path: Path) -> None:
    found = objects(signed(keys, tmp_path / "repo", "pgp-rsa", "ssh-ed25519"))
    found.check(keys.public("pgp-rsa"))
    found.check(keys.public("ssh-ed25519"))
    with pytest.raises(SignatureRefused, match="failed to parse ssh public key"):
        found.check(keys.public("pgp-rsa"), require_tag=True)
    with pytest.raises(SignatureRefused, match="signed tag required but no signed tag found"):
        check(Demand(keys.public("pgp-rsa"), require_tag=True), found.commit, found.commit_hash)


def test_a_key_that_has_expired_since(keys: Keys, tmp_path: Path) -> None:
    found = objects(signed(keys, tmp_path / "repo", "pgp-expired"))
    found.check(keys.public("pgp-expired"))
    with pytest.raises(SignatureRefused):
        found.check(keys.public("pgp-expired"), reject_expired=True)


def test_objects_that_are_others(keys: Keys, tmp_path: Path) -> None:
    """The names that a server gives are held against the objects, and the tag's against the commit."""
    repo = signed(keys, tmp_path / "repo", "", "ssh-ed25519")
    found, public = objects(repo), keys.public("ssh-ed25519")
    (repo.path / "a").write_text("B")
    repo.git("commit", "-qam", "not signed")
    repo.git("tag", "-a", "v1.1", "-m", "other")
    other = objects(repo, "v1.1")
    for wrong in (
        Signed(other.commit, other.commit_hash, found.tag, found.tag_hash),
        Signed(other.commit, found.commit_hash, found.tag, found.tag_hash),
        Signed(found.commit, found.commit_hash, found.tag.replace(b"release", b"RELEASE"), found.tag_hash),
    ):
        with pytest.raises(SolveError, match=r"does not name the commit|object is not"):
            wrong.check(public)


def test_every_byte_counts(keys: Keys, tmp_path: Path) -> None:
    found = objects(signed(keys, tmp_path / "repo", "ssh-rsa"))
    data, signature = gitsign._signed_commit(found.commit, len(found.commit_hash))
    public = keys.public("ssh-rsa").encode()
    sshsig.verify(data, signature, public, "git")
    for at in range(len(data)):
        with pytest.raises(SignatureRefused):
            sshsig.verify(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], signature, public, "git")
    for at in range(0, len(signature), 7):
        damaged = signature[:at] + bytes([signature[at] ^ 4]) + signature[at + 1 :]
        for one in (damaged, signature[:at]):
            with pytest.raises(SignatureRefused):
                sshsig.verify(data, one, public, "git")
    with pytest.raises(SignatureRefused, match="namespace"):
        sshsig.verify(data, signature, public, "file")
    with pytest.raises(SignatureRefused, match="several times"):
        gitsign._signed_commit(found.commit.replace(b"gpgsig ", b"gpgsig x\ngpgsig ", 1), 40)


def test_sources(keys: Keys, refs: RefManager, ctx: Context, daemon: str, tmp_path: Path) -> None:
    signed(keys, tmp_path / "repos" / "app", "pgp-rsa", "ssh-ed25519")
    url = f"{daemon}/app"
    options = {"sig.pubkey": keys.public("ssh-ed25519"), "sig.requiresignedtag": "true"}
    assert checkout(refs, ctx, make(refs, url, "#v1", **options)) == {"a": b"A"}
    with pytest.raises(SignatureRefused, match=rf"{url}#v1: .*another key|{url}#v1: failed"):
        make(refs, url, "#v1", **{**options, "sig.pubkey": keys.public("ssh-rsa")}).key(ctx)
    with pytest.raises(SignatureRefused, match="signed tag required"):
        make(refs, url, "#main", **options).key(ctx)
    assert checkout(refs, ctx, make(refs, url, "#main", **{"sig.pubkey": keys.public("pgp-rsa")})) == {"a": b"A"}
    # The compiler's question is answered for what is signed alone, too.
    attributes = {"git.fullurl": url, "git.sig.pubkey": keys.public("pgp-rsa")}
    assert isinstance(find_commit(f"git://{url.partition('://')[2]}#v1", attributes, Memory(refs.root)), FoundGit)
    with pytest.raises(SignatureRefused):
        find_commit(f"git://{url.partition('://')[2]}#v1", {**attributes, "git.sig.pubkey": ""}, Memory(refs.root))


def test_objects_are_fetched_once(keys: Keys, refs: RefManager, ctx: Context, daemon: str, tmp_path: Path) -> None:
    """What an object's hash names never changes: the next build looks at what is kept, and asks the remote for the ref alone."""
    repo = signed(keys, tmp_path / "repos" / "app", "ssh-ed25519")
    options = {"sig.pubkey": keys.public("ssh-ed25519")}
    make(refs, f"{daemon}/app", "#main", **options).key(ctx)
    for folder, _, files in os.walk(repo.path / ".git" / "objects"):
        for name in files:
            Path(folder, name).chmod(0)
            Path(folder, name).write_bytes(b"broken")
    make(refs, f"{daemon}/app", "#main", **options).key(ctx)
