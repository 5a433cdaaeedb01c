"""Writing LLB in Python."""
