"""Compression of layers: gzip, zstd or none; which one a stream uses is told by its first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CompressionName = Literal["gzip", "zstd", "uncompressed"]


@dataclass(frozen=True, slots=True)
class Compression:
    """A choice of compression.

    Attributes:
        name: the algorithm.
        level: 0-9 for gzip, 0-22 for zstd; None is the library's default.
        force: compress again what is already there in another form.
    """

    name: CompressionName = "gzip"
    level: int | None = None
    force: bool = False
