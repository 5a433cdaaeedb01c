"""Git bundles: repositories in one file, as what is fetched from and as what a checkout is.

Both ends go through a bare repository of the moment, so that nothing of a bundle gets into the shared repository but
the commit that was asked for, and nothing of the shared one but that into a bundle.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.errors import SolveError
from dockc.golang.text import quote
from dockc.runtime.source.gitcli import GitError
from dockc.runtime.source.gitid import is_commit

if TYPE_CHECKING:
    from dockc.runtime.source.blob import Blobs
    from dockc.runtime.source.gitcli import Git
    from dockc.runtime.source.gitid import GitOptions

FILE = "bundle"
"""What the file in a checkout is called."""
_BIG = 64
"""Digits of a hash in a repository of SHA-256."""


@contextmanager
def unpacked(options: GitOptions, git: Git, blobs: Blobs) -> Iterator[str]:
    """The URL of a bare repository of the moment with all that the bundle holds.

    Raises:
        SolveError: the blob cannot be had, is no bundle, or has not the commit that the checksum names.
    """
    assert options.bundle is not None
    with tempfile.TemporaryDirectory(prefix="dockc-bundle-") as place:
        packed, folder = Path(place, "bundle.pack"), Path(place, "repo.git")
        with packed.open("xb") as file:
            blobs.copy(options.bundle, file, store=options.bundle_store)
        hashing = ["--object-format=sha256"] if _is_big(git, packed, options) else []
        folder.mkdir()
        repository = git.at(git_dir=folder)
        repository.run("-c", "init.defaultBranch=master", "init", "--bare", *hashing)
        try:
            repository.run("fetch", str(packed), "+refs/*:refs/*")
        except GitError as error:
            raise GitError(f"failed to import git bundle {options.bundle}: {error.message}", error.stderr) from error
        packed.unlink()
        if not repository.succeeds("cat-file", "-e", f"{options.checksum}^{{commit}}"):
            raise SolveError(f"commit {options.checksum} not found in bundle {options.bundle}")
        yield f"file://{folder}"


def _is_big(git: Git, packed: Path, options: GitOptions) -> bool:
    """Whether a bundle's hashes are of SHA-256."""
    try:
        listing = git.text("ls-remote", "--", str(packed))
    except GitError as error:
        raise GitError(f"failed to inspect git bundle {options.bundle}: {error.message}", error.stderr) from error
    first = listing.partition("\n")[0].partition("\t")[0]
    if not first:
        raise SolveError(f"failed to inspect git bundle {options.bundle}: no refs found")
    if not is_commit(first):
        raise SolveError(f"failed to inspect git bundle {options.bundle}: invalid object ID {quote(first)}")
    return len(first) == _BIG


def write(git: Git, bare: Path, root: Path, name: str, commit: str) -> None:
    """Make the file `bundle` in `root` of a commit of the repository `bare`, which must have all that leads to it.

    Args:
        git: how to run git.
        bare: the repository.
        root: the checkout.
        name: full name of the commit in the bundle.
        commit: its hash, or that of a tag's object.

    Raises:
        SolveError: git cannot do it.
    """
    hashing = ["--object-format=sha256"] if len(commit) == _BIG else []
    with tempfile.TemporaryDirectory(prefix="dockc-bundle-") as place:
        folder, packed = Path(place, "repo.git"), Path(place, "out.bundle")
        folder.mkdir()
        repository = git.at(git_dir=folder)
        try:
            repository.run("-c", "init.defaultBranch=master", "init", "--bare", *hashing)
            repository.run("fetch", f"file://{bare}", "--", commit)
            repository.run("update-ref", name, commit)
            repository.run("bundle", "create", str(packed), name)
        except GitError as error:
            raise GitError(f"failed to create git bundle for {commit}: {error.message}", error.stderr) from error
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(root / FILE, flags, 0o644)
        with packed.open("rb") as source, open(handle, "wb") as target:  # noqa: PTH123 - a descriptor
            shutil.copyfileobj(source, target)
            os.fchmod(handle, 0o644)
