"""Rules about commands and how they are run."""
