"""A Dockerfile as hadolint reads it: its own instructions, words and lines, where they are not those of a build.

scan          text, breaks, words, quotes
arguments     command lines: exec form, heredocs, shell form
instructions  one reader per instruction
reader        the whole file
"""
