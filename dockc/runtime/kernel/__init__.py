"""System calls that Python does not offer, and paths that stay in their root."""
