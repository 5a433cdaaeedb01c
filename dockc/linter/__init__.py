"""Lint: rules over a Dockerfile, their findings and fixes."""
