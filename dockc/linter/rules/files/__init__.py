"""Rules about files that are copied, and where to."""
