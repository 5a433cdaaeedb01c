"""Rules about comments, directives and lines."""
