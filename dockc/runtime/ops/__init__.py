"""The operations that the solver runs, one module for each kind of LLB operation."""
