"""Git repositories as sources: a commit is looked up, fetched into a shared repository, and checked out.

The shared repository of a remote stays in the store, so that a later commit costs only what is new.
"""

from __future__ import annotations

import os
import re
import secrets as random
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakValueDictionary

from dockc.base import jsontext
from dockc.base.record import Mutable, Record, replace
from dockc.errors import SolveError, StoreError, without_credentials
from dockc.golang.text import dump_json, quote
from dockc.runtime.fsutil.dirs import every_dir
from dockc.runtime.fsutil.inroot import entries
from dockc.runtime.refs.types import RecordType
from dockc.runtime.registry.transport import NOT_ASKED
from dockc.runtime.session.secrets import LentAgents, LentSecrets
from dockc.runtime.snapshot.removal import remove_tree
from dockc.runtime.source import gitbundle, gitsign
from dockc.runtime.source.base import SourceKey, registry_of
from dockc.runtime.source.blob import Blobs
from dockc.runtime.source.found import FoundGit
from dockc.runtime.source.gitcli import Git, GitError, prepare
from dockc.runtime.source.gitid import GitOptions, is_commit, parse_options
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.seen import SEEN, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dockc.oci.platform import Platform
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef, MutableRef
    from dockc.runtime.session.secrets import SecretStore
    from dockc.runtime.source.base import Backing
    from dockc.runtime.source.gitsign import Demand
    from dockc.solver.op import OpContext

T = TypeVar("T")
_SUBMODULES_DEEP = 32
_BRANCH = re.compile(r"refs/heads/(\S+)")
_META_REMOTE = "git.remote"
_META_SNAPSHOT = "git.snapshot"
_STDERR = 2
_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_locks_guard = threading.Lock()


class Commit(Record):
    """What a ref stands for.

    Attributes:
        ref: the full ref that matched, or the commit hash when that was asked for.
        hash: of the commit, or of the tag object of an annotated tag.
        peeled: commit behind an annotated tag, "" otherwise.
    """

    ref: str
    hash: str
    peeled: str = ""


def look_up(options: GitOptions, git: Git, memory: Memory, *, offline: bool, seen: Seen | None = None) -> Commit:
    """Ask the remote what the ref stands for; `offline`, what it stood for when it was last asked.

    Raises:
        SolveError: it has no such ref, another commit than the checksum says, or cannot be reached.
    """
    wanted = options.checksum
    if is_commit(options.ref):
        if wanted and not options.ref.startswith(wanted):
            raise SolveError(f"expected checksum to match {wanted}, got {options.ref}")
        return Commit(options.ref, options.ref)
    if options.by_commit:
        return Commit(options.ref, wanted)
    question = f"{options.repository_key}#{options.ref}"
    if offline:
        found = _remembered(memory, question, options)
    else:
        found = _ask(options, git) if seen is None else seen.once("git", question, lambda: _ask(options, git))
        memory.put("git", question, dump_json([found.ref, found.hash, found.peeled]))
    _agree(options, found)
    return found


def _agree(options: GitOptions, found: Commit) -> None:
    wanted = options.checksum
    if wanted and not found.hash.startswith(wanted) and not found.peeled.startswith(wanted):
        got = f" or {found.peeled}" if found.peeled else found.hash
        raise SolveError(f"expected checksum to match {wanted}, got {got}")


def look_up_in(url: str, options: GitOptions, git: Git) -> Commit:
    """What the ref stands for in an unpacked bundle.

    Raises:
        SolveError: the bundle has no such ref, or another commit than the checksum says.
    """
    found = _ask(replace(options, remote=url), git)
    _agree(options, found)
    return found


def _ask(options: GitOptions, git: Git) -> Commit:
    ref = options.ref or default_branch(options, git)
    try:
        listing = git.run("ls-remote", "--", options.shown, ref, f"{ref}^{{}}").decode("utf-8", "replace")
    except GitError as error:
        raise _wrapped(f"failed to fetch remote {options.shown}", error) from error
    found = _match(ref, listing)
    if found is None:
        raise SolveError(f"repository does not contain ref {ref}, output: {quote(listing)}")
    if not is_commit(found.hash):
        raise SolveError(f"invalid commit sha {quote(found.hash)}")
    return found


def _remembered(memory: Memory, question: str, options: GitOptions) -> Commit:
    known = memory.get("git", question)
    try:
        fields = jsontext.parsed(known or b"null")
    except ValueError:
        fields = None
    if not isinstance(fields, list) or len(fields) != 3 or not all(isinstance(one, str) for one in fields):
        raise not_asked(options)
    return Commit(*fields)


