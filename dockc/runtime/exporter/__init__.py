"""Results leave the builder: images to registries, OCI and Docker archives, directories, tar files.

`options.parse_output` reads `-o`, `export.export` does the work, `writer.ImageWriter` makes manifests.
"""
