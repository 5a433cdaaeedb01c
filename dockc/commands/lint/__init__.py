"""`dockc lint`: what it reads, runs and reports."""
