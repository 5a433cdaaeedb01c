"""The intermediate representation: a graph of build operations that one can read, rewrite and print.

`ops` holds the node classes, `module` the `Builder` that makes them and the `Module` that holds the result,
`printer` and `parser` the text form, `verifier` what is legal, `rewrite` the driver of passes. Nothing is
imported here: the compile path loads `ops` and `module` only.
"""
