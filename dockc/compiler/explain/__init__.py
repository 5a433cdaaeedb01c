"""Words about a Dockerfile and its build: takes data, does no I/O."""
