"""Platforms as the protocol's messages have them."""

from __future__ import annotations

from dockc.oci import platform as platforms
from dockc.oci.platform import Platform
from dockc.rpc.pb import common_pb2


def to_wire(platform: Platform) -> common_pb2.Platform:
    """A platform as a message."""
    return common_pb2.Platform(
        OS=platform.os,
        Architecture=platform.architecture,
        Variant=platform.variant,
        OSVersion=platform.os_version,
        OSFeatures=platform.os_features,
    )


def from_wire(told: common_pb2.Platform) -> Platform:
    """A platform out of its message, in its usual form."""
    return platforms.normalize(
        Platform(told.OS, told.Architecture, told.Variant, told.OSVersion, tuple(told.OSFeatures))
    )
