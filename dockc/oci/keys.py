"""Names under which facts about images and results are told.

Source: BuildKit, `exporter/containerimage/exptypes`; OCI image specification, annotations; containerd, images.
"""

CONFIG = "containerimage.config"
"""An image config, in a frontend's result; with `/PLATFORM` behind it where there are several."""
BASE_CONFIG = "containerimage.base.config"
EPOCH = "source.date.epoch"
"""The time of a result, in seconds since the epoch."""
PLATFORMS = "refs.platforms"
"""JSON of the platforms of a result, by the ids of its file systems."""

DESCRIPTOR = "containerimage.descriptor"
"""What an exporter has made: JSON in base64."""
DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
RESULT_NAME = "image.name"
"""Names that an image has got, by commas."""

CREATED = "org.opencontainers.image.created"
IMAGE_NAME = "io.containerd.image.name"
"""An image's whole name, as an annotation in an index."""