def not_asked(options: GitOptions) -> SolveError:
    """The error for what would have to be asked."""
    return SolveError(f"{options.shown}: not asked, because of --offline", hint=NOT_ASKED)


def _match(ref: str, listing: str) -> Commit | None:
    """A full ref first, then a branch, then a tag, as git checkout does."""
    by_ref = {}
    for line in listing.splitlines():
        digest, _, name = line.partition("\t")
        by_ref[name] = digest
    partial = f"refs/{ref.removeprefix('refs/')}"
    branch = f"refs/heads/{ref.removeprefix('refs/heads/')}"
    tag = f"refs/tags/{ref.removeprefix('refs/tags/')}"
    for name in (partial, branch, tag):
        if name in by_ref:
            # A tag asked for by its full ref is dereferenced as well.
            peeled = by_ref.get(f"{tag}^{{}}", "") if name == tag else ""
            return Commit(name, by_ref[name], peeled)
    return None


def default_branch(options: GitOptions, git: Git) -> str:
    """The branch that the remote's HEAD names.

    Raises:
        SolveError: the remote cannot be reached or names none.
    """
    try:
        answer = git.text("ls-remote", "--symref", options.shown, "HEAD")
    except GitError as error:
        raise _wrapped(f"error fetching default branch for repository {options.shown}", error) from error
    match = _BRANCH.search(answer)
    if match is None or match.group(1).startswith("-"):
        raise SolveError(f"could not find default branch for repository: {options.shown}")
    return match.group(1)


def _wrapped(what: str, error: GitError) -> GitError:
    return GitError(f"{what}: {error.message}", error.stderr, hint=error.hint)


