"""Git references and downloads as sources of ADD, of build contexts and of named contexts.

A git repository is written `https://host/repo.git#ref:subdir`, `git://...`, `ssh://...`, `user@host:path`, or with
the same facts as query parameters (`?branch=main&subdir=app`). Source: Dockerfile reference, "ADD" and "Git
repositories".
"""

from __future__ import annotations

from dockc.base.record import Record
from dockc.errors import CompileError, Fault
from dockc.golang import ospaths as paths
from dockc.golang.numbers import NumberError, parse_bool
from dockc.golang.text import quote
from dockc.llb import giturl


class GitRef(Record):
    """What a git source names.

    Attributes:
        remote: the URL git is called with.
        ref: branch, tag or commit, or "".
        subdir: directory inside the repository, or "".
        checksum: the commit that is expected, or "".
        local_looking: `github.com/org/repo`, which only a build context may be written as.
        keep_git_dir: keep `.git`; None where nothing was said.
        submodules: fetch submodules; None where nothing was said.
        mtime: `checkout`, `commit` or "".
        fetch_by_commit: trust `checksum` and fetch that commit.
    """

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    local_looking: bool = False
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    mtime: str = ""
    fetch_by_commit: bool = False


def http_filename(url: str) -> str:
    """The file name that the download of a URL gets: the last element of its path."""
    try:
        name = paths.base(giturl.parse_url(url).path)
    except giturl.InvalidGitUrl:
        return "__unnamed__"
    return name if name not in (".", "/") else "__unnamed__"


def is_http(source: str) -> bool:
    """Whether ADD downloads the source as one file."""
    return source.startswith(("http://", "https://")) and not is_git(source)


def is_git(source: str) -> bool:
    """Whether ADD takes the source for a git repository."""
    try:
        return parse_git_ref(source) is not None
    except CompileError:
        return False


def parse_git_ref(text: str) -> GitRef | None:
    """The git reference in a text, None when the text is something else (a path, a plain download).

    Raises:
        CompileError: a git reference whose query parameters are wrong.
    """
    if "/" not in text and ":" not in text:
        return None
    if text.startswith(("./", "../")):
        return None
    local_looking = text.startswith("github.com/")
    try:
        url = giturl.parse_url(text, scheme="https") if local_looking else giturl.parse(text)
    except (giturl.UnknownProtocol, giturl.InvalidGitUrl):
        return None
    if not local_looking and url.scheme in ("http", "https") and not url.path.endswith(".git"):
        return None
    address = url.remote.partition("://")[2] if local_looking else url.remote
    return _with_query(GitRef(address, url.ref, url.subdir, local_looking=local_looking), url.query)


# --- query parameters of a git reference --------------------------------------------------------------

_FLAGS = ("submodules", "keep-git-dir", "fetch-by-commit")
_TEXTS = {"ref": "ref", "subdir": "subdir", "checksum": "checksum", "commit": "checksum", "mtime": "mtime"}


def _with_query(git: GitRef, query: tuple[tuple[str, str], ...]) -> GitRef:
    """The reference, completed by its query parameters."""
    if not query:
        return git
    given = _single_values(query)
    texts = {"ref": git.ref, "subdir": git.subdir, "checksum": "", "mtime": ""}
    flags: dict[str, bool] = {}
    for key, value in given.items():
        if key in _FLAGS:
            flags[key] = _flag(key, value)
        elif key in _TEXTS:
            name = _TEXTS[key]
            texts[name] = _agree(name, texts[name], value) if key in ("ref", "subdir") else value
        elif key not in ("tag", "branch"):
            raise CompileError(f"unexpected query {quote(key)}", fault=Fault("bad-git-address"))
    if texts["mtime"] not in ("", "checkout", "commit"):
        raise CompileError(
            f'invalid mtime value: {quote(texts["mtime"])} (must be "checkout" or "commit")',
            fault=Fault("bad-git-address"),
        )
    ref = texts["ref"]
    tag, branch = given.get("tag"), given.get("branch")
    if tag:
        ref = _agree("ref", ref, tag if tag.startswith("refs/tags/") else f"refs/tags/{tag}")
    if branch:
        if tag:
            raise CompileError("branch conflicts with tag", fault=Fault("bad-git-address"))
        ref = _agree("ref", ref, branch if branch.startswith("refs/heads/") else f"refs/heads/{branch}")
    return GitRef(
        git.remote,
        ref,
        texts["subdir"],
        texts["checksum"],
        git.local_looking,
        flags.get("keep-git-dir"),
        flags.get("submodules"),
        texts["mtime"],
        flags.get("fetch-by-commit", False),
    )


def _single_values(query: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The parameters by name; each may stand once, and only flags may be empty."""
    given: dict[str, str] = {}
    for key, value in query:
        if key in given:
            raise CompileError(f"query {quote(key)} has multiple values", fault=Fault("bad-git-address"))
        given[key] = value
    for key, value in given.items():
        if not value and key not in _FLAGS:
            raise CompileError(f"query {quote(key)} has no value", fault=Fault("bad-git-address"))
    return given


def _agree(name: str, old: str, new: str) -> str:
    if old and old != new:
        raise CompileError(f"{name} conflicts: {quote(old)} vs {quote(new)}", fault=Fault("bad-git-address"))
    return new


def _flag(key: str, value: str) -> bool:
    if not value:
        return True
    try:
        return parse_bool(value)
    except NumberError:
        raise CompileError(f"invalid {key} value: {quote(value)}", fault=Fault("bad-git-address")) from None
