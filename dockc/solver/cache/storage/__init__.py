"""Stores for cache keys (a graph of ids and links) and for the results that they lead to."""
