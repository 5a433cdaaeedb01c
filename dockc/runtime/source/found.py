"""Questions about sources that a build asks before it runs, and what is found out: the compiler's words and the
sources' meet here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from dockc.base.record import Record
from dockc.oci.platform import Platform


@runtime_checkable
class ImageQuestion(Protocol):
    """Which digest and config has this image? `store` names an OCI layout, "" means the registry."""

    @property
    def ref(self) -> str:
        """Full reference."""
        ...

    @property
    def platform(self) -> Platform:
        """For which platform."""
        ...

    @property
    def resolve_mode(self) -> str:
        """`default`, `pull` or `local`."""
        ...

    @property
    def store(self) -> str:
        """Name of an OCI layout store, or ""."""
        ...


@runtime_checkable
class FilesQuestion(Protocol):
    """What is in these files of a local source?"""

    @property
    def name(self) -> str:
        """Name of the local source."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Paths inside it."""
        ...


@runtime_checkable
class HttpQuestion(Protocol):
    """What does the server say about this URL?"""

    @property
    def url(self) -> str:
        """The URL."""
        ...

    @property
    def checksum(self) -> str:
        """Digest that the content must have, or ""."""
        ...


@runtime_checkable
class GitQuestion(Protocol):
    """Which commit does this git source name?"""

    @property
    def identifier(self) -> str:
        """`git://...#ref`, as in the source operation."""
        ...

    @property
    def attrs(self) -> tuple[tuple[str, str], ...]:
        """Attributes of the source operation."""
        ...


class FoundImage(Record):
    """An image: the reference that was resolved, the digest of its root, its config's bytes; why the store's own was
    taken, or "".
    """

    ref: str
    digest: str
    config: bytes
    stored: str = ""
    _unshown = ("config",)


class FoundFiles(Record):
    """Contents by path; None for a file that is not there."""

    contents: Mapping[str, bytes | None]
    _unshown = ("contents",)


class FoundHttp(Record):
    """A web resource.

    Attributes:
        digest: of the content.
        last_modified: RFC 3339 time that the server gave, or "".
        newest: RFC 3339 time of the newest entry when the content is an archive, or "".
        archive: whether the content is an archive.
        filename: what the server or the URL calls it.
    """

    digest: str
    last_modified: str = ""
    newest: str = ""
    archive: bool = False
    filename: str = ""


class FoundGit(Record):
    """A commit and its raw object.

    Attributes:
        commit: its hash, or that of the tag object of an annotated tag.
        commit_object: raw.
        ref: the full name that was found, or the hash where that was asked for.
        peeled: the commit behind an annotated tag, "" otherwise.
        tag_object: raw, of an annotated tag.
    """

    commit: str
    commit_object: bytes = b""
    ref: str = ""
    peeled: str = ""
    tag_object: bytes = b""
    _unshown = ("commit_object", "tag_object")


Found = FoundImage | FoundFiles | FoundHttp | FoundGit
