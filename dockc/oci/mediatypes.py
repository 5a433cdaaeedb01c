"""The media types of images, in one table, and the translation between the OCI and the Docker family.

Source: OCI image specification, "Media Types"; Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_NONDIST = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_LAYER_NONDIST_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_LAYER_NONDIST_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_LAYER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_LAYER_FOREIGN_ZSTD = "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd"

DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
IN_TOTO = "application/vnd.in-toto+json"

INDEXES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIGS = frozenset((OCI_CONFIG, DOCKER_CONFIG))

# One row per kind of layer: OCI name, Docker name, compression, distributable.
_LAYERS = (
    (OCI_LAYER, DOCKER_LAYER, "uncompressed", True),
    (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP, "gzip", True),
    (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD, "zstd", True),
    (OCI_LAYER_NONDIST, DOCKER_LAYER_FOREIGN, "uncompressed", False),
    (OCI_LAYER_NONDIST_GZIP, DOCKER_LAYER_FOREIGN_GZIP, "gzip", False),
    (OCI_LAYER_NONDIST_ZSTD, DOCKER_LAYER_FOREIGN_ZSTD, "zstd", False),
)
_TO_OCI = {docker: oci for oci, docker, _, _ in _LAYERS}
_TO_DOCKER = {oci: docker for oci, docker, _, _ in _LAYERS}
_COMPRESSION = {name: row[2] for row in _LAYERS for name in row[:2]}
_NONDISTRIBUTABLE = frozenset(name for row in _LAYERS if not row[3] for name in row[:2])
_DISTRIBUTABLE = {
    OCI_LAYER_NONDIST: OCI_LAYER,
    OCI_LAYER_NONDIST_GZIP: OCI_LAYER_GZIP,
    OCI_LAYER_NONDIST_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_LAYER_FOREIGN: DOCKER_LAYER,
    DOCKER_LAYER_FOREIGN_GZIP: DOCKER_LAYER_GZIP,
    DOCKER_LAYER_FOREIGN_ZSTD: DOCKER_LAYER_ZSTD,
}


def is_layer(media_type: str) -> bool:
    """Whether it is a file system layer of either family."""
    return media_type in _COMPRESSION


def is_nondistributable(media_type: str) -> bool:
    """Whether it is a layer that registries need not hold (Windows bases)."""
    return media_type in _NONDISTRIBUTABLE


def distributable(media_type: str) -> str:
    """The distributable twin of a layer media type; others unchanged."""
    return _DISTRIBUTABLE.get(media_type, media_type)


def layer_compression(media_type: str) -> str | None:
    """`uncompressed`, `gzip`, `zstd`, or None when it is no layer we know."""
    return _COMPRESSION.get(media_type)


def layer_type(compression: str, *, oci: bool = True) -> str:
    """Media type of a distributable layer with that compression (`estargz` is gzip inside)."""
    inner = "gzip" if compression == "estargz" else compression
    for oci_name, docker_name, kind, spread in _LAYERS:
        if kind == inner and spread:
            return oci_name if oci else docker_name
    raise ValueError(f"no layer media type for compression {compression!r}")


def convert_layer(media_type: str, *, oci: bool) -> str:
    """The same layer kind in the other family; unknown media types unchanged."""
    table = _TO_OCI if oci else _TO_DOCKER
    return table.get(media_type, media_type)
