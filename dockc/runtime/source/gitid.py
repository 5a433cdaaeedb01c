"""What a git source operation asks for: its identifier and attributes, read and checked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from dockc.base.record import Record, replace
from dockc.errors import SolveError, without_credentials
from dockc.golang.text import quote
from dockc.llb import attrs, giturl
from dockc.oci import digest as digests
from dockc.runtime.source.blob import Locator, parse_locator
from dockc.runtime.source.gitsign import Demand, demand_of

_COMMIT = re.compile(r"[a-f0-9]{40}|[a-f0-9]{64}")
_HEX = re.compile(r"[a-fA-F0-9]+")
_GITHUB = ("https://github.com/", "https://www.github.com/")


class GitOptions(Record):
    """A git source.

    Attributes:
        remote: URL as git takes it; may hold credentials, so it is shown only through `shown`.
        ref: branch, tag, full ref or commit; "" is the remote's default branch.
        subdir: directory of the repository that becomes the root, "" for all.
        keep_git_dir: leave `.git` in the checkout.
        checksum: prefix of the commit (or tag object) hash that must come out, or "".
        token_secret: id of a secret with an access token.
        header_secret: id of a secret with a whole Authorization header.
        known_hosts: lines for ssh's known_hosts, or "".
        ssh_id: id of the agent that the build lends, or "".
        skip_submodules: leave submodules alone.
        commit_time: give every file the time of the commit.
        by_commit: ask the server for the commit itself; `ref` is only a name for it.
        bundle: blob that holds the repository as a bundle, which is fetched from in the remote's place; None for the
            remote itself.
        bundle_store: name of the OCI layout that has the blob, "" for the one that the locator names.
        as_bundle: the checkout is a file `bundle` with the commit and what leads to it, and no work tree.
        signed: who must have signed the commit or its tag; None for nobody.
    """

    remote: str
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    checksum: str = ""
    token_secret: str = ""
    header_secret: str = ""
    known_hosts: str = ""
    ssh_id: str = ""
    skip_submodules: bool = False
    commit_time: bool = False
    by_commit: bool = False
    bundle: Locator | None = None
    bundle_store: str = ""
    as_bundle: bool = False
    signed: Demand | None = None

    @property
    def shown(self) -> str:
        """The remote for messages, command lines and the repository's configuration, without a password."""
        return without_credentials(self.remote)

    @property
    def instead_of(self) -> tuple[tuple[str, str], ...]:
        """`(real, shown)` beginnings of URLs, where the remote carries something to log in: git puts the one for the
        other.

        Command lines can be read by everybody on the machine, a repository's configuration stays in the store; the
        environment is neither. Submodules beside the remote begin alike.
        """
        if self.shown == self.remote:
            return ()
        scheme, separator, rest = self.remote.partition("://")
        top = f"{scheme}{separator}{rest.partition('/')[0]}/"
        return ((top, without_credentials(top)), (self.remote, self.shown))

    @property
    def repository_key(self) -> str:
        """Names the remote, credentials included, without telling them."""
        return (
            self.remote
            if self.shown == self.remote
            else digests.from_bytes(self.remote.encode("utf-8", "surrogateescape"))
        )

    @property
    def token_scope(self) -> str:
        """URLs that a token is good for: the remote, and for GitHub all of its repositories (submodules)."""
        return next((prefix for prefix in _GITHUB if self.remote.startswith(prefix)), self.remote)

    @property
    def bundle_tip(self) -> str:
        """The full name that the commit has in a bundle that is made of it, by the ref that it was asked for."""
        if not self.ref or is_commit(self.ref):
            return "refs/heads/main"
        if self.ref.startswith("refs/tags/"):
            return self.ref
        return f"refs/heads/{self.ref.removeprefix('refs/').removeprefix('heads/')}"

    def cache_key(self, commit: str, ref: str) -> str:
        """Text that names the checkout of a commit."""
        key = commit
        if self.keep_git_dir:
            key += f".git#{ref}" if ref else ".git"
        if self.subdir:
            key += f":{self.subdir}"
        if self.skip_submodules:
            key += "(skip-submodules)"
        if self.commit_time:
            key += "(mtime=commit)"
        if self.as_bundle:
            key += f"(bundle {self.bundle_tip})"
        return key


