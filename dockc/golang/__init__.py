"""How Go reads and writes text: strings, numbers, durations, times, JSON, paths."""
