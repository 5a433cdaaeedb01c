"""One rule a file; the table that names them is `dockc.compiler.lint.table`."""
