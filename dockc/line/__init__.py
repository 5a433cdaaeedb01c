"""The command line: reading it, the one place that writes results, and exit statuses."""
