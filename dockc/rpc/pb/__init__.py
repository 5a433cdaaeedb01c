"""Messages of BuildKit's protocol, generated."""
