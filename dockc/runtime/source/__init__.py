"""Where content comes from: images, OCI layouts, local directories, git repositories, web servers.

Each module has a class with two blocking methods, called in worker threads: `key(ctx)` says what the source
stands for now, without fetching more than needed, and `snapshot(ctx)` brings it in as a ref.
"""
