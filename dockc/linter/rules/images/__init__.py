"""Rules about base images."""
