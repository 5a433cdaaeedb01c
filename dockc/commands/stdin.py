"""`dockc build -`: what standard input holds is a Dockerfile, or an archive that is the context.

An archive becomes a context of the kind that is fetched, under an address that only this process can answer; so
everything
that is true of archives behind a URL is true of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dockc.base.files import FILE_LIMIT
from dockc.engine.images import is_archive
from dockc.engine.request import CompileRequest, with_changes
from dockc.errors import DockcError, UsageError
from dockc.protocol.names import UPLOADS

_CHUNK = 1 << 20


@contextmanager
def from_stdin(request: CompileRequest, stream: BinaryIO) -> Iterator[tuple[CompileRequest, Mapping[str, Path]]]:
    """The request with its context read from standard input where it asks for that, and files by the address they have
    in it.

    Raises:
        UsageError: standard input is asked to be two things at once.
        DockcError: it cannot be read, or not be kept.
    """
    if request.context != "-":
        yield request, {}
        return
    if request.file == "-":
        raise UsageError("can't use stdin for both build context and dockerfile")
    with tempfile.TemporaryDirectory(prefix="dockc-stdin-", ignore_cleanup_errors=True) as folder:
        yield _read(request, stream, Path(folder))


def _read(request: CompileRequest, stream: BinaryIO, folder: Path) -> tuple[CompileRequest, Mapping[str, Path]]:
    try:
        head = stream.read(1024)
        if is_archive(head):
            path = folder / "context"
            address = UPLOADS + _spool(head, stream, path)
            return with_changes(request, context=address), {address: path}
        if request.file:
            raise UsageError("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
        data = head + stream.read(FILE_LIMIT + 1 - len(head))
        if len(data) > FILE_LIMIT:
            raise DockcError(f"failed to read dockerfile: standard input is larger than {FILE_LIMIT} bytes")
        empty = folder / "empty"
        empty.mkdir()
        return with_changes(request, context=str(empty), dockerfile=data), {}
    except OSError as error:
        raise DockcError(f"cannot read the context from standard input: {error.strerror}") from error


def _spool(head: bytes, stream: BinaryIO, path: Path) -> str:
    """Write all to a file; gives the hexadecimal digits of its digest."""
    import hashlib

    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(stream, file, _CHUNK)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
