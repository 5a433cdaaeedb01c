"""URLs and git references as sources of ADD, of build contexts and of named contexts.

A git repository is written `https://host/repo.git#ref:subdir`, `git://...`, `ssh://...`, `user@host:path`, or with
the same facts as query parameters (`?branch=main&subdir=app`). Source: Dockerfile reference, "ADD" and "Git
repositories"; URL syntax as in RFC 3986 with the leniency of the reference's URL package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dockc.compiler import paths
from dockc.compiler.numbers import NumberError, parse_bool
from dockc.errors import CompileError
from dockc.oci.gotext import quote

_SCHEME = re.compile(r"[a-zA-Z0-9]+://")
_SCP = re.compile(r"([a-zA-Z0-9\-_]+)@([a-zA-Z0-9\-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?", re.ASCII)
_HEX = frozenset("0123456789abcdefABCDEF")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_IN_PATH = _UNRESERVED | frozenset("$&+,/:;=@")
_VALID_PATH = _IN_PATH | frozenset("!'()*[]%")
_IN_HOST = _UNRESERVED | frozenset("!$&'()*+,;=:[]<>\"")
_IN_USER = _UNRESERVED | frozenset("$&+,;=")
_USERINFO = _UNRESERVED | frozenset("!$&'()*+,;=:%@")


class UrlError(ValueError):
    """A text that is no URL."""


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL, decoded; `text` is the URL without query and fragment."""

    scheme: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    fragment: str
    text: str


@dataclass(frozen=True, slots=True)
class GitRef:
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


@dataclass(frozen=True, slots=True)
class Remote:
    """A git remote: what a git source vertex is named after."""

    scheme: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    fragment: str
    text: str


def http_filename(url: str) -> str:
    """The file name that the download of a URL gets: the last element of its path."""
    try:
        name = paths.base(parse_url(url).path)
    except UrlError:
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
        if local_looking:
            remote = parse_remote("https://" + text)
        else:
            remote = parse_remote(text)
            if remote.scheme in ("http", "https") and not remote.path.endswith(".git"):
                return None
    except UrlError:
        return None
    ref, subdir = _split_fragment(remote.fragment)
    address = remote.text.partition("://")[2] if local_looking else remote.text
    return _with_query(GitRef(address, ref, subdir, local_looking=local_looking), remote.query)


