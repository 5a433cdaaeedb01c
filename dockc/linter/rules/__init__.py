"""One rule a file; the table that names them is `dockc.linter.table`."""
