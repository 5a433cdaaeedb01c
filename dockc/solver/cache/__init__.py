"""Cache keys and records: stores, imports, exports, misses."""
