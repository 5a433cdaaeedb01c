"""Named contexts that are images of this machine: in archives, in layouts, in the store.

    oci-layout://PATH[:TAG][@DIGEST]   a directory, or an archive of one
    oci-archive:PATH[:TAG]             as skopeo writes it
    docker-archive:PATH[:NAME]         of docker save, podman save, skopeo, kaniko or dockc
    dockc-image://NAME                 of the store: loaded, pulled or built
    PATH                               a file: any archive of these

Archives may be compressed. What is no directory goes into the store first, where equal blobs are shared.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dockc.base.files import open_regular
from dockc.errors import DockcError, RegistryError, UsageError

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.types import Progress

ARCHIVES = ("docker-archive:", "oci-archive:", "oci:")
STORED = "dockc-image:"
LAYOUT = "oci-layout:"
FORMS = (LAYOUT, STORED, *ARCHIVES)


class Showing(Protocol):
    """Shows that something is at work; gives what hears of its progress."""

    def __call__(self, what: str, /) -> AbstractContextManager[Progress]:
        """For as long as the context lasts."""
        ...


def is_image(value: str) -> bool:
    """Whether the value of a named context is an image of this machine."""
    return value.startswith(FORMS) or os.path.isfile(value)  # noqa: PTH113


def is_layout(folder: str) -> bool:
    """Whether a directory is an OCI layout."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in ("oci-layout", "index.json"))  # noqa: PTH113, PTH118


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is an archive, compressed or not, and no Dockerfile."""
    return head.startswith((b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")) or head[257:262] == b"ustar"


def found(name: str, value: str, store: Path | None, showing: Showing | None = None) -> tuple[Path, str]:
    """The layout that holds the image of a named context, and the image's digest.

    Args:
        name: of the context.
        value: one of the forms above.
        store: the builder's store; None for the user's own.
        showing: shows that an archive is read.

    Raises:
        UsageError: a file that is no archive.
        DockcError: no such archive or image, or it is damaged.
    """
    if value.startswith(LAYOUT):
        from dockc.runtime.source.ocilayout import resolve_context

        rest = value.removeprefix(LAYOUT).removeprefix("//")
        try:
            return resolve_context(rest)
        except RegistryError:
            if not os.path.isfile(_split(rest)[0]):  # noqa: PTH113
                raise
        value = rest  # an archive that cannot be read where it lies
    content = _content(store)
    if value.startswith(STORED):
        from dockc.runtime.store.images import named

        try:
            return content.root, named(content, value.removeprefix(STORED).removeprefix("//"))[1].digest
        except DockcError as error:
            raise type(error)(f"build context {name}: {error.message}", hint=error.hint) from error
    return content.root, _of_archive(name, value, content, showing)


def _content(store: Path | None) -> ContentStore:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.store.place import default_root

    return ContentStore((store or default_root()) / "content")


def _of_archive(name: str, value: str, content: ContentStore, showing: Showing | None) -> str:
    from dockc.runtime.store import imageload

    form = next((form for form in ARCHIVES if value.startswith(form)), "")
    rest = value.removeprefix(form)
    path, wanted = _split(rest.removeprefix("//") if form else rest)
    if not os.path.exists(path):  # noqa: PTH110
        raise UsageError(f"failed to get build context {name}: there is no archive {path}")
    if not form and not _is_archive(path):
        raise UsageError(
            f"failed to get build context {name}: {path} is a file, and no archive of an image",
            hint="Name a directory, an archive of `docker save`, or an address.",
        )
    with showing(f"[context {name}] load {value}") if showing is not None else nullcontext() as report:
        return imageload.base(content, Path(path), wanted, progress=report)


def _is_archive(path: str) -> bool:
    try:
        with open_regular(path) as file:
            return is_archive(file.read(512))
    except OSError:
        return False


def _split(text: str) -> tuple[str, str]:
    """`PATH[:NAME]`: what exists as it is written is a path, else the shortest part that does."""
    if os.path.exists(text):  # noqa: PTH110
        return text, ""
    path = ""
    for part in text.split(":")[:-1]:
        path = f"{path}:{part}" if path else part
        if os.path.exists(path):  # noqa: PTH110
            return path, text[len(path) + 1 :]
    return text, ""
