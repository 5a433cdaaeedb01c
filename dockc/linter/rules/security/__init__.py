"""Rules about secrets, users, ports and downloads."""
