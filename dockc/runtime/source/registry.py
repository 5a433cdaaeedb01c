"""Images in registries, and the names of images that this store has seen or built.

Resolve modes, in BuildKit's words: `default` asks the registry and falls back to what is here, `pull` asks
the registry only, `local` takes what is here and asks the registry only for the rest.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.files import open_regular
from dockc.errors import DockcError, RegistryError, UsageError
from dockc.golang.text import dump_json
from dockc.llb import attrs
from dockc.oci import digest as digests
from dockc.oci import reference as references
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument, decode
from dockc.oci.reference import Reference
from dockc.runtime.content.errors import store_error, telling
from dockc.runtime.registry.fetch import RegistryProvider
from dockc.runtime.registry.transport import Unreachable
from dockc.runtime.source.memory import Memory

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Provider
    from dockc.runtime.registry.client import Client

MODES = (attrs.RESOLVE_DEFAULT, attrs.RESOLVE_PULL, attrs.RESOLVE_LOCAL)
_ENTRY_LIMIT = 64 << 10
_VOUCHED = "image in repository"


def parse_mode(text: str) -> str:
    """The resolve mode; "" is the default one. `UsageError` for an unknown one."""
    if text and text not in MODES:
        raise UsageError(f"invalid resolvemode: {text}")
    return text or attrs.RESOLVE_DEFAULT


class LocalNames:
    """Which image a name stood for when it was last pulled, or what was built under it.

    One small file per name in `images/` beside the blobs; written atomically, safe between processes.
    """

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._folder: Path = content.root / "images"

    def get(self, ref: Reference) -> Descriptor | None:
        """The image's root, if its document is still in the store. What is no name is none (`dockc doctor` tells).

        Raises:
            StoreError: what is there cannot be read.
        """
        try:
            with open_regular(self._file(ref)) as file:
                data = file.read(_ENTRY_LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EINVAL):  # no file, so no name
                return None
            raise store_error(error, f"reading the name {ref.tag_name_only()}", self._content.root) from error
        try:
            fields = decode(data, "image name")
            found = Descriptor.from_fields(fields.object("target"))
        except InvalidDocument:
            return None
        if fields.text("name") != str(ref.tag_name_only()) or not self._content.has(found.digest):
            return None
        return found if ref.digest in ("", found.digest) else None

    def put(self, ref: Reference, target: Descriptor, *, built: bool = False) -> None:
        """Remember what a tag stands for; references by digest need no memory.

        Args:
            ref: the name.
            target: manifest or index.
            built: it was made here, so that it is listed and not pruned; a pulled one can be had again.
        """
        if ref.digest:
            return
        entry = {"name": str(ref.tag_name_only()), "target": target.to_json(), "built": built}
        self._folder.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(dump_json(entry))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._file(ref))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def built(self) -> Iterator[tuple[Reference, Descriptor]]:
        """Names of images that were made here."""
        for file in sorted(self._folder.glob("[0-9a-f]*")):
            try:
                with open_regular(file) as entry:
                    fields = decode(entry.read(_ENTRY_LIMIT), "image name")
                if fields.flag("built"):
                    yield (
                        references.parse_normalized(fields.text("name")),
                        Descriptor.from_fields(fields.object("target")),
                    )
            except (OSError, InvalidDocument, references.InvalidReference):
                continue

    def damaged(self) -> Iterator[Path]:
        """Files that hold no name."""
        for file in sorted(self._folder.glob("[0-9a-f]*")):
            try:
                with open_regular(file) as entry:
                    fields = decode(entry.read(_ENTRY_LIMIT), "image name")
                references.parse_normalized(fields.text("name"))
                Descriptor.from_fields(fields.object("target"))
            except FileNotFoundError:
                continue  # taken away meanwhile
            except (OSError, InvalidDocument, references.InvalidReference):
                yield file

    def remove(self, ref: Reference) -> bool:
        """Forget a name; whether it was known.

        Raises:
            StoreError: the store cannot be written.
        """
        with telling("taking a name away", self._content.root):
            try:
                self._file(ref).unlink()
            except FileNotFoundError:
                return False
        return True

    def _file(self, ref: Reference) -> Path:
        name = str(ref.tag_name_only())
        return self._folder / digests.encoded(digests.from_bytes(name.encode()))


class RegistryOrigin:
    """A registry, with the store's memory beside it (`source.image.Origin`).

    Mutable: `stored`, why the store has answered in the registry's place; "" while it has not.
    """

    def __init__(self, client: Client, content: ContentStore, ref: Reference, mode: str = "") -> None:
        """Remember how to ask; no I/O.

        Args:
            client: speaks to registries.
            content: its blobs and names serve `local` and `default` mode.
            ref: the image; all its blobs come from its repository.
            mode: resolve mode; "" is `default`.
        """
        self.stored = ""
        self._client = client
        self._names = LocalNames(content)
        self._memory = Memory(content.root)
        self._mode = parse_mode(mode)
        self.provider: Provider = RegistryProvider(client, ref.trim())
        self.name = f"{attrs.SCHEME_IMAGE}{ref.name}"

    def vouches(self, ref: Reference) -> bool:
        """Whether the repository has had this digest when it was last asked, or the store's own image of that name has
        it. A digest alone says nothing of where an image may be had: what one repository holds, another need not.
        """
        if self._client.transport.offline or self._memory.get(_VOUCHED, f"{ref.name}@{ref.digest}") is not None:
            return True
        return any(name.name == ref.name and target.digest == ref.digest for name, target in self._names.built())

    def resolve(self, ref: Reference, cancelled: threading.Event | None) -> Descriptor:
        """What the reference stands for, by the rules of the resolve mode."""
        if self._mode == attrs.RESOLVE_LOCAL and (known := self._names.get(ref)):
            self.stored = "images of the store come first"
            return known
        try:
            found = self._client.resolve(ref, cancelled=cancelled)
        except RegistryError as error:
            known = self._names.get(ref) if self._mode == attrs.RESOLVE_DEFAULT else None
            if known is None:
                if isinstance(error, Unreachable) and not error.hint:
                    error.hint = (
                        "An archive of the image will do: `dockc load FILE`, or "
                        f"`--build-context {ref.familiar().removesuffix(':latest')}=FILE`."
                    )
                raise
            self.stored = error.message
            return known
        self._names.put(ref, found)
        self._memory.put(_VOUCHED, f"{ref.name}@{found.digest}", b"1")
        return found

    def manifest(self, ref: Reference, cancelled: threading.Event | None) -> tuple[Descriptor, bytes]:
        """Manifest or index by name."""
        return self._client.manifest(ref, cancelled=cancelled)


def provider_for(client: Client, origin: str) -> Provider | None:
    """A provider for layers that another process has seen, from `LayerDescriptor.origin`; None if unknown."""
    if origin.startswith(attrs.SCHEME_IMAGE):
        try:
            return RegistryProvider(client, references.parse_normalized(origin.removeprefix(attrs.SCHEME_IMAGE)))
        except DockcError:
            return None
    if origin.startswith(attrs.SCHEME_OCI_LAYOUT):
        from dockc.runtime.source import ocilayout

        path, _, _ = origin.removeprefix(attrs.SCHEME_OCI_LAYOUT).rpartition("@")
        try:
            return ocilayout.open_layout(Path(path)).provider
        except DockcError:
            return None
    return None
