"""References to file systems: what the solver's results are."""
