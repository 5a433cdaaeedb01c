"""Rules about package managers: pins, caches, questions."""
