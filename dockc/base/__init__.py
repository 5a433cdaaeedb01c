"""What every room may use: records, patterns, hashing, units, files."""
