"""Layers as directories of changes, stacked by overlayfs or by copying; layers as tar streams."""
