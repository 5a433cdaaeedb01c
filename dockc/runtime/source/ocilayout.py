"""Images in OCI layouts: a directory, or a tar archive of one (as `docker save` and `type=oci` write them).

Nothing is unpacked: an archive's blobs are read where they lie. Every blob is verified when it is copied into
the content store. Source: OCI image layout specification.
"""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from dockc.base.files import open_regular
from dockc.errors import DockcError, RegistryError
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci import reference as references
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument, decode
from dockc.oci.keys import IMAGE_NAME
from dockc.oci.manifest import Index
from dockc.oci.reference import Reference
from dockc.runtime.archive import tarheader
from dockc.runtime.archive.tarheader import InvalidTar, TarReader
from dockc.runtime.content.copying import copy_in
from dockc.runtime.registry.client import NotFound
from dockc.runtime.registry.transport import printable

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress, Provider
    from dockc.runtime.session.base import LentLayout

REF_NAME = "org.opencontainers.image.ref.name"
_MEMBERS_MAX = 20_000
_LINKS_MAX = 8


class LayoutFiles(Protocol):
    """Read access to a layout's files by name."""

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """The file, placed at its first byte, and its size; `FileNotFoundError` when there is none."""
        ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> tuple[BinaryIO, int]:
        file = open_regular(self._root / name)
        return file, os.fstat(file.fileno()).st_size


class NoArchive(RegistryError):
    """A file that is no tar archive.

    Attributes:
        reason: what is wrong with it.
    """

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ArchiveFiles:
    """A tar file whose headers have been read once; data is read from the file by position.

    Links are followed inside the archive: `docker save` wrote one where two images share a layer.

    Args:
        path: the uncompressed archive.
        cancelled: ends the reading.
        shown: what messages call it; the path where nothing is said.

    Raises:
        RegistryError: not a tar archive, or one of too many entries.
    """

    def __init__(self, path: Path, cancelled: threading.Event | None, *, shown: str = "") -> None:
        self._path = path
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        shown = shown or str(path)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size

            def skip(count: int) -> int:
                here = file.tell()
                return file.seek(min(here + count, size)) - here

            try:
                for number, member in enumerate(TarReader(file, skip=skip, cancelled=cancelled)):
                    if number >= _MEMBERS_MAX:
                        raise RegistryError(f"{shown}: more than {_MEMBERS_MAX} entries")
                    name = member.name.removeprefix("./")
                    if member.kind == tarheader.REGULAR and member.sparse is None:
                        self._members[name] = (file.tell(), member.size)
                    elif member.kind == tarheader.SYMLINK:
                        self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                    elif member.kind == tarheader.HARDLINK:
                        self._links[name] = member.linkname.removeprefix("./")
            except InvalidTar as error:
                raise NoArchive(
                    f"{shown}: not an uncompressed tar archive: {error.message}",
                    hint="unpack it first",
                    reason=error.message,
                ) from None

    def has(self, name: str) -> bool:
        """Whether there is a file of this name; links do not count."""
        return name in self._members

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """The file, placed at its first byte, and its size; `FileNotFoundError` when there is none."""
        place = self._members.get(name)
        for _ in range(_LINKS_MAX):
            if place is not None or name not in self._links:
                break
            name = self._links[name]
            place = self._members.get(name)
        if place is None:
            raise FileNotFoundError(name)
        file = open_regular(self._path)
        file.seek(place[0])
        return file, place[1]


