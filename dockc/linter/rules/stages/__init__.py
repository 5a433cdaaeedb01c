"""Rules about stages, and instructions that take each other back."""