def is_commit(text: str) -> bool:
    """Whether a text is a full commit hash."""
    return _COMMIT.fullmatch(text) is not None


def parse_options(identifier: str, attributes: Mapping[str, str]) -> GitOptions:
    """Read a source operation's identifier and attributes.

    Raises:
        SolveError: a value that makes no sense.
        DockcError: the URL is broken.
    """
    text = _with_scheme(identifier.removeprefix(attrs.SCHEME_GIT))
    url = giturl.parse(text)
    options = GitOptions(url.remote, url.ref, url.subdir)
    full = attributes.get(attrs.GIT_FULL_URL, "")
    if full:
        options = replace(options, remote=_with_scheme(full))
    if options.remote.startswith("-"):
        raise SolveError(f"invalid git remote {quote(options.remote)}")
    if options.ref.startswith("-"):
        raise SolveError(f"invalid git ref {quote(options.ref)}")
    checksum = attributes.get(attrs.GIT_CHECKSUM, "")
    if checksum and _HEX.fullmatch(checksum) is None:
        raise SolveError(f"invalid checksum {checksum} for Git URL, expected hex commit hash")
    options = replace(
        options,
        subdir=posixpath.normpath(f"/{options.subdir}").strip("/"),
        keep_git_dir=attributes.get(attrs.GIT_KEEP_DIR) == "true",
        checksum=checksum,
        token_secret=attributes.get(attrs.GIT_AUTH_TOKEN_SECRET, ""),
        header_secret=attributes.get(attrs.GIT_AUTH_HEADER_SECRET, ""),
        known_hosts=attributes.get(attrs.GIT_KNOWN_SSH_HOSTS, ""),
        ssh_id=attributes.get(attrs.GIT_MOUNT_SSH_SOCK, ""),
        skip_submodules=attributes.get(attrs.GIT_SKIP_SUBMODULES) == "true",
        commit_time=attributes.get(attrs.GIT_MTIME, "") == "commit",
        by_commit=attributes.get(attrs.GIT_FETCH_BY_COMMIT) == "true",
        bundle=parse_locator(attributes[attrs.GIT_BUNDLE]) if attributes.get(attrs.GIT_BUNDLE) else None,
        bundle_store=attributes.get(attrs.OCI_STORE, ""),
        as_bundle=attributes.get(attrs.GIT_CHECKOUT_BUNDLE) == "true",
        signed=demand_of(attributes),
    )
    _check_bundles(options)
    return _by_commit(options) if options.by_commit else options


def _check_bundles(options: GitOptions) -> None:
    """What bundles do not go together with. A bundle is what anybody gave it to be: the checksum says what is wanted."""
    if options.bundle is not None:
        if not options.checksum:
            raise SolveError("git.bundle requires git.checksum to be set")
        if digests.algorithm(options.bundle.digest) != digests.CANONICAL:
            raise SolveError(f"git.bundle locator {options.bundle}: digest algorithm not supported, expected sha256")
        if is_commit(options.ref) and not options.ref.startswith(options.checksum):
            raise SolveError(f"expected checksum to match {options.checksum}, got {options.ref}")
        if not options.ref and not is_commit(options.checksum):
            raise SolveError("git.bundle without a ref requires a full commit SHA in git.checksum")
    if options.as_bundle:
        if options.keep_git_dir:
            raise SolveError("git.checkoutbundle is incompatible with git.keepgitdir")
        if options.subdir:
            raise SolveError("git.checkoutbundle is incompatible with git.subdir")


def _by_commit(options: GitOptions) -> GitOptions:
    if is_commit(options.ref):
        return options
    if not options.checksum:
        raise SolveError("fetch-by-commit requires a checksum or a commit SHA ref")
    if not is_commit(options.checksum):
        raise SolveError(f"fetch-by-commit requires a full commit SHA checksum, got {quote(options.checksum)}")
    ref = options.ref or options.checksum
    if not ref.startswith("refs/") and not is_commit(ref):
        ref = f"refs/heads/{ref}"
    return replace(options, ref=ref)


def _with_scheme(text: str) -> str:
    return text if giturl.is_transport(text) else f"https://{text}"
