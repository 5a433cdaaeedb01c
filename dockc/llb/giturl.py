"""Git remotes as users write them.

Two forms: URLs with a scheme (`https`, `http`, `ssh`, `git`) and ssh's short form `user@host:path`. A
fragment `#ref:subdir` and a query may follow. Percent escapes are kept apart as URLs ask for: `path` is
decoded, `remote` is written as the user wrote it.
"""

from __future__ import annotations

import re

from dockc.errors import DockcError
from dockc.golang.paths import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SCHEMES = ("http", "https", "ssh", "git")

# Patterns are compiled when they are first used: most files name no git repository.
_SCHEME = r"[a-zA-Z0-9]+://"
_URL_SCHEME = r"([a-zA-Z][a-zA-Z0-9+.\-]*):"
_SCP = r"([a-zA-Z0-9\-_]+)@([a-zA-Z0-9\-.]+):([^\n]*?)(?:\?([^\n]*?))?(?:#([^\n]*))?\Z"
_ESCAPE = r"(?s)%(..?)?"
_HEX2 = r"[0-9A-Fa-f]{2}\Z"
_HOST = r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff]*\Z"
# Escapes in a host: bytes beyond ASCII, and the percent sign; in the zone of an address all that a host may hold, too.
_HOST_ESCAPE = r"%(?:[89A-Fa-f][0-9A-Fa-f]|25)"
_USERINFO = r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*\Z"


class UnknownProtocol(DockcError):
    """A text that is neither a URL nor ssh's short form."""

    def __init__(self) -> None:
        super().__init__("unknown protocol")


class InvalidGitUrl(DockcError):
    """A URL that cannot be a git remote: a scheme that git has not, or a URL that does not parse."""


class GitUrl:
    """A parsed remote.

    Attributes:
        scheme: one of `SCHEMES`.
        user: user information, escaped as in a URL, or "".
        host: host, with port if one is written.
        path: decoded path.
        query: pairs, in order, decoded.
        fragment: decoded fragment, or "".
        ref: branch, tag or commit named by the fragment, or "".
        subdir: directory named by the fragment, or "".
        remote: the URL without query and fragment, as git takes it.
    """

    __slots__ = ("fragment", "host", "path", "query", "ref", "remote", "scheme", "subdir", "user")

    def __init__(
        self,
        scheme: str,
        user: str,
        host: str,
        path: str,
        query: tuple[tuple[str, str], ...],
        fragment: str,
        remote: str,
    ) -> None:
        self.scheme: Final = scheme
        self.user: Final = user
        self.host: Final = host
        self.path: Final = path
        self.query: Final = query
        self.fragment: Final = fragment
        self.remote: Final = remote
        ref, subdir = split_fragment(fragment)
        self.ref: Final = ref
        self.subdir: Final = subdir

    @property
    def identifier(self) -> str:
        """Host and path: the same for every protocol by which the repository can be reached."""
        return self.host + join("/", self.path)


def split_fragment(fragment: str) -> tuple[str, str]:
    """`ref:subdir` taken apart; the directory is cleaned and has no slash in front."""
    ref, _, subdir = fragment.partition(":")
    return ref, join("/", subdir).removeprefix("/")


def is_transport(text: str) -> bool:
    """Whether `text` begins with a git scheme or has ssh's short form."""
    if match := re.match(_SCHEME, text):
        return match.group()[:-3].lower() in SCHEMES
    return re.match(_SCP, text) is not None


def parse(text: str) -> GitUrl:
    """Parse a remote.

    Raises:
        UnknownProtocol: neither a URL nor ssh's short form.
        InvalidGitUrl: a scheme that git has not, or a broken URL.
    """
    if match := re.match(_SCHEME, text):
        scheme = match.group()[:-3].lower()
        if scheme not in SCHEMES:
            raise InvalidGitUrl(f"{scheme}: invalid protocol")
        return parse_url(text)
    if scp := re.match(_SCP, text):
        user, host, path, query, fragment = scp.groups(default="")
        if any(";" in part or not _decodes(part) for part in query.split("&")):
            raise UnknownProtocol
        return GitUrl("ssh", user, host, path, _query(query), fragment, f"{user}@{host}:{path}")
    raise UnknownProtocol


def parse_url(text: str, *, scheme: str = "") -> GitUrl:
    """Parse a URL; `scheme` is taken where the text has none (`github.com/a/b`).

    Raises:
        InvalidGitUrl: the URL is broken.
    """
    whole = text
    text, _, fragment = text.partition("#")
    if any(c < " " or c == "\x7f" for c in text):
        raise _broken(text, "net/url: invalid control character in URL")
    text, mark, query = text.partition("?")
    found = ""
    if match := re.match(_URL_SCHEME, text):
        found, text = match.group(1).lower(), text[match.end() :]
    elif text.startswith(":"):
        raise _broken(whole, "missing protocol scheme")
    user = at = host = ""
    if text.startswith("//"):
        authority, slash, rest = text[2:].partition("/")
        text = slash + rest
        user, at, host = authority.rpartition("@")
        if not re.match(_USERINFO, user):
            raise _broken(whole, "net/url: invalid userinfo")
        user = ":".join(_escape_user(_unescape(whole, part)) for part in user.split(":", 1))
        host = _host(whole, found or scheme, host)
    path = _unescape(whole, text)
    remote = f"{found or scheme}:"
    if host or at or text:
        remote += "//"
    remote += user + at + _escape_host(host)
    if host and text and not text.startswith("/"):
        remote += "/"
    remote += text if _keeps_escapes(text) else _escape_path(path)
    # A question mark with nothing behind it stays where it is.
    remote += mark if not query else ""
    return GitUrl(found or scheme, user, host, path, _query(query), _unescape(whole, fragment), remote)


