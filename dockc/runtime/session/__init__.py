"""What a client lends to a build: secrets, SSH agents."""