def parse_remote(text: str) -> Remote:
    """A git remote in URL or `user@host:path` form.

    Raises:
        UrlError: neither form, or a protocol that git contexts do not know.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if scheme.group()[:-3].lower() not in ("http", "https", "ssh", "git"):
            raise UrlError("invalid protocol")
        url = parse_url(text)
        return Remote(url.scheme, url.host, url.path, url.query, url.fragment, url.text)
    scp = _SCP.fullmatch(text)
    if scp is None or "\n" in text:
        raise UrlError("unknown protocol")
    user, host, path, raw_query, fragment = scp.groups()
    if raw_query and not _query_is_valid(raw_query):
        raise UrlError("invalid query in scp-style url")
    query = _parse_query(raw_query or "")
    return Remote("ssh", host, path, query, fragment or "", f"{user}@{host}:{path}")


def _split_fragment(fragment: str) -> tuple[str, str]:
    ref, _, subdir = fragment.partition(":")
    return ref, paths.join("/", subdir).removeprefix("/")


# --- query parameters of a git reference --------------------------------------------------------------

_FLAGS = ("submodules", "keep-git-dir", "fetch-by-commit")


def _with_query(git: GitRef, query: tuple[tuple[str, str], ...]) -> GitRef:
    """The reference, completed by its query parameters."""
    if not query:
        return git
    values: dict[str, list[str]] = {}
    for key, value in query:
        values.setdefault(key, []).append(value)
    facts: dict[str, str] = {}
    for key, given in values.items():
        if len(given) > 1:
            raise CompileError(f"query {quote(key)} has multiple values")
        if not given[0] and key not in _FLAGS:
            raise CompileError(f"query {quote(key)} has no value")
        facts[key] = given[0]
    ref, subdir, checksum, mtime = git.ref, git.subdir, git.checksum, git.mtime
    flags: dict[str, bool] = {}
    for key, value in facts.items():
        match key:
            case "ref":
                ref = _agree("ref", ref, value)
            case "subdir":
                subdir = _agree("subdir", subdir, value)
            case "checksum" | "commit":
                checksum = value
            case "submodules" | "keep-git-dir" | "fetch-by-commit":
                flags[key] = _flag(key, value)
            case "mtime":
                if value not in ("checkout", "commit"):
                    raise CompileError(
                        f'invalid mtime value: {quote(value)} (must be "checkout" or "commit")'
                    )
                mtime = value
            case "tag" | "branch":
                pass
            case _:
                raise CompileError(f"unexpected query {quote(key)}")
    if tag := facts.get("tag"):
        ref = _agree("ref", ref, tag if tag.startswith("refs/tags/") else f"refs/tags/{tag}")
    if branch := facts.get("branch"):
        if tag:
            raise CompileError("branch conflicts with tag")
        ref = _agree("ref", ref, branch if branch.startswith("refs/heads/") else f"refs/heads/{branch}")
    return GitRef(
        git.remote,
        ref,
        subdir,
        checksum,
        git.local_looking,
        flags.get("keep-git-dir"),
        flags.get("submodules"),
        mtime,
        flags.get("fetch-by-commit", False),
    )


def _agree(name: str, old: str, new: str) -> str:
    if old and old != new:
        raise CompileError(f"{name} conflicts: {quote(old)} vs {quote(new)}")
    return new


def _flag(key: str, value: str) -> bool:
    if not value:
        return True
    try:
        return parse_bool(value)
    except NumberError:
        raise CompileError(f"invalid {key} value: {quote(value)}") from None


# --- URLs ---------------------------------------------------------------------------------------------


def parse_url(text: str) -> Url:
    """Take an absolute or relative URL apart.

    Raises:
        UrlError: not a URL.
    """
    if any(char < " " or char == "\x7f" for char in text):
        raise UrlError("net/url: invalid control character in URL")
    rest, _, raw_fragment = text.partition("#")
    fragment = _unescape(raw_fragment, plus=False)
    scheme, rest = _split_scheme(rest)
    forced_query = rest.endswith("?") and rest.count("?") == 1
    rest, _, raw_query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "", "", _parse_query(raw_query), fragment, f"{scheme}:{rest}")
        if ":" in rest.partition("/")[0]:
            raise UrlError("first path segment in URL cannot contain colon")
    user = host = ""
    authority = rest.startswith("//") and (bool(scheme) or not rest.startswith("///"))
    if authority:
        place, slash, tail = rest[2:].partition("/")
        user, host = _parse_authority(place)
        rest = slash + tail
    path = _unescape(rest, plus=False)
    shown = _escaped_path(rest, path)
    out = f"{scheme}:" if scheme else ""
    if scheme or host or user:
        if host or path or user:
            out += "//"
        out += (f"{user}@" if user else "") + _escape(host, _IN_HOST)
    if shown and not shown.startswith("/") and host:
        out += "/"
    out += shown + ("?" if forced_query else "")
    return Url(scheme, host, path, _parse_query(raw_query), fragment, out)


def _split_scheme(text: str) -> tuple[str, str]:
    for index, char in enumerate(text):
        if char.isascii() and char.isalpha():
            continue
        if index and (char in "+-." or (char.isascii() and char.isdigit())):
            continue
        if char == ":":
            if not index:
                raise UrlError("missing protocol scheme")
            return text[:index].lower(), text[index + 1 :]
        break
    return "", text


def _parse_authority(text: str) -> tuple[str, str]:
    """User part (escaped) and host of an authority."""
    user, at, host = text.rpartition("@")
    host = _parse_host(host)
    if not at:
        return "", host
    if any(char not in _USERINFO for char in user):
        raise UrlError("net/url: invalid userinfo")
    name, colon, password = user.partition(":")
    shown = _escape(_unescape(name, plus=False), _IN_USER)
    if colon:
        shown += ":" + _escape(_unescape(password, plus=False), _IN_USER)
    return shown, host


def _parse_host(host: str) -> str:
    if host.startswith("["):
        address, bracket, port = host.rpartition("]")
        if not bracket:
            raise UrlError("missing ']' in host")
        _check_port(port)
        if "%25" in address:
            return _unescape(host, plus=False)
    elif ":" in host:
        _check_port(":" + host.rpartition(":")[2])
    for char in host:
        if char.isascii() and char != "%" and char not in _IN_HOST:
            raise UrlError(f"invalid character {quote(char)} in host name")
    for escape in re.finditer(r"%(..?)?", host):
        digits = escape.group(1) or ""
        # Only bytes that cannot be written plainly may be escaped in a host.
        if len(digits) != 2 or digits[0] not in _HEX or digits[1] not in _HEX or digits[0] in "01234567":
            raise UrlError(f"invalid URL escape {quote(escape.group())}")
    return _unescape(host, plus=False)


def _check_port(port: str) -> None:
    if port and (port[0] != ":" or (port[1:] and not (port[1:].isascii() and port[1:].isdigit()))):
        raise UrlError(f"invalid port {quote(port)} after host")


def _escaped_path(raw: str, path: str) -> str:
    """The path as it prints: as written where that is proper, else escaped afresh."""
    if all(char in _VALID_PATH for char in raw):
        return raw
    return _escape(path, _IN_PATH)


def _escape(text: str, allowed: frozenset[str]) -> str:
    if all(char in allowed for char in text):
        return text
    return "".join(
        char
        if char in allowed
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in text
    )


def _unescape(text: str, *, plus: bool) -> str:
    """Percent escapes resolved.

    Raises:
        UrlError: a broken escape.
    """
    if plus:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    out = bytearray()
    data = text.encode("utf-8", "surrogateescape")
    index = 0
    while index < len(data):
        if data[index] != 0x25:
            out.append(data[index])
            index += 1
            continue
        digits = data[index + 1 : index + 3].decode("latin-1")
        if len(digits) != 2 or digits[0] not in _HEX or digits[1] not in _HEX:
            raise UrlError(f"invalid URL escape {quote('%' + digits)}")
        out.append(int(digits, 16))
        index += 3
    return out.decode("utf-8", "surrogateescape")


def _query_is_valid(raw: str) -> bool:
    for item in raw.split("&"):
        if ";" in item:
            return False
        try:
            _unescape(item, plus=True)
        except UrlError:
            return False
    return True


def _parse_query(raw: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a query; items that are broken are left out."""
    pairs = []
    for item in raw.split("&") if raw else ():
        if not item or ";" in item:
            continue
        key, _, value = item.partition("=")
        try:
            pairs.append((_unescape(key, plus=True), _unescape(value, plus=True)))
        except UrlError:
            continue
    return tuple(pairs)
