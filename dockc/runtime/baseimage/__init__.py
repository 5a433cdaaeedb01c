"""Base images made of this machine's programs."""
