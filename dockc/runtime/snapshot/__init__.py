"""Layers as directories of changes, stacked by overlayfs or by copying; layers as tar streams."""

from dockc.base.system import only_linux

only_linux("builds and stores")
