"""Caches that travel: exported to and imported from registries, directories, images and object stores, in BuildKit's
format.
"""
