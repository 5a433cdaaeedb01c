"""The Dockerfile's tree: instructions, words, requests."""
