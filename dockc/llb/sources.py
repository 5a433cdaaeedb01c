"""Source operations by kind: the identifier, attributes and capabilities that LLB wants for each."""

from __future__ import annotations

from dockc.llb import attrs as A  # noqa: N812
from dockc.llb import caps as C  # noqa: N812

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

GIT_AUTH_HEADER_SECRET = "GIT_AUTH_HEADER"  # noqa: S105 - name of a secret
GIT_AUTH_TOKEN_SECRET = "GIT_AUTH_TOKEN"  # noqa: S105 - name of a secret

_SCHEME_CAPS = (
    (A.SCHEME_IMAGE, C.SOURCE_IMAGE),
    (A.SCHEME_IMAGE_BLOB, C.SOURCE_IMAGE_BLOB),
    (A.SCHEME_OCI_LAYOUT, C.SOURCE_OCI_LAYOUT),
    (A.SCHEME_OCI_LAYOUT_BLOB, C.SOURCE_IMAGE_BLOB),
    (A.SCHEME_LOCAL, C.SOURCE_LOCAL),
    (A.SCHEME_GIT, C.SOURCE_GIT),
)
_ATTR_CAPS = {
    A.IMAGE_LAYER_LIMIT: (C.SOURCE_IMAGE_LAYER_LIMIT,),
    A.IMAGE_CHECKSUM: (C.SOURCE_IMAGE_CHECKSUM,),
    A.LOCAL_SESSION: (C.SOURCE_LOCAL_SESSION_ID,),
    A.LOCAL_UNIQUE: (C.SOURCE_LOCAL_UNIQUE,),
    A.LOCAL_INCLUDE: (C.SOURCE_LOCAL_INCLUDE_PATTERNS,),
    A.LOCAL_FOLLOW: (C.SOURCE_LOCAL_FOLLOW_PATHS,),
    A.LOCAL_EXCLUDE: (C.SOURCE_LOCAL_EXCLUDE_PATTERNS,),
    A.LOCAL_SHARED_KEY_HINT: (C.SOURCE_LOCAL_SHARED_KEY_HINT,),
    A.LOCAL_METADATA_TRANSFER: (C.SOURCE_LOCAL_METADATA_TRANSFER,),
    A.GIT_KEEP_DIR: (C.SOURCE_GIT_KEEP_DIR,),
    A.GIT_FULL_URL: (C.SOURCE_GIT_FULL_URL,),
    A.GIT_MOUNT_SSH_SOCK: (C.SOURCE_GIT_MOUNT_SSH_SOCK, C.SOURCE_GIT_KNOWN_SSH_HOSTS),
    A.GIT_CHECKSUM: (C.SOURCE_GIT_CHECKSUM,),
    A.GIT_SKIP_SUBMODULES: (C.SOURCE_GIT_SKIP_SUBMODULES,),
    A.GIT_MTIME: (C.SOURCE_GIT_MTIME,),
    A.GIT_FETCH_BY_COMMIT: (C.SOURCE_GIT_FETCH_BY_COMMIT,),
    A.GIT_BUNDLE: (C.SOURCE_GIT_BUNDLE,),
    A.GIT_CHECKOUT_BUNDLE: (C.SOURCE_GIT_CHECKOUT_BUNDLE,),
    A.GIT_SIGNATURE_PUBKEY: (C.SOURCE_GIT_SIGNATURE_VERIFY,),
    A.GIT_SIGNATURE_REJECT_EXPIRED: (C.SOURCE_GIT_SIGNATURE_VERIFY,),
    A.GIT_SIGNATURE_REQUIRE_SIGNED_TAG: (C.SOURCE_GIT_SIGNATURE_VERIFY,),
    A.GIT_SIGNATURE_IGNORE_SIGNED_TAG: (C.SOURCE_GIT_SIGNATURE_VERIFY,),
    A.HTTP_CHECKSUM: (C.SOURCE_HTTP_CHECKSUM,),
    A.HTTP_PERM: (C.SOURCE_HTTP_PERM,),
    A.HTTP_UID: (C.SOURCE_HTTP_UID_GID,),
    A.HTTP_GID: (C.SOURCE_HTTP_UID_GID,),
    A.HTTP_AUTH_HEADER_SECRET: (C.SOURCE_HTTP_AUTH,),
    A.HTTP_HEADER_PREFIX + "accept": (C.SOURCE_HTTP_HEADER,),
    A.HTTP_HEADER_PREFIX + "user-agent": (C.SOURCE_HTTP_HEADER,),
    A.HTTP_SIGNATURE_PUBKEY: (C.SOURCE_HTTP_SIGNATURE_VERIFY,),
    A.HTTP_SIGNATURE: (C.SOURCE_HTTP_SIGNATURE_VERIFY,),
}


