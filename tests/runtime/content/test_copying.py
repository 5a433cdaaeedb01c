"""Blobs on their way into the store."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from dockc.errors import DigestMismatch
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.copying import BLOCK, copy_in
from dockc.runtime.content.store import ContentStore

DATA = b"x" * BLOCK + b"end"
BLOB = Descriptor(mt.OCI_LAYER, "sha256:" + hashlib.sha256(DATA).hexdigest(), len(DATA))


def test_a_blob_is_read_once_and_told_of(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    opened: list[BinaryIO] = []
    told: list[tuple[str, int, int, bool]] = []

    def open_blob() -> tuple[BinaryIO, int]:
        opened.append(io.BytesIO(DATA + b"what follows in the archive"))
        return opened[-1], len(DATA)

    for _ in range(2):
        copy_in(BLOB, content, open_blob, progress=lambda *words: told.append(words))
    assert [file.closed for file in opened] == [True]
    assert [(place, done) for _, place, _, done in told] == [(BLOCK, False), (len(DATA), False), (len(DATA), True)]
    with content.open(BLOB.digest) as file:
        assert file.read() == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"!", b"y" + DATA[1:]], ids=["short", "long", "other"])
def test_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    content = ContentStore(tmp_path)
    with pytest.raises(DigestMismatch):
        copy_in(BLOB, content, lambda: (io.BytesIO(data), len(data)))
    assert not content.has(BLOB.digest)


def test_copying_ends_when_it_is_told_to(tmp_path: Path) -> None:
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        copy_in(BLOB, ContentStore(tmp_path), lambda: (io.BytesIO(DATA), len(DATA)), cancelled=cancelled, progress=lambda *_: cancelled.set())
