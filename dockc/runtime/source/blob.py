"""Single blobs as sources: `docker-image+blob://NAME@DIGEST` of a registry, `oci-layout+blob://NAME@DIGEST` of a layout.

The content is verified on its way in, so the digest says all: nothing is asked before the blob is really needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dockc.base.record import Record
from dockc.errors import DigestMismatch, DockcError, SolveError, StoreError
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.oci import reference as references
from dockc.oci.descriptor import Descriptor
from dockc.runtime.cancel import Cancelled
from dockc.runtime.registry.transport import CHUNK
from dockc.runtime.source import ocilayout, web
from dockc.runtime.source.base import SourceKey, oci_stores, registry_of
from dockc.runtime.source.imageop import record_type
from dockc.runtime.source.numbers import integer

if TYPE_CHECKING:
    import threading

    from dockc.oci.platform import Platform
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.refs.types import RecordType
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.base import LentLayout
    from dockc.runtime.source.base import Backing
    from dockc.solver.op import OpContext

_SCHEMES = (attrs.SCHEME_IMAGE_BLOB, attrs.SCHEME_OCI_LAYOUT_BLOB)
_META = "blob.key"
_DEFAULT_MODE = 0o600


class Locator(Record):
    """Where a blob is.

    Attributes:
        scheme: `docker-image+blob://` or `oci-layout+blob://`.
        name: repository of a registry, or name of a layout.
        digest: of the blob.
    """

    scheme: str
    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.scheme}{self.name}@{self.digest}"


class Blobs(Record):
    """What blobs are got from.

    Attributes:
        client: speaks to registries.
        stores: OCI layouts by name.
        cancelled: the build's cancel event.
    """

    client: Client
    stores: Mapping[str, Path | LentLayout]
    cancelled: threading.Event | None = None

    @classmethod
    def of(cls, ctx: OpContext) -> Blobs:
        """Those of the builds that want an operation."""
        return cls(registry_of(ctx), oci_stores(ctx), ctx.cancelled)

    def copy(self, locator: Locator, file: IO[bytes], *, store: str = "") -> int:
        """Write a blob into a file, verified; how many bytes it has.

        Args:
            locator: which.
            file: open for writing.
            store: name of the layout, where it is not the locator's.

        Raises:
            DigestMismatch: other bytes came than the digest names.
            DockcError: it cannot be had.
            Cancelled: `cancelled` was set.
        """
        hasher = digests.Hasher(digests.algorithm(locator.digest))
        for data in self._read(locator, store):
            if self.cancelled is not None and self.cancelled.is_set():
                raise Cancelled("cancelled")
            hasher.update(data)
            file.write(data)
        if hasher.digest() != locator.digest:
            raise DigestMismatch(f"{locator}: expected checksum to match {locator.digest}, got {hasher.digest()}")
        return hasher.size

    def _read(self, locator: Locator, store: str) -> Iterator[bytes]:
        if locator.scheme == attrs.SCHEME_IMAGE_BLOB:
            ref = references.parse_normalized(locator.name)
            with self.client.open_blob(ref, Descriptor("", locator.digest, 0), cancelled=self.cancelled) as answer:
                while data := answer.read(CHUNK):
                    yield data
            return
        layout = ocilayout.open_store(self.stores, store or locator.name, self.cancelled)
        file, left = layout.blob(locator.digest)
        with file:
            while left > 0 and (data := file.read(min(CHUNK, left))):
                yield data
                left -= len(data)


def parse_locator(text: str) -> Locator:
    """Read `SCHEME://NAME@DIGEST`.

    Raises:
        SolveError: it is nothing of the kind.
    """
    scheme = next((one for one in _SCHEMES if text.startswith(one)), "")
    if not scheme:
        known = " or ".join(f'"{one.removesuffix("://")}"' for one in _SCHEMES)
        raise SolveError(f"{text}: no place of a blob; expected {known}")
    name, at, digest = text.removeprefix(scheme).rpartition("@")
    if not at:
        raise SolveError(f"{text}: no digest of a blob")
    try:
        digests.validate(digest)
        parse = references.parse_normalized if scheme == attrs.SCHEME_IMAGE_BLOB else references.parse
        parsed = parse(name)
    except DockcError as error:
        raise SolveError(f"{text}: {error.message}") from None
    if parsed.digest:
        raise SolveError(f"{text}: more than one digest")
    return Locator(scheme, name, digest)


class BlobSource:
    """A source operation that is one file (`source.base.Source`)."""

    def __init__(self, locator: Locator, attributes: Mapping[str, str], refs: RefManager) -> None:
        """Read the attributes.

        Raises:
            SolveError: one that makes no sense.
        """
        self._refs = refs
        self._locator = locator
        self._store = attributes.get(attrs.OCI_STORE, "")
        if locator.scheme == attrs.SCHEME_OCI_LAYOUT_BLOB and not self._store:
            raise SolveError("oci-layout blob source requires store id")
        name = attributes.get(attrs.HTTP_FILENAME, "")
        self._name = web.safe_name(name) if name else digests.encoded(locator.digest)
        self._mode = integer(attributes.get(attrs.HTTP_PERM, "0"), 0o7777) or _DEFAULT_MODE
        self._uid = integer(attributes.get(attrs.HTTP_UID, "0"), (1 << 32) - 2)
        self._gid = integer(attributes.get(attrs.HTTP_GID, "0"), (1 << 32) - 2)
        self._record_type: RecordType = record_type(attributes.get(attrs.IMAGE_RECORD_TYPE, ""))

    def key(self, ctx: OpContext) -> SourceKey:
        """The digest, and what the file is called and whose it is."""
        what = {
            "digest": self._locator.digest,
            "name": self._name,
            "mode": self._mode,
            "uid": self._uid,
            "gid": self._gid,
        }
        return SourceKey("blob:" + json.dumps(what, sort_keys=True), pin=self._locator.digest, preimage=what)

    def snapshot(self, ctx: OpContext) -> ImmutableRef:
        """The file, from the store or fetched now."""
        key = self.key(ctx).key.encode()
        for ref_id in self._refs.find(_META, key):
            try:
                return self._refs.get(ref_id)
            except StoreError:
                continue
        with self._refs.new_mutable(description=f"blob {self._locator}", record_type=self._record_type) as mutable:
            with mutable.mount() as root:
                self._write(Blobs.of(ctx), str(root))
            ref = mutable.commit()
        ref.set_meta(_META, key)
        return ref

    def _write(self, blobs: Blobs, root: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(f"{root}/{self._name}", flags, 0o600)
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
                blobs.copy(self._locator, file, store=self._store)
                file.flush()
                if self._uid or self._gid:
                    os.fchown(handle, self._uid, self._gid)
                os.fchmod(handle, self._mode)
                os.utime(handle, (0, 0))
        except OSError as error:
            raise StoreError(f"{self._locator}: cannot write {self._name}: {error.strerror}") from error


def make(identifier: str, attributes: Mapping[str, str], platform: Platform, backing: Backing) -> BlobSource:
    """See `table.SOURCES`."""
    return BlobSource(parse_locator(identifier), attributes, backing.refs)
