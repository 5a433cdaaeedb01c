"""What decides: edges, events, the scheduler. No I/O, no clock, no threads."""
