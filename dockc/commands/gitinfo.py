"""What the repository that a context lies in says about it: labels, and facts for provenance.

Variables, in buildx's words: `BUILDX_GIT_LABELS` (`1`, `true` or `full`) asks for the labels, `BUILDX_GIT_INFO=0`
forbids the facts, which builders elsewhere put into attestations, `BUILDX_GIT_CHECK_DIRTY=1` marks a commit with
changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dockc.errors import HIDDEN, without_credentials

_REVISION = "org.opencontainers.image.revision"
_SOURCE = "org.opencontainers.image.source"
_ENTRYPOINT = "com.docker.image.source.entrypoint"
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class _Git:
    """Asks git in one directory; "" is no answer."""

    def __init__(self, folder: str, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
        self._environ |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}

    def lines(self, *words: str) -> tuple[int, bytes, str]:
        from dockc.base import children

        # The repository may be anybody's: nothing that its configuration names is run.
        quiet = ("-c", "log.showSignature=false", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
        done = children.run(["git", *quiet, *words], cwd=self._folder, env=self._environ)
        return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace").strip()

    def first(self, *words: str) -> str:
        status, said, _ = self.lines(*words)
        return said.decode("utf-8", "replace").partition("\n")[0].replace("'", "") if status == 0 else ""


def git_attrs(
    context: str,
    file: str,
    environ: Mapping[str, str],
    warn: Callable[[str], object],
    *,
    facts: bool,
) -> dict[str, str]:
    """Frontend options out of the repository that the context lies in; none where it lies in none.

    Args:
        context: the build's context, as it was given.
        file: the Dockerfile, as it was given; "" is the usual one.
        environ: variables.
        warn: told why nothing is known of a directory with a `.git`.
        facts: for a builder that makes attestations.
    """
    labels = _asked(environ.get("BUILDX_GIT_LABELS", ""), full=True)
    facts = facts and environ.get("BUILDX_GIT_INFO", "") not in _FALSE
    if not (labels or facts) or not os.path.isdir(context):  # noqa: PTH112 - no Path for a question
        return {}
    folder = os.path.realpath(context)
    git = _Git(folder, environ)
    try:
        return _found(git, folder, file, environ, labels=labels, facts=facts)
    except (OSError, _Unclear) as error:
        if os.path.isdir(os.path.join(folder, ".git")):  # noqa: PTH112, PTH118 - no Path for a question
            why = "git is not installed" if isinstance(error, FileNotFoundError) else str(error)
            warn(f"warning: what git knows of the context is not in the build: {why}\n")
        return {}


class _Unclear(Exception):
    """Git does not say what it should."""


def _found(
    git: _Git, folder: str, file: str, environ: Mapping[str, str], *, labels: bool, facts: bool
) -> dict[str, str]:
    status, inside, why = git.lines("rev-parse", "--is-inside-work-tree", "--show-toplevel")
    answer = inside.decode("utf-8", "surrogateescape").split("\n")
    if status != 0 or answer[0] != "true":
        raise _Unclear(why or "not inside of a work tree")
    root = os.path.realpath(answer[1])
    found: dict[str, str] = {}

    def say(label: str, fact: str, value: str) -> None:
        if labels:
            found[f"label:{label}"] = value
        if facts:
            found[f"vcs:{fact}"] = value

    if commit := git.first("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        if _asked(environ.get("BUILDX_GIT_CHECK_DIRTY", "")):
            status, changed, _ = git.lines("status", "--porcelain", "--ignored")
            commit += "-dirty" if status != 0 or changed.strip() else ""
        say(_REVISION, "revision", commit)
    if address := _remote(git):
        say(_SOURCE, "source", _masked(address))
    # BuildKit's frontend knows the folder of a Dockerfile that is not in the context as another local source.
    path = os.path.realpath(file or Path(folder) / "Dockerfile")
    if labels and file != "-" and "://" not in file and (inner := _below(root, path)) is not None:
        found[f"label:{_ENTRYPOINT}"] = inner
    for name, place in (("context", folder), ("dockerfile", str(Path(path).parent))) if facts else ():
        if (inner := _below(root, place)) is not None:
            found[f"vcs:localdir:{name}"] = inner
    return found


def remote_of(folder: str, environ: Mapping[str, str]) -> str:
    """Where the repository that a directory lies in is from, without credentials; "" where that is not known.

    Raises:
        OSError: git cannot be run.
    """
    return without_credentials(_remote(_Git(folder, environ)))


def _remote(git: _Git) -> str:
    """The address of the branch's own remote, else of `origin`, else of `upstream`."""
    if branch := git.first("symbolic-ref", "-q", "HEAD"):
        name = git.first("for-each-ref", "--format=%(upstream:remotename)", branch)
        if name and (address := git.first("remote", "get-url", name)):
            return address
    return git.first("remote", "get-url", "origin") or git.first("remote", "get-url", "upstream")


def _masked(address: str) -> str:
    """As buildx writes it: the user's name is hidden, too."""
    scheme, separator, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if not separator or not at:
        return address
    name, colon, _ = user.partition(":")
    hidden = (HIDDEN if name else "") + (f":{HIDDEN}" if colon else "")
    return f"{scheme}://{hidden}@{host}{slash}{path}"


def _below(root: str, path: str) -> str | None:
    relative = os.path.relpath(path, root)
    return None if relative.startswith("..") else relative


def _asked(value: str, *, full: bool = False) -> bool:
    return value in _TRUE or (full and value == "full")