class SourceSpec:
    """A source operation.

    Attributes:
        identifier: scheme and name.
        attrs: options, by the keys of `llb.attrs`.
        caps: capability ids it relies on.
    """

    __slots__ = ("attrs", "caps", "identifier")

    def __init__(self, identifier: str, attrs: Mapping[str, str], *more_caps: str) -> None:
        self.identifier: Final = identifier
        self.attrs: Final = attrs
        self.caps: Final = (*caps(identifier, attrs), *more_caps)


def caps(identifier: str, attrs: Mapping[str, str]) -> tuple[str, ...]:
    """The capability ids that follow from an identifier and its attributes."""
    found = [cap for scheme, cap in _SCHEME_CAPS if identifier.startswith(scheme)] or [C.SOURCE_HTTP]
    if found != [C.SOURCE_IMAGE_BLOB]:
        for key in attrs:
            found += _ATTR_CAPS.get(key, ())
    if attrs.get(A.IMAGE_RESOLVE_MODE) == A.RESOLVE_PULL:
        found.append(C.SOURCE_IMAGE_RESOLVE_MODE)
    return tuple(found)


def image(
    ref: str,
    *,
    resolve_mode: str = "",
    record_type: str = "",
    layer_limit: int | None = None,
    checksum: str = "",
) -> SourceSpec:
    """An image of a registry; `ref` is a full reference, `resolve_mode` one of default, pull, local."""
    attrs = _present(
        (A.IMAGE_RESOLVE_MODE, "" if resolve_mode == A.RESOLVE_DEFAULT else resolve_mode),
        (A.IMAGE_RECORD_TYPE, record_type),
        (A.IMAGE_LAYER_LIMIT, "" if layer_limit is None else str(layer_limit)),
        (A.IMAGE_CHECKSUM, checksum),
    )
    return SourceSpec(A.SCHEME_IMAGE + ref, attrs)


def oci_layout(ref: str, *, session: str = "", store: str = "", layer_limit: int | None = None) -> SourceSpec:
    """An image of the OCI layout that the client of `session` offers under the name `store`."""
    attrs = _present(
        (A.OCI_SESSION, session),
        (A.OCI_STORE, store),
        (A.OCI_LAYER_LIMIT, "" if layer_limit is None else str(layer_limit)),
    )
    return SourceSpec(A.SCHEME_OCI_LAYOUT + ref, attrs)


def blob(
    ref: str,
    *,
    layout: bool = False,
    filename: str = "",
    perm: int = 0,
    uid: int = 0,
    gid: int = 0,
    session: str = "",
    store: str = "",
) -> SourceSpec:
    """A single blob `name@digest` of a registry, or of an OCI layout, as a directory with one file."""
    attrs = _file_attrs(filename, perm, uid, gid)
    if layout:
        attrs |= _present((A.OCI_SESSION, session), (A.OCI_STORE, store))
    return SourceSpec((A.SCHEME_OCI_LAYOUT_BLOB if layout else A.SCHEME_IMAGE_BLOB) + ref, attrs)


def local(
    name: str,
    *,
    session: str = "",
    unique: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
    shared_key_hint: str = "",
    differ: str = "",
    differ_required: bool = False,
    metadata_only: bool = False,
    metadata_exceptions: Sequence[str] = (),
) -> SourceSpec:
    """A directory of the client, by the name under which it is offered.

    Without `session`, `unique` keeps the directories of different clients apart.
    """
    attrs = _present(
        (A.LOCAL_SESSION, session),
        (A.LOCAL_INCLUDE, _list(include)),
        (A.LOCAL_FOLLOW, _list(follow)),
        (A.LOCAL_EXCLUDE, _list(exclude)),
        (A.LOCAL_SHARED_KEY_HINT, shared_key_hint),
        (A.LOCAL_DIFFER, differ),
        (A.LOCAL_METADATA_TRANSFER, "true" if metadata_only else ""),
        (A.LOCAL_METADATA_TRANSFER_EXCLUDE, _list(metadata_exceptions) if metadata_only else ""),
    )
    if not session:
        attrs[A.LOCAL_UNIQUE] = unique
    needed = (C.SOURCE_LOCAL_DIFFER,) if differ and differ_required else ()
    return SourceSpec(A.SCHEME_LOCAL + name, attrs, *needed)


