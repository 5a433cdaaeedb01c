"""The version of dockc, for every room: the package itself stands above them."""

VERSION = "0.2.0"
BUILDKIT = "0.33"
"""The BuildKit whose behaviour and protocol this is."""