class GitSource(Mutable):
    """A `git://` source operation (`source.base.Source`)."""

    options: GitOptions
    refs: RefManager
    memory: Memory
    _commit: Commit | None = None
    _unpacked: ExitStack | None = None
    _bundle: str = ""

    def key(self, ctx: OpContext) -> SourceKey:
        """The commit, and what of it is checked out."""
        with _remote_lock(self.options.remote), self._git(ctx) as git:
            if self.options.bundle is not None:
                found = self._look_up_in_bundle(ctx, git)
            else:
                found = look_up(
                    self.options, git, self.memory, offline=registry_of(ctx).transport.offline, seen=SEEN.of(ctx)
                )
            if self.options.signed is not None:
                self._check_signatures(ctx, git, found, self.options.signed)
        self._commit = found
        text = self._cache_key(found)
        return SourceKey(text, found.hash, {"commit": found.hash, "ref": found.ref, "checkout": text})

    def _check_signatures(self, ctx: OpContext, git: Git, found: Commit, demand: Demand) -> None:
        options = self.options
        known = _remembered_objects(options, self.memory, found)
        if known is None:
            if registry_of(ctx).transport.offline and options.bundle is None and not options.remote.startswith("file:"):
                raise not_asked(options)
            origin = "origin" if options.bundle is None else self._unpack(ctx, git)
            known = self._started_over(lambda fresh: self._fetch_objects(git, found, origin, fresh=fresh))
            _remember_objects(options, self.memory, found, *known)
        _check_signed(options, demand, found, *known)

    def _fetch_objects(self, git: Git, found: Commit, origin: str, *, fresh: bool) -> tuple[bytes, bytes]:
        with _shared_repository(self.refs, self.options, git, found, fresh=fresh) as folder:
            repository = git.at(git_dir=folder)
            return _raw(repository, fetch(self.options, repository, found, origin), found)

    def _look_up_in_bundle(self, ctx: OpContext, git: Git) -> Commit:
        options = self.options
        if not options.ref or is_commit(options.ref):
            ref = options.ref or options.checksum
            return Commit(ref, ref)
        return look_up_in(self._unpack(ctx, git), options, git)

    def _unpack(self, ctx: OpContext, git: Git) -> str:
        """URL of what the bundle holds; once for `key` and `snapshot`, and no longer than this object."""
        if not self._bundle:
            with ExitStack() as stack:
                self._bundle = stack.enter_context(gitbundle.unpacked(self.options, git, Blobs.of(ctx)))
                self._unpacked = stack.pop_all()
        return self._bundle

    def _drop_bundle(self) -> None:
        stack, self._unpacked, self._bundle = self._unpacked, None, ""
        if stack is not None:
            stack.close()

    def __del__(self) -> None:
        # Where the solver found the content in its cache, nobody has asked for it.
        with suppress(Exception):
            self._drop_bundle()

    def _cache_key(self, found: Commit) -> str:
        return self.options.cache_key(self._wanted(found), found.ref)

    def _wanted(self, found: Commit) -> str:
        """The commit itself, or the object of its tag where that is part of the checkout."""
        options = self.options
        tagged = options.keep_git_dir or (options.as_bundle and options.bundle_tip.startswith("refs/tags/"))
        return found.hash if tagged or not found.peeled else found.peeled

    def snapshot(self, ctx: OpContext) -> ImmutableRef:
        """The checkout, from the store or made now."""
        if self._commit is None:
            self.key(ctx)
        found = cast(Commit, self._commit)
        key = f"{self._cache_key(found)}:{self.options.subdir}"
        with _remote_lock(self.options.remote):
            for ref_id in self.refs.find(_META_SNAPSHOT, key.encode()):
                try:
                    return self.refs.get(ref_id)
                except StoreError:
                    continue
            bundled = self.options.bundle is not None
            if registry_of(ctx).transport.offline and not bundled and not self.options.remote.startswith("file:"):
                raise not_asked(self.options)
            with self._git(ctx) as git:
                try:
                    ref = self._make(git, found, self._unpack(ctx, git) if bundled else "origin")
                finally:
                    self._drop_bundle()
        ref.set_meta(_META_SNAPSHOT, key.encode())
        return ref

    @contextmanager
    def _git(self, ctx: OpContext) -> Iterator[Git]:
        def log(data: bytes) -> None:
            ctx.log(
                _STDERR, without_credentials(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            )

        offline = registry_of(ctx).transport.offline
        with prepare(
            self.options, LentSecrets(ctx), LentAgents(ctx), log=log, cancelled=ctx.cancelled, offline=offline
        ) as git:
            yield git

    def _make(self, git: Git, found: Commit, origin: str) -> ImmutableRef:
        return self._started_over(lambda fresh: self._fetch_and_check_out(git, found, origin, fresh=fresh))

    @staticmethod
    def _started_over(work: Callable[[bool], T]) -> T:
        """Work on the shared repository, and on a new one where what the old one holds is in the way."""
        try:
            return work(False)
        except GitError as error:
            if not _must_start_over(error.stderr):
                raise
        return work(True)

    def _fetch_and_check_out(self, git: Git, found: Commit, origin: str, *, fresh: bool) -> ImmutableRef:
        with _shared_repository(self.refs, self.options, git, found, fresh=fresh) as folder:
            repository = git.at(git_dir=folder)
            ref = fetch(self.options, repository, found, origin)
            _verify(self.options, repository, ref, found)
            with self.refs.new_mutable(
                description=f"git snapshot for {self.options.shown}#{self.options.ref or ref}",
                record_type=RecordType.GIT_CHECKOUT,
            ) as mutable:
                with mutable.mount() as root:
                    if self.options.as_bundle:
                        gitbundle.write(repository, folder, root, self.options.bundle_tip, self._wanted(found))
                    else:
                        _check_out(self.options, repository, folder, root, ref, found)
                return mutable.commit()


def _must_start_over(stderr: str) -> bool:
    """Whether a moved tag, or a branch that became a directory of branches, blocks the shared repository."""
    if "rejected" in stderr and "(would clobber existing tag)" in stderr:
        return True
    return "some local refs could not be updated;" in stderr and (
        "(unable to update local ref)" in stderr or "refname conflict" in stderr
    )


@contextmanager
def _remote_lock(remote: str) -> Iterator[None]:
    """One at a time per remote in this process; other processes are kept off by the store."""
    with _locks_guard:
        lock = _locks.setdefault(remote, threading.Lock())  # lives as long as somebody here has it
    with lock:
        yield


@contextmanager
def _shared_repository(
    refs: RefManager, options: GitOptions, git: Git, found: Commit, *, fresh: bool
) -> Iterator[Path]:
    """The bare repository that keeps what was fetched from a remote."""
    value = options.repository_key.encode()
    old = refs.find_mutable(_META_REMOTE, value)
    if old is not None and fresh:
        old.set_meta(_META_REMOTE, None)
        old.release()
        old = None
    repository: MutableRef = old or refs.new_mutable(description=f"shared git repo for {options.shown}", retain=True)
    try:
        with repository.mount() as folder:
            if old is None:
                init(git, folder, found, options.shown)
                repository.set_meta(_META_REMOTE, value)
            yield folder
    finally:
        repository.release()


def init(git: Git, folder: Path, found: Commit, remote: str) -> None:
    """Make an empty bare repository that knows the remote."""
    hashing = ["--object-format=sha256"] if len(found.hash) == 64 else []
    repository = git.at(git_dir=folder)
    repository.run("-c", "init.defaultBranch=master", "init", "--bare", *hashing)
    repository.run("remote", "add", "origin", remote)


def fetch(options: GitOptions, git: Git, found: Commit, origin: str = "origin") -> str:
    """Bring the commit into the repository; returns the name it has there.

    Args:
        options: what is wanted.
        git: of the repository.
        found: what the ref stands for.
        origin: where from: the remote, or URL of an unpacked bundle.

    Raises:
        GitError: the remote does not give it.
        SolveError: the ref has moved on and the commit is gone.
    """
    ref = options.ref or found.ref.removeprefix("refs/heads/")
    wanted = found.hash if options.by_commit else ref
    target = ref if ref.startswith("refs/tags/") else f"tags/{ref}"
    shallow = [] if options.as_bundle else ["--depth=1"]  # a bundle without what leads to its commit is broken
    if (
        is_commit(wanted)
        and git.succeeds("cat-file", "-e", f"{wanted}^{{commit}}")
        and not (options.as_bundle and _unshallow(git))
    ):
        return wanted
    if git.git_dir is not None:
        (git.git_dir / "shallow.lock").unlink(missing_ok=True)
    args = ["fetch"]
    if options.by_commit or not is_commit(wanted):
        args += [*shallow, "--no-tags", *([] if shallow else _unshallow(git))]
    else:
        args += ["--tags", *_unshallow(git)]
    args.append(origin)
    args += [wanted] if is_commit(wanted) else ["--force", "--", f"{wanted}:{target}"]
    try:
        git.run(*args)
        if git.text("rev-parse", wanted) != found.hash:
            _point_back(git, target, found.hash, origin)
    except GitError as error:
        raise _wrapped(f"failed to fetch remote {options.shown}", error) from error
    return wanted


def _unshallow(git: Git) -> list[str]:
    return ["--unshallow"] if git.git_dir is not None and (git.git_dir / "shallow").exists() else []


def _point_back(git: Git, target: str, commit: str, origin: str) -> None:
    """The ref has moved since it was looked up: make it name the commit that the cache key names."""
    full = target if target.startswith("refs/") else f"refs/{target}"
    if not git.succeeds("cat-file", "-e", commit):
        git.run("fetch", "--tags", *_unshallow(git), origin, commit)
        git.run("reflog", "expire", "--all", "--expire=now")
        if not git.succeeds("cat-file", "-e", commit):
            raise SolveError(
                f"fetched ref {full} does not match expected commit {commit} and commit can not be found in "
                "the repository"
            )
    git.run("update-ref", full, commit, "--no-deref")


def _verify(options: GitOptions, git: Git, ref: str, found: Commit) -> None:
    """The checksum names the commit or the tag object that is really there."""
    if not options.checksum:
        return
    actual = git.text("rev-parse", ref)
    peeled = git.text("rev-parse", f"{ref}^{{}}")
    if actual.startswith(options.checksum) or peeled.startswith(options.checksum):
        return
    both = f"{actual} or {peeled}" if peeled != actual else actual
    raise SolveError(f"expected checksum to match {options.checksum}, got {both}")


# --- checkout -------------------------------------------------------------------------------------------


def _check_out(options: GitOptions, git: Git, bare: Path, root: Path, ref: str, found: Commit) -> None:
    subdir = options.subdir
    if options.keep_git_dir and not subdir:
        work = _clone(options, git, bare, root, ref, found)
        folder = root
    else:
        folder = Path(tempfile.mkdtemp(prefix="checkout", dir=root)) if subdir else root
        work = git.at(git_dir=bare, work_tree=folder)
        try:
            work.run("checkout", "--no-overlay", ref, "--", ".")
        except GitError as error:
            raise _wrapped(f"failed to checkout remote {options.shown}", error) from error
    if not options.skip_submodules:
        try:
            _update_submodules(work, folder)
        except GitError as error:
            raise _wrapped(f"failed to update submodules for {options.shown}", error) from error
        if not options.keep_git_dir or subdir:
            _forget_submodules(folder)
    if subdir:
        _lift(folder, subdir, root)
    if options.commit_time:
        seconds = git.text("log", "-1", "--format=%ct", f"{ref}^{{commit}}")
        _set_times(root, int(seconds))


def _update_submodules(work: Git, folder: Path, depth: int = 0) -> None:
    """Check out submodules and theirs, one level at a time: what each level says of its own is looked at before git
    reads it.

    A version of git that loses a carriage return at the end of a path (CVE-2025-48384) checks one path for symbolic
    links and writes to another one, which may be a link to anywhere on this machine.

    Raises:
        SolveError: names or paths that hold control characters, or submodules without end.
    """
    listing = folder / ".gitmodules"
    if listing.is_symlink() or not listing.is_file():
        return
    if depth > _SUBMODULES_DEEP:
        raise SolveError(f"submodules in more than {_SUBMODULES_DEEP} levels")
    entries = (
        work.run("config", "--null", "--file", str(listing), "--list").decode("utf-8", "surrogateescape").split("\0")
    )
    pairs = [(key, value) for key, _, value in (entry.partition("\n") for entry in entries)]
    for key, value in pairs:
        if any(ord(char) < 32 or ord(char) == 127 for char in key + value):
            raise SolveError(f"invalid submodule: control characters in {quote(key)} = {quote(value)}")
    work.run("submodule", "update", "--init", "--depth=1")
    for path in dict.fromkeys(value for key, value in pairs if key.endswith(".path")):
        inner = folder / path
        if (inner / ".git").exists():
            _update_submodules(work.at(git_dir=inner / ".git", work_tree=inner), inner, depth + 1)


def _clone(options: GitOptions, git: Git, bare: Path, root: Path, ref: str, found: Commit) -> Git:
    """A repository of its own in the checkout, with one commit and the name it was asked for by."""
    inner = root / ".git"
    work = git.at(git_dir=inner, work_tree=root)
    hashing = ["--object-format=sha256"] if len(found.hash) == 64 else []
    work.run("-c", "init.defaultBranch=master", "init", *hashing)
    # The file protocol keeps git from taking short cuts through the file system.
    work.run("remote", "add", "origin", f"file://{bare}")
    name = options.ref or found.ref.removeprefix("refs/heads/")
    if git.text("cat-file", "-t", ref) == "tag":
        spec = f"{ref}:{ref if ref.startswith('refs/tags/') else f'refs/tags/{ref}'}"
    elif options.by_commit and name != ref:
        spec = f"{ref}:{name}"
    elif is_commit(ref):
        spec = f"refs/dockc/{random.token_hex(12)}"
        git.run("update-ref", spec, ref)
    else:
        spec = f"{ref}:{ref}"
    try:
        work.run("fetch", "-u", "--depth=1", "--", "origin", spec)
        work.run("checkout", "FETCH_HEAD")
    except GitError as error:
        raise _wrapped(f"failed to checkout remote {options.shown}", error) from error
    work.run("remote", "set-url", "origin", options.shown)
    work.run("reflog", "expire", "--all", "--expire=now")
    (inner / "FETCH_HEAD").unlink(missing_ok=True)
    return work


def _forget_submodules(folder: Path) -> None:
    """Remove the files by which submodules name their repositories: those lie in our store, under a path of the moment.

    git lets no repository hold a file of this name, so all that are there come of submodules.
    """
    if not os.path.lexists(folder / ".gitmodules"):
        return
    for place, directories, files in os.walk(folder, followlinks=False):
        if ".git" in files:
            Path(place, ".git").unlink()
        directories[:] = [name for name in directories if name != ".git"]


def _lift(folder: Path, subdir: str, root: Path) -> None:
    """Move what is in a directory of the checkout up to the root, and drop the rest.

    Raises:
        SolveError: the directory is missing, or a link or file is on the way.
    """
    here = folder
    for part in subdir.split("/"):
        here = here / part
        try:
            mode = here.lstat().st_mode
        except OSError as error:
            shown = here.relative_to(folder)
            raise SolveError(
                f'invalid subdir {subdir}: failed to lstat "{shown}": statat {shown}: {(error.strerror or "").lower()}'
            ) from None
        if not stat.S_ISDIR(mode):
            shown = here.relative_to(folder)
            raise SolveError(f'invalid subdir {subdir}: git subpath "{subdir}" contains non-directory "{shown}"')
    for entry in list(here.iterdir()):
        entry.rename(root / entry.name)
    remove_tree(folder)


def _set_times(root: Path, seconds: int) -> None:
    """Give everything below (and the root) one modification time."""
    for folder in every_dir(root):
        for name in entries(folder):
            os.utime(name, (seconds, seconds), dir_fd=folder, follow_symlinks=False)
    os.utime(root, (seconds, seconds))


# --- the compiler's question ----------------------------------------------------------------------------


def find_commit(
    identifier: str,
    attributes: Mapping[str, str],
    memory: Memory,
    secrets: SecretStore | None = None,
    cancelled: threading.Event | None = None,
    *,
    offline: bool = False,
    seen: Seen | None = None,
    blobs: Blobs | None = None,
) -> FoundGit:
    """The commit that a git source names, and its raw object; `offline`, without asking anybody.

    Bundles are got from `blobs`.

    Raises:
        SolveError: it cannot be found.
    """
    options = parse_options(identifier, attributes)
    with (
        prepare(options, secrets, None, cancelled=cancelled, offline=offline) as git,
        tempfile.TemporaryDirectory(prefix="dockc-git-") as place,
    ):
        if options.bundle is not None:
            return _find_in_bundle(options, git, Path(place), blobs)
        found = look_up(options, git, memory, offline=offline, seen=seen)
        known = _remembered_objects(options, memory, found) if offline else None
        if known is None:
            if offline and not options.remote.startswith("file:"):
                raise not_asked(options)
            known = _objects(options, git, Path(place), found, "origin")
            _remember_objects(options, memory, found, *known)
        return _answer(options, found, *known)


def _find_in_bundle(options: GitOptions, git: Git, place: Path, blobs: Blobs | None) -> FoundGit:
    if blobs is None:
        raise SolveError(f"{options.bundle}: nothing to get a bundle with")
    with gitbundle.unpacked(options, git, blobs) as url:
        ref = options.ref or options.checksum
        found = Commit(ref, ref) if is_commit(ref) else look_up_in(url, options, git)
        return _answer(options, found, *_objects(options, git, place, found, url))


def _answer(options: GitOptions, found: Commit, commit: bytes, tag: bytes) -> FoundGit:
    if options.signed is not None:
        _check_signed(options, options.signed, found, commit, tag)
    return FoundGit(found.hash, commit, found.ref, "" if options.keep_git_dir else found.peeled, tag)


def _objects(options: GitOptions, git: Git, place: Path, found: Commit, origin: str) -> tuple[bytes, bytes]:
    """The raw objects of a commit and of its tag, by way of a repository in `place`."""
    init(git, place, found, options.shown)
    repository = git.at(git_dir=place)
    return _raw(repository, fetch(options, repository, found, origin), found)


def _raw(repository: Git, ref: str, found: Commit) -> tuple[bytes, bytes]:
    """The raw objects of a commit that has been fetched and, b"" where there is none, of the tag that names it."""
    commit = repository.run("cat-file", "commit", repository.text("rev-parse", f"{ref}^{{commit}}"))
    return commit, repository.run("cat-file", "tag", found.hash) if found.peeled else b""


def _remembered_objects(options: GitOptions, memory: Memory, found: Commit) -> tuple[bytes, bytes] | None:
    question = f"{options.repository_key}#{found.hash}"
    commit = memory.get("git commit", question)
    tag = memory.get("git tag", question) or b""
    return None if commit is None or (found.peeled and not tag) else (commit, tag)


def _remember_objects(options: GitOptions, memory: Memory, found: Commit, commit: bytes, tag: bytes) -> None:
    question = f"{options.repository_key}#{found.hash}"
    memory.put("git commit", question, commit)
    if tag:
        memory.put("git tag", question, tag)


def _check_signed(options: GitOptions, demand: Demand, found: Commit, commit: bytes, tag: bytes) -> None:
    """Who has signed the objects that the look-up has named.

    Raises:
        SolveError: nobody who may, or the objects are others.
    """
    try:
        gitsign.check(demand, commit, found.peeled or found.hash, tag, found.hash if found.peeled else "")
    except SolveError as error:
        raise type(error)(f"{options.shown}#{options.ref or found.ref}: {error.message}", hint=error.hint) from None


def make(identifier: str, attributes: Mapping[str, str], platform: Platform, backing: Backing) -> GitSource:
    """See `table.SOURCES`."""
    return GitSource(parse_options(identifier, attributes), backing.refs, Memory(backing.content.root))
