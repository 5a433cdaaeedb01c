"""The version of dockc, for every room: the package itself stands above them."""

VERSION = "0.1.0"
