"""Image configs: reading those of bases, and the changes instructions make."""