def parse_or_none(text: str) -> GitUrl | None:
    """Parse a remote; None if it is not one."""
    try:
        return parse(text)
    except (UnknownProtocol, InvalidGitUrl):
        return None


# --- URL text -----------------------------------------------------------------------------------------


def _broken(url: str, reason: str) -> InvalidGitUrl:
    return InvalidGitUrl(f'parse "{url}": {reason}')


def _host(url: str, scheme: str, host: str) -> str:
    """The decoded host. Brackets hold an IPv6 address; a name and its port have one colon, but for ssh and git."""
    opening = host.rfind("[")
    if opening > 0:
        raise _broken(url, "invalid IP-literal")
    if opening < 0:
        colon = host.find(":") if scheme in ("http", "https") else host.rfind(":")
        _check_port(url, host[colon:] if colon >= 0 else "")
        return _unescape_host(url, host)
    closing = host.rfind("]")
    if closing < 0:
        raise _broken(url, "missing ']' in host")
    address, port = host[1:closing], host[closing + 1 :]
    _check_port(url, port)
    zone = address.find("%25")
    name = _unescape_host(url, address) if zone < 0 else _unescape_zone(url, address[:zone], address[zone:])
    _check_address(url, name)
    return f"[{name}]{port}"


def _check_port(url: str, port: str) -> None:
    if port and not re.match(r":[0-9]*\Z", port):
        raise _broken(url, f'invalid port "{port}" after host')


def _check_address(url: str, text: str) -> None:
    import ipaddress

    address, percent, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise _broken(url, "invalid host") from None
    if percent and not zone:
        raise _broken(url, "invalid host")


def _check_host(url: str, host: str) -> None:
    if not re.match(_HOST, host):
        bad = next(c for c in host if not re.match(_HOST, c))
        raise _broken(url, f'invalid character "{bad}" in host name')


def _unescape_host(url: str, host: str) -> str:
    """The host again; only bytes beyond ASCII and percent signs may be escaped in one."""
    _check_host(url, host)
    for escape in re.findall(r"%.{0,2}", host):
        if not re.fullmatch(_HOST_ESCAPE, escape):
            raise _broken(url, f'invalid URL escape "{escape}"')
    return _unescape(url, host)


def _unescape_zone(url: str, address: str, zone: str) -> str:
    _check_host(url, zone)
    decoded = _unescape(url, zone)
    _check_host(url, decoded.replace(" ", ""))
    return _unescape_host(url, address) + decoded


def _decodes(text: str) -> bool:
    try:
        _unescape("", text)
    except InvalidGitUrl:
        return False
    return True


def _unescape(url: str, text: str) -> str:
    if "%" not in text:
        return text
    out = bytearray()
    at = 0
    for match in re.finditer(_ESCAPE, text):
        digits = match.group(1) or ""
        if not re.match(_HEX2, digits):
            raise _broken(url, f'invalid URL escape "{match.group()}"')
        out += text[at : match.start()].encode("utf-8", "surrogateescape")
        out.append(int(digits, 16))
        at = match.end()
    out += text[at:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


_KEPT = r"(?:[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]]|%[0-9A-Fa-f]{2})*\Z"
_PLAIN_PATH = rb"[A-Za-z0-9\-_.~$&+,/:;=@]"


def _keeps_escapes(path: str) -> bool:
    """Whether a written path is a valid encoding, and so is passed on as it is written."""
    return re.match(_KEPT, path) is not None


def _escape_path(path: str) -> str:
    data = path.encode("utf-8", "surrogateescape")
    pieces = (bytes((b,)) for b in data)
    return "".join(p.decode() if re.match(_PLAIN_PATH, p) else f"%{p[0]:02X}" for p in pieces)


_PLAIN_USER = rb"[A-Za-z0-9\-_.~$&+,;=]"


def _escape_host(host: str) -> str:
    """A host as URLs write it: what is not ASCII is percent-escaped (RFC 3986, reg-name), as is what no name holds."""
    if host.isascii() and "%" not in host and " " not in host:
        return host
    data = host.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte < 0x80 and chr(byte) not in "% " else f"%{byte:02X}" for byte in data)


def _escape_user(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    pieces = (bytes((b,)) for b in data)
    return "".join(p.decode() if re.match(_PLAIN_USER, p) else f"%{p[0]:02X}" for p in pieces)


def _query(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a query string; broken ones are left out."""
    pairs = []
    for part in text.split("&"):
        if not part or ";" in part:
            continue
        key, _, value = part.partition("=")
        try:
            pairs.append((_unescape("", key.replace("+", " ")), _unescape("", value.replace("+", " "))))
        except InvalidGitUrl:
            continue
    return tuple(pairs)
