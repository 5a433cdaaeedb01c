"""Blobs by digest, in an OCI layout."""