def http(
    url: str,
    *,
    checksum: str = "",
    filename: str = "",
    perm: int = 0,
    uid: int = 0,
    gid: int = 0,
    auth_header_secret: str = "",
    accept: str = "",
    user_agent: str = "",
    signature_pubkey: str = "",
    signature: str = "",
) -> SourceSpec:
    """A file fetched over HTTP, as a directory that holds the one file `filename`."""
    attrs = _file_attrs(filename, perm, uid, gid) | _present(
        (A.HTTP_CHECKSUM, checksum),
        (A.HTTP_AUTH_HEADER_SECRET, auth_header_secret),
        (A.HTTP_HEADER_PREFIX + "accept", accept),
        (A.HTTP_HEADER_PREFIX + "user-agent", user_agent),
        (A.HTTP_SIGNATURE_PUBKEY, signature_pubkey),
        (A.HTTP_SIGNATURE, signature),
    )
    return SourceSpec(url, attrs)


def git(
    url: str,
    *,
    ref: str = "",
    subdir: str = "",
    keep_git_dir: bool = False,
    auth_token_secret: str = "",
    auth_header_secret: str = "",
    known_ssh_hosts: str = "",
    mount_ssh_sock: str = "",
    checksum: str = "",
    skip_submodules: bool = False,
    mtime: str = "",
    fetch_by_commit: bool = False,
    bundle: str = "",
    bundle_session: str = "",
    bundle_store: str = "",
    checkout_bundle: bool = False,
) -> SourceSpec:
    """A checkout of a git repository.

    `url` is any form that git understands, without a fragment; one without a scheme is taken as https. The
    identifier is the same for all protocols, so that they share a cache. ssh keys of the host are never looked
    up here: where `known_ssh_hosts` is empty, the attribute is left out.
    """
    from dockc.llb import giturl

    remote: giturl.GitUrl | None = None
    try:
        remote = giturl.parse(url)
    except giturl.UnknownProtocol:
        url = f"https://{url}"
        remote = giturl.parse_or_none(url)
    except giturl.InvalidGitUrl:
        pass
    if remote is None:
        identifier = url
    else:
        url = remote.remote
        identifier = remote.identifier
        if ref or subdir:
            identifier += f"#{ref}" + (f":{subdir}" if subdir else "")
    ssh = remote is not None and remote.scheme == "ssh"
    attrs = _present(
        (A.GIT_KEEP_DIR, "true" if keep_git_dir else ""),
        (A.GIT_FULL_URL, url),
        (A.GIT_AUTH_TOKEN_SECRET, auth_token_secret or GIT_AUTH_TOKEN_SECRET),
        (A.GIT_AUTH_HEADER_SECRET, auth_header_secret or GIT_AUTH_HEADER_SECRET),
        (A.GIT_KNOWN_SSH_HOSTS, known_ssh_hosts if ssh else ""),
        (A.GIT_MOUNT_SSH_SOCK, (mount_ssh_sock or "default") if ssh else ""),
        (A.GIT_CHECKSUM, checksum),
        (A.GIT_SKIP_SUBMODULES, "true" if skip_submodules else ""),
        (A.GIT_MTIME, mtime),
        (A.GIT_FETCH_BY_COMMIT, "true" if fetch_by_commit else ""),
        (A.GIT_BUNDLE, bundle),
        (A.OCI_SESSION, bundle_session),
        (A.OCI_STORE, bundle_store),
        (A.GIT_CHECKOUT_BUNDLE, "true" if checkout_bundle else ""),
    )
    own_auth = (C.SOURCE_GIT_HTTP_AUTH,) if auth_token_secret or auth_header_secret else ()
    return SourceSpec(A.SCHEME_GIT + identifier, attrs, *own_auth)


def _present(*pairs: tuple[str, str]) -> dict[str, str]:
    return {key: value for key, value in pairs if value}


def _list(values: Sequence[str]) -> str:
    if not values:
        return ""
    from dockc.golang.text import dump_strings

    return dump_strings(values)


def _file_attrs(filename: str, perm: int, uid: int, gid: int) -> dict[str, str]:
    return _present(
        (A.HTTP_FILENAME, filename),
        (A.HTTP_PERM, f"0{perm:o}" if perm else ""),
        (A.HTTP_UID, str(uid) if uid else ""),
        (A.HTTP_GID, str(gid) if gid else ""),
    )
