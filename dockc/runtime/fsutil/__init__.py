"""File trees: paths inside a root, metadata, copies, archives, filtered walks."""
