"""Blobs by digest, in an OCI layout."""

import sys

from dockc.base.system import only_linux

if sys.platform == "win32":  # macOS has the locks, and `dockc compile` asks registries there
    only_linux("stores of images")