class Layout:
    """An opened layout (`source.image.Origin`).

    Attributes:
        path: where it is.
        index: its `index.json`.
    """

    def __init__(self, path: Path, files: LayoutFiles) -> None:
        self.path = path
        self._files = files
        self.name = f"{attrs.SCHEME_OCI_LAYOUT}{path.resolve()}"
        self.provider: Provider = LayoutProvider(self)
        marker = self._small("oci-layout")
        try:
            version = decode(marker, "oci-layout").text("imageLayoutVersion")
            if version.partition(".")[0] != "1":
                raise RegistryError(f"{path}: OCI layout version {version!r} is not supported")
            index = manifests.parse(self._small("index.json"), mt.OCI_INDEX)
        except InvalidDocument as error:
            raise RegistryError(f"{path}: {error.message}") from None
        if not isinstance(index, Index):
            raise RegistryError(f"{path}: index.json is not an index")
        self.index = index

    def _small(self, name: str) -> bytes:
        try:
            file, size = self._files.open(name)
        except OSError as error:
            raise RegistryError(f"{self.path}: not an OCI layout: {name}: {error.strerror or 'missing'}") from None
        with file:
            if size > manifests.SIZE_LIMIT:
                raise RegistryError(f"{self.path}: {name} is larger than {manifests.SIZE_LIMIT} bytes")
            return file.read(size)

    def blob(self, digest: str) -> tuple[BinaryIO, int]:
        """A blob's file and size, not verified; `NotFound` when it is not there."""
        digests.validate(digest)
        try:
            return self._files.open(f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}")
        except OSError:
            raise NotFound(f"{self.path}: blob {digest} is missing") from None

    def find(self, tag: str = "") -> Descriptor:
        """The entry of `index.json` with this tag; without a tag the only entry, or the one tagged `latest`.

        Raises:
            NotFound: there is none, or several and none is meant.
        """
        entries = self.index.manifests
        wanted = tag or references.DEFAULT_TAG
        for entry in entries:
            if wanted in (entry.annotations.get(REF_NAME), _tag_of(entry.annotations.get(IMAGE_NAME, ""))):
                return entry
        if not tag and len({entry.digest for entry in entries}) == 1:
            return entries[0]
        names = ", ".join(sorted(filter(None, (entry.annotations.get(REF_NAME, "") for entry in entries))))
        raise NotFound(
            f"{self.path}: no image tagged {wanted!r} in this OCI layout",
            hint=printable(f"it holds {names[:500]}") if names else "",
        )

    def vouches(self, ref: Reference) -> bool:
        """See `image.Origin`: a layout is named by whoever builds; what the store has of it is as good."""
        return True

    def resolve(self, ref: Reference, cancelled: threading.Event | None) -> Descriptor:
        """By digest where one is given, else by tag."""
        if not ref.digest:
            return self.find(ref.tag)
        file, size = self.blob(ref.digest)
        file.close()
        return Descriptor("", ref.digest, size)

    def manifest(self, ref: Reference, cancelled: threading.Event | None) -> tuple[Descriptor, bytes]:
        """A manifest or index, verified."""
        found = self.resolve(ref, cancelled)
        file, size = self.blob(found.digest)
        with file:
            if size > manifests.SIZE_LIMIT:
                raise RegistryError(f"{self.path}: manifest {found.digest} is larger than {manifests.SIZE_LIMIT} bytes")
            data = file.read(size)
        return found, digests.check(data, found.digest)


class LayoutProvider:
    """Copies blobs of a layout into the content store (`runtime.refs.types.Provider`)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def fetch(
        self,
        descriptor: Descriptor,
        content: ContentStore,
        *,
        cancelled: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring a blob into the content store, verified."""
        blob = partial(self._layout.blob, descriptor.digest)
        copy_in(descriptor, content, blob, cancelled=cancelled, progress=progress)


def open_layout(path: Path, cancelled: threading.Event | None = None) -> Layout:
    """Open a layout directory or archive.

    Raises:
        RegistryError: it is neither.
        Cancelled: `cancelled` was set while an archive was read.
    """
    try:
        files: LayoutFiles = _Folder(path) if path.is_dir() else ArchiveFiles(path, cancelled)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from None
    return Layout(path, files)


def open_store(stores: Mapping[str, Path | LentLayout], name: str, cancelled: threading.Event | None = None) -> Layout:
    """Open a named store of the build; `NotFound` when the build brought none of that name."""
    found = stores.get(name)
    if found is None:
        raise NotFound(f"no OCI layout store named {name!r} was given to this build")
    return open_layout(found, cancelled) if isinstance(found, Path) else Layout(found.path, found)


def resolve_context(value: str) -> tuple[Path, str]:
    """Take apart `PATH[:TAG][@DIGEST]`, the value behind `oci-layout://` on the command line.

    Returns:
        The layout's path and the digest of the image that is meant.

    Raises:
        NotFound, RegistryError: there is no such layout or image.
        InvalidDigest: what follows the `@` is not a digest.
    """
    place, at, digest = value.partition("@")
    if at:
        digests.validate(digest)
    head, colon, tag = place.rpartition(":")
    path = Path(place)
    if colon and "/" not in tag and not path.exists():
        path = Path(head)
    else:
        tag = ""
    layout = open_layout(path)
    return path, digest if at else layout.find(tag).digest


def _tag_of(name: str) -> str:
    try:
        return references.parse_normalized(name).tag_name_only().tag if name else ""
    except DockcError:
        return ""
