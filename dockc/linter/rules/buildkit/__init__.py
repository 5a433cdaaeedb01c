"""Rules about BuildKit's checks, which the compiler makes: where exactly, and how to mend it."""
